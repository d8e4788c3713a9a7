"""Columns of sliding blocks that hardly meet the image; other blocks are tested against torch's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.convolution.im2col import is_mostly_padding


@st.composite
def far_apart(draw: st.DrawFn, rows: int) -> Window:
    """Draw a window whose rows of taps are farther apart than the image is high."""
    taps, dilation = draw(st.integers(2, 3)), draw(st.integers(200, 400))
    before = draw(st.integers(0, dilation * (taps - 1)))
    after = dilation * (taps - 1) - before + draw(st.integers(1 - rows, 3))
    columns, stride = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    return Window((taps, columns), (stride, 1), ((before, max(0, after)), (1, 0)), (dilation, 1))


@given(st.integers(1, 4).flatmap(lambda rows: st.tuples(st.just(rows), far_apart(rows))))
def test_blocks_of_padding_are_zeros_and_the_rest_is_the_images(drawn: tuple[int, Window]) -> None:
    """And weighted blocks add up to the same as an image weighted by what col2im makes of the weights."""
    size, window = (drawn[0], 3), drawn[1]
    output_size = window.output_size(size)
    assert is_mostly_padding(window, size, output_size)
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (2, 2, *size)).astype(np.float32)
    unfolded = kernels.im2col(x, window)
    padded = np.pad(x, ((0, 0), (0, 0), *window.padding))
    np.testing.assert_array_equal(
        unfolded, window.view(padded, output_size).reshape(unfolded.shape), strict=True
    )
    weights = rng.integers(-4, 5, unfolded.shape).astype(np.float32)
    assert (weights * unfolded).sum() == (kernels.col2im(weights, size, window) * x).sum()
