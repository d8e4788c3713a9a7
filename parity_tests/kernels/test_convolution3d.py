"""Convolution of volumes against im2col of three axes, whatever blocks it is cut into.

The data are small integers held as floats, so every sum is exact and the results must be equal.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.convolution import im2col, three_dimensional
from scratch_conv.kernels.windows import Array, Size, effective_kernel_size

SMALL = st.integers(1, 3)


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, Size]:
    """Draw a window, often of one tap along some axes, and the size of a volume with a position of it."""
    axes = []
    for extends in draw(st.sampled_from([(1, 1, 1), (1, 0, 0), (0, 1, 1), (0, 0, 0), (1, 0, 1)])):
        taps, stride, dilation = (draw(SMALL) if extends else 1 for _ in range(3))
        padding = (draw(st.integers(0, 4)), draw(st.integers(-2, 4))) if extends else (0, 0)
        least = max(1, effective_kernel_size(taps, dilation) - sum(padding))
        axes.append((taps, stride, padding, dilation, least + draw(st.integers(0, 4))))
    *window, size = zip(*axes, strict=True)
    return Window(*window), size


@pytest.mark.mutation
@given(
    windows(),
    st.tuples(st.integers(0, 3), SMALL, SMALL, SMALL),
    st.sampled_from([1, 700, 2**23]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_values_and_gradients_are_those_of_im2col(
    drawn: tuple[Window, Size], sizes: tuple[int, int, int, int], block_bytes: int, dtype: type, seed: int
) -> None:
    (window, size), (n, ins, outs, groups) = drawn, sizes
    rng = np.random.default_rng(seed)

    def integers(*shape: int) -> Array:
        return rng.integers(-4, 5, shape).astype(dtype)

    x, w, bias = (
        integers(n, ins * groups, *size),
        integers(outs * groups, ins, *window.kernel_size),
        integers(outs * groups),
    )
    grad_output = integers(n, outs * groups, *window.output_size(size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(three_dimensional, "_BLOCK_BYTES", block_bytes)
        results = (
            kernels.conv3d(x, w, bias, window, groups),
            kernels.conv3d_grad_weight(grad_output, x, window, groups),
            kernels.conv3d_grad_input(grad_output, w, size, window, groups),
            kernels.conv_transpose3d(grad_output, w, None, size, window, groups),
        )
    grad_input = im2col.conv_grad_input(grad_output, w, size, window, groups)
    expected = (
        im2col.conv(x, w, bias, window, groups),
        im2col.conv_grad_weight(grad_output, x, window, groups),
        grad_input,
        grad_input,
    )
    for got, want in zip(results, expected, strict=True):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, want)
