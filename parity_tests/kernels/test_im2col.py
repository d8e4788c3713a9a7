"""Convolution of one, two and three axes against its definition, written as plain loops.

The data are small integers held as floats, so every sum is exact and the results must be equal.
"""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.convolution import im2col, naive
from scratch_conv.kernels.windows import Array, Pair, effective_kernel_size


class Convolution(NamedTuple):
    """The operands of a convolution and a gradient of its output."""

    x: Array
    w: Array
    grad_output: Array
    window: Window
    groups: int


@st.composite
def convolutions(draw: st.DrawFn, axes: int) -> Convolution:
    """Draw a convolution with at least one output an image; no images and empty groups included."""

    def each(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(values) for _ in range(axes))

    kernel_size, steps = each(st.integers(1, 3)), st.integers(1, 3)
    stride, dilation = each(steps), each(steps)
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(-1, 2))) for _ in range(axes))
    if draw(st.integers(0, 4)) == 0:  # a single tap has a way of its own
        kernel_size = stride = (1,) * axes
        padding = ((0, 0),) * axes
    window = Window(kernel_size, stride, padding, dilation)
    size = tuple(
        max(1, effective_kernel_size(kernel_size[axis], dilation[axis]) - sum(padding[axis]))
        + draw(st.integers(0, 3))
        for axis in range(axes)
    )
    groups, ins, outs = draw(st.integers(1, 2)), draw(st.integers(0, 2)), draw(st.integers(1, 2))
    n, rng = draw(st.integers(0, 3)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def integers(*shape: int) -> Array:
        return rng.integers(-4, 5, shape).astype(np.float32)

    return Convolution(
        integers(n, groups * ins, *size),
        integers(groups * outs, ins, *kernel_size),
        integers(n, groups * outs, *window.output_size(size)),
        window,
        groups,
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
@given(data=st.data(), block_bytes=st.sampled_from([1, 200, 2_000, 2**21]), num_threads=st.integers(1, 3))
def test_a_convolution_of_any_number_of_axes_is_its_definition(
    axes: int, data: st.DataObject, block_bytes: int, num_threads: int
) -> None:
    """And its gradients are the transposes of it, however the work is cut."""
    drawn = data.draw(convolutions(axes))
    x, w, grad_output, window, groups = drawn
    y = naive.conv(x, w, None, window, groups)
    grad_x = naive.conv_grad_input(grad_output, w, x.shape[2:], window, groups)
    grad_w = naive.conv_grad_weight(grad_output, x, window, groups)
    bias = np.arange(len(w), dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(num_threads):
        patch.setattr(im2col, "_BLOCK_BYTES", block_bytes)
        biased = kernels.conv(x, w, bias, window, groups)
        plain = kernels.conv(x, w, None, window, groups)
        grad_input = kernels.conv_grad_input(grad_output, w, x.shape[2:], window, groups)
        grad_weight = kernels.conv_grad_weight(grad_output, x, window, groups)
        grad_bias = kernels.conv_grad_bias(grad_output)
    np.testing.assert_array_equal(plain, y, strict=True)
    np.testing.assert_array_equal(biased, y + bias.reshape(-1, *[1] * axes), strict=True)
    np.testing.assert_array_equal(grad_input, grad_x, strict=True)
    np.testing.assert_array_equal(grad_weight, grad_w, strict=True)
    all_but_channels = (0, *range(2, 2 + axes))
    np.testing.assert_array_equal(grad_bias, grad_output.sum(axis=all_but_channels), strict=True)


@pytest.mark.parametrize(
    ("padding", "dilation", "expected"),
    [((0, 0), 64, False), ((0, 1), 64, True), ((1, 0), 64, True), ((128, 0), 1, True), ((3, 3), 2, False)],
)
def test_an_axis_is_mostly_padding_beyond_sixteen_times_its_pixels_taps_and_outputs(
    padding: Pair, dilation: int, expected: bool
) -> None:
    """Of four pixels, three taps and one output: beyond 128."""
    for axis in (0, 1):
        kernel_size, paddings, dilations = [1, 1], [(0, 0), (0, 0)], [1, 1]
        kernel_size[axis], paddings[axis], dilations[axis] = 3, padding, dilation
        window = Window(tuple(kernel_size), (1, 1), tuple(paddings), tuple(dilations))
        assert im2col.is_mostly_padding(window, (4, 4), (1, 1)) is expected
