"""Convolution against its definition, written as plain loops over one image element at a time.

The data are small integers held as floats, so every sum is exact and the results must be equal; of the
operands' own type too.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.convolution.choosing import ALGORITHMS
from scratch_conv.kernels.windows import Array, Pair, effective_kernel_size

EXACT = [name for name in ALGORITHMS if name != "winograd"]
"""Those that add products directly; test_winograd.py has the other."""

SMALL = st.integers(1, 3)
PAIRS = st.tuples(SMALL, SMALL)
PADS = st.tuples(st.integers(0, 3), st.integers(-2, 3))
FLOATS = st.sampled_from([np.float32, np.float64])


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, Pair]:
    """Draw a window, and an image size on which it has at least one position."""
    stride, dilation = (draw(st.just((1, 1)) | PAIRS) for _ in range(2))  # these have ways of their own
    kernel_size, padding = draw(PAIRS), draw(st.tuples(PADS, PADS))
    height, width = (
        max(1, effective_kernel_size(kernel_size[axis], dilation[axis]) - sum(padding[axis]))
        + draw(st.integers(0, 4))
        for axis in (0, 1)
    )
    return Window(kernel_size, stride, padding, dilation), (height, width)


def integers(rng: np.random.Generator, dtype: type, *shape: int) -> Array:
    return rng.integers(-4, 5, shape).astype(dtype)


def surround(x: Array, window: Window) -> Array:
    """Pad with zeros; a negative padding at an end crops."""
    (top, bottom), (left, right) = window.padding
    x = np.pad(x, ((0, 0), (0, 0), (top, max(0, bottom)), (left, max(0, right))))
    return x[:, :, : x.shape[2] + min(0, bottom), : x.shape[3] + min(0, right)]


def convolve_by_loops(x: Array, w: Array, window: Window, groups: int) -> Array:
    x = surround(x, window)
    n, out_channels, channels = x.shape[0], w.shape[0], w.shape[1]
    height = (x.shape[2] - effective_kernel_size(w.shape[2], window.dilation[0])) // window.stride[0] + 1
    width = (x.shape[3] - effective_kernel_size(w.shape[3], window.dilation[1])) // window.stride[1] + 1
    y = np.zeros((n, out_channels, height, width), dtype=x.dtype)
    for b, o, p, q in np.ndindex(y.shape):
        for c, i, j in np.ndindex(w.shape[1:]):
            row = p * window.stride[0] + i * window.dilation[0]
            column = q * window.stride[1] + j * window.dilation[1]
            y[b, o, p, q] += w[o, c, i, j] * x[b, o // (out_channels // groups) * channels + c, row, column]
    return y


POINTS = st.builds(Window, *map(st.just, ((1, 1), (1, 1), ((0, 0), (0, 0)))), PAIRS)
"""Windows of one tap, which meets every pixel."""


@st.composite
def keeping_width(draw: st.DrawFn) -> tuple[Window, Pair]:
    """Draw a window with as many outputs in a row as pixels, and a image size; a row may be short."""
    kernel_size, dilation, rows = draw(PAIRS), draw(PAIRS), draw(PADS)
    margin = effective_kernel_size(kernel_size[1], dilation[1]) - 1
    before = draw(st.integers(0, margin))
    height = max(1, effective_kernel_size(kernel_size[0], dilation[0]) - sum(rows)) + draw(st.integers(0, 4))
    window = Window(kernel_size, (1, 1), (rows, (before, margin - before)), dilation)
    return window, (height, draw(st.integers(1, 6)))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Window, int, Array, Array]:
    """Draw a window, groups, images and weights; a batch of none and groups without channels included.

    Windows that have ways of their own are drawn often.
    """
    window, size = draw(windows() | st.tuples(POINTS, PAIRS) | keeping_width())
    groups, n = draw(SMALL), draw(st.integers(0, 5))
    ins, outs = draw(st.just((1, 1)) | st.tuples(st.integers(0, 3), SMALL))
    rng, dtype = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(FLOATS)
    x = integers(rng, dtype, n, groups * ins, *size)
    return window, groups, x, integers(rng, dtype, groups * outs, ins, *window.kernel_size)


RNG = np.random.default_rng(0)

FEW_TO_MANY = (
    Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    1,
    integers(RNG, np.float32, 4, 1, 5, 5),
    integers(RNG, np.float32, 6, 1, 3, 3),
)
"""Channels: there MEC multiplies the pixels of all tap rows at once."""

ROWS_OF_PADDING = (
    Window((1, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    1,
    integers(RNG, np.float32, 1, 1, 2, 3),
    integers(RNG, np.float32, 1, 1, 1, 3),
)
"""And nothing else under the first windows and the last."""


@pytest.mark.parametrize("algorithm", EXACT)
@given(convolutions(), SMALL)
@example(FEW_TO_MANY, 1)
@example(ROWS_OF_PADDING, 1)
def test_conv2d_is_its_definition(
    algorithm: str, drawn: tuple[Window, int, Array, Array], num_threads: int
) -> None:
    window, groups, x, w = drawn
    bias = np.arange(len(w), dtype=x.dtype)
    expected = convolve_by_loops(x, w, window, groups)
    with kernels.convolution_algorithm(algorithm), kernels.using_num_threads(num_threads):
        plain = kernels.conv2d(x, w, None, window, groups)
        biased = kernels.conv2d(x, w, bias, window, groups)
    np.testing.assert_array_equal(plain, expected, strict=True)
    np.testing.assert_array_equal(biased, expected + bias[:, None, None], strict=True)


@pytest.mark.parametrize("algorithm", EXACT)
@given(convolutions(), SMALL, st.integers(0, 2**32 - 1))
@example(FEW_TO_MANY, 1, 0)
@example(ROWS_OF_PADDING, 1, 0)
def test_conv2d_gradients_are_its_transposes(
    algorithm: str, drawn: tuple[Window, int, Array, Array], num_threads: int, seed: int
) -> None:
    """<dy, f(x)> = <fᵀ(dy), x> says what the gradient is; x = each unit vector in turn gives its elements."""
    window, groups, x, w = drawn
    shape = convolve_by_loops(x, w, window, groups).shape
    grad_output = integers(np.random.default_rng(seed), x.dtype.type, *shape)
    with kernels.convolution_algorithm(algorithm), kernels.using_num_threads(num_threads):
        grad_input = kernels.conv2d_grad_input(grad_output, w, x.shape[2:], window, groups)
        grad_weight = kernels.conv2d_grad_weight(grad_output, x, window, groups)
    expected_input, expected_weight = gradients_by_loops(grad_output, x, w, window, groups)
    np.testing.assert_array_equal(grad_input, expected_input, strict=True)
    np.testing.assert_array_equal(grad_weight, expected_weight, strict=True)
    grad_bias = kernels.conv_grad_bias(grad_output)
    np.testing.assert_array_equal(grad_bias, grad_output.sum((0, 2, 3)), strict=True)
    bias = np.arange(x.shape[1], dtype=x.dtype)
    with kernels.convolution_algorithm(algorithm), kernels.using_num_threads(num_threads):
        transposed = kernels.conv_transpose2d(grad_output, w, bias, x.shape[2:], window, groups)
    np.testing.assert_array_equal(transposed, expected_input + bias[:, None, None], strict=True)


def gradients_by_loops(
    grad_output: Array, x: Array, w: Array, window: Window, groups: int
) -> tuple[Array, Array]:
    padded = surround(x, window)
    grad_padded, grad_weight = np.zeros_like(padded), np.zeros_like(w)
    outs, channels = w.shape[0] // groups, w.shape[1]
    for b, o, p, q in np.ndindex(grad_output.shape):
        for c, i, j in np.ndindex(w.shape[1:]):
            row = p * window.stride[0] + i * window.dilation[0]
            column = q * window.stride[1] + j * window.dilation[1]
            pixel = b, o // outs * channels + c, row, column
            grad_padded[pixel] += w[o, c, i, j] * grad_output[b, o, p, q]
            grad_weight[o, c, i, j] += padded[pixel] * grad_output[b, o, p, q]
    (top, bottom), (left, right) = window.padding
    cropped = ((0, 0), (0, 0), (0, max(0, -bottom)), (0, max(0, -right)))
    grad_padded = np.pad(grad_padded, cropped)
    return grad_padded[:, :, top : top + x.shape[2], left : left + x.shape[3]], grad_weight


@pytest.mark.parametrize("algorithm", EXACT)
@pytest.mark.parametrize("dtype", [np.int8, np.int32])
@pytest.mark.parametrize("drawn", ["few to many", "one tap"])
def test_results_are_of_the_operands_type(algorithm: str, dtype: type, drawn: str) -> None:
    """Small whole numbers too, which NumPy sums as larger ones."""
    window, groups, x, w = FEW_TO_MANY
    if drawn == "one tap":
        window, w = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)), w[:, :, :1, :1]
    x, w = np.sign(x).astype(dtype), np.sign(w).astype(dtype)
    grad_output = np.sign(convolve_by_loops(x, w, window, groups))
    expected_input, expected_weight = gradients_by_loops(grad_output, x, w, window, groups)
    with kernels.convolution_algorithm(algorithm):
        grad_input = kernels.conv2d_grad_input(grad_output, w, x.shape[2:], window, groups)
        grad_weight = kernels.conv2d_grad_weight(grad_output, x, window, groups)
    np.testing.assert_array_equal(grad_input, expected_input, strict=True)
    np.testing.assert_array_equal(grad_weight, expected_weight, strict=True)
    grad_bias = kernels.conv_grad_bias(grad_output)
    np.testing.assert_array_equal(grad_bias, grad_output.sum((0, 2, 3), dtype=dtype), strict=True)


@pytest.mark.parametrize("algorithm", EXACT)
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("dtype", [np.complex64, np.longdouble])
def test_results_in_wide_types_keep_all_digits(algorithm: str, dtype: type, stride: Pair) -> None:
    """One half of each number is too small to be seen beside the other in the next narrower type."""
    small = 1j if dtype is np.complex64 else np.longdouble(2) ** -54
    rng, window = np.random.default_rng(0), Window((1, 3), stride, ((0, 0), (1, 1)), (1, 1))
    x = rng.integers(-4, 5, (2, 3, 7, 8)).astype(dtype) * (1 + small)
    w: Array = rng.integers(-4, 5, (2, 3, 1, 3)).astype(dtype)
    y, small_w = convolve_by_loops(x, w, window, 1), w * (1 + small)
    grad_output: Array = rng.integers(-4, 5, y.shape).astype(dtype)
    expected_input, expected_weight = gradients_by_loops(grad_output, x, small_w, window, 1)
    with kernels.convolution_algorithm(algorithm):
        np.testing.assert_array_equal(kernels.conv2d(x, w, None, window, 1), y, strict=True)
        grad_weight = kernels.conv2d_grad_weight(grad_output, x, window, 1)
        grad_input = kernels.conv2d_grad_input(grad_output, small_w, (7, 8), window, 1)
    np.testing.assert_array_equal(grad_weight, expected_weight, strict=True)
    np.testing.assert_array_equal(grad_input, expected_input, strict=True)


@pytest.mark.parametrize("algorithm", EXACT)
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_pixels_that_meet_no_tap_have_no_gradient(algorithm: str, stride: Pair) -> None:
    """Whatever the memory held before: NumPy takes what was freed last."""
    window, w = Window((1, 1), stride, ((0, 0), (0, 0)), (1, 1)), np.ones((1, 1, 1, 1), np.float32)
    expected = np.zeros((1, 1, 8, 8), np.float32)
    expected[..., :: stride[0], :: stride[1]] = 1
    grad_output = np.ones((1, 1, *window.output_size((8, 8))), np.float32)
    with kernels.convolution_algorithm(algorithm):
        for _ in range(3):
            freed = [np.full((1, 1, 8, 8), np.nan, np.float32) for _ in range(7)]
            del freed
            grad_input = kernels.conv2d_grad_input(grad_output, w, (8, 8), window, 1)
            np.testing.assert_array_equal(grad_input, expected, strict=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_infinite_weight_stays_off_pixels_that_it_does_not_meet(algorithm: str) -> None:
    """Zeros that an algorithm puts around the outputs would turn it into NaN."""
    w = np.ones((1, 1, 3, 3))
    w[0, 0, 0, 0] = np.inf
    window = Window((3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1))
    with kernels.convolution_algorithm(algorithm):
        grad_input = kernels.conv2d_grad_input(np.ones((1, 1, 3, 3)), w, (5, 5), window, 1)
    assert np.isinf(grad_input[0, 0, :3, :3]).all()
    assert np.isfinite(grad_input[0, 0, 3:]).all()
    assert np.isfinite(grad_input[0, 0, :, 3:]).all()


def test_work_grows_with_the_taps_not_with_the_stride() -> None:
    x, w = np.ones((1, 1, 3, 2)), np.ones((1, 1, 2, 1))
    window = Window((2, 1), (10**9, 1), ((0, 0), (0, 0)), (1, 1))
    np.testing.assert_array_equal(kernels.conv2d(x, w, None, window, 1), [[[[2.0, 2.0]]]])


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 4, 9]),
    st.sampled_from([0.0, 0.5, 0.95]),
    st.sampled_from([3, 5]),
)
@settings(max_examples=20)
@example(0, 0, 0.0, 3)
def test_every_result_is_within_the_bound_of_a_direct_sum(
    seed: int, magnitudes: int, zeros: float, taps: int
) -> None:
    """By default, whatever the data: pixels of very different size next to each other, and of zero."""
    rng, pad = np.random.default_rng(seed), (taps // 2, taps // 2)
    window = Window((taps, taps), (1, 1), (pad, pad), (1, 1))

    def drawn(*shape: int) -> Array:
        places = (*shape[:1], 1, *shape[2:])  # shared by the channels
        size = 10.0 ** rng.uniform(-magnitudes, magnitudes, places) * (rng.random(places) >= zeros)
        return (rng.standard_normal(shape) * size).astype(np.float32)

    x, grad_output, w = drawn(2, 32, 16, 16), drawn(2, 33, 16, 16), drawn(33, 32, taps, taps)

    def convolutions(x: Array, w: Array, grad_output: Array) -> list[Array]:
        return [
            kernels.conv2d(x, w, None, window, 1),
            kernels.conv2d_grad_input(grad_output, w, (16, 16), window, 1),
            kernels.conv2d_grad_weight(grad_output, x, window, 1),
        ]

    wide = [operand.astype(np.float64) for operand in (x, w, grad_output)]
    with kernels.convolution_algorithm("im2col"):
        exact, sizes = convolutions(*wide), convolutions(*map(np.abs, wide))
    counts = w[0].size, w[:, 0].size, x[:, 0].size
    for got, expected, size, terms in zip(convolutions(x, w, grad_output), exact, sizes, counts, strict=True):
        # Each sum rounds as often as it has terms; below the normal numbers, by their spacing.
        unit = float(np.finfo(np.float32).eps) / 2
        bound = terms * unit / (1 - terms * unit) * size + terms * float(np.finfo(np.float32).tiny)
        assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("taps", [1, 3])
@given(st.tuples(*[st.sampled_from([0, 2])] * 3), PAIRS)
@settings(max_examples=20)
def test_sums_of_nothing_are_zero(
    algorithm: str, taps: int, counts: tuple[int, int, int], stride: Pair
) -> None:
    """Without images, channels or output channels, in any combination."""
    n, channels, outs = counts
    window = Window((taps, taps), stride, ((taps // 2, taps // 2),) * 2, (1, 1))
    x, w, bias = np.ones((n, channels, 5, 5)), np.ones((outs, channels, taps, taps)), np.arange(1.0, outs + 1)
    with kernels.convolution_algorithm(algorithm):
        y = kernels.conv2d(x, w, bias, window, 1)
        grad_weight = kernels.conv2d_grad_weight(y, x, window, 1)
        grad_input = kernels.conv2d_grad_input(y, w, (5, 5), window, 1)
    assert y.shape == (n, outs, *window.output_size((5, 5)))
    if not channels:
        np.testing.assert_array_equal(y, np.broadcast_to(bias[:, None, None], y.shape))
    for gradient, like, terms in ((grad_weight, w, n), (grad_input, x, outs)):
        assert gradient.shape == like.shape
        assert terms or not gradient.any()


SIZES = st.integers(1, 5)
FAR = st.sampled_from([0, 1, 2, 20, 40, 10**6])


@st.composite
def far_windows(draw: st.DrawFn) -> tuple[Window, Pair]:
    """Draw windows whose strides, padding and dilation are small, or large without many outputs."""
    axes: list[tuple[Any, ...]] = []
    for _ in range(2):
        size, taps = draw(SIZES), draw(SIZES)
        stride, dilation, padding = draw(FAR) + 1, draw(FAR) + 1, (draw(FAR), draw(FAR))
        room = size + sum(padding) - effective_kernel_size(taps, dilation)
        if room < 0:
            padding = (padding[0], padding[1] - room)
        stride = max(stride, max(0, room) // 6 + 1)
        axes.append((taps, stride, padding, dilation, size))
    fields: list[Any] = list(zip(*axes, strict=True))
    return Window(*fields[:4]), fields[4]


@given(far_windows(), st.integers(1, 2), st.integers(0, 2**32 - 1))
def test_work_and_memory_follow_what_lies_inside_the_image(
    drawn: tuple[Window, Pair], groups: int, seed: int
) -> None:
    """Not the padding, the gaps between taps, or the phases of a stride."""
    window, size = drawn
    rng = np.random.default_rng(seed)
    x = integers(rng, np.float64, 2, 2 * groups, *size)
    w = integers(rng, np.float64, 3 * groups, 2, *window.kernel_size)
    y = np.zeros((2, 3 * groups, *window.output_size(size)))
    grad_output = integers(rng, np.float64, *y.shape)
    grad_input, grad_weight = np.zeros_like(x), np.zeros_like(w)
    positions = product(np.ndindex(*y.shape[2:]), np.ndindex(*window.kernel_size), range(groups))
    for (p, q), (i, j), group in positions:
        row = p * window.stride[0] + i * window.dilation[0] - window.padding[0][0]
        column = q * window.stride[1] + j * window.dilation[1] - window.padding[1][0]
        if 0 <= row < size[0] and 0 <= column < size[1]:
            ins, outs = slice(2 * group, 2 * group + 2), slice(3 * group, 3 * group + 3)
            pixels, grads = x[:, ins, row, column], grad_output[:, outs, p, q]
            y[:, outs, p, q] += pixels @ w[outs, :, i, j].T
            grad_weight[outs, :, i, j] += grads.T @ pixels
            grad_input[:, ins, row, column] += grads @ w[outs, :, i, j]
    np.testing.assert_array_equal(kernels.conv2d(x, w, None, window, groups), y)
    np.testing.assert_array_equal(kernels.conv2d_grad_weight(grad_output, x, window, groups), grad_weight)
    np.testing.assert_array_equal(kernels.conv2d_grad_input(grad_output, w, size, window, groups), grad_input)


@pytest.mark.parametrize("size", [(40, 40), (41, 79)])
def test_a_kernel_of_many_taps_at_few_positions(size: Pair) -> None:
    """Adding back goes by positions then, not by the taps of each."""
    rng, window = np.random.default_rng(0), Window((40, 40), (39, 39), ((0, 0), (0, 0)), (1, 1))
    x, w = integers(rng, np.float64, 2, 1, *size), integers(rng, np.float64, 2, 1, 40, 40)
    grad_output = integers(rng, np.float64, 2, 2, *window.output_size(size))
    expected_input, expected_weight = gradients_by_windows(grad_output, x, w)
    np.testing.assert_array_equal(kernels.conv2d_grad_input(grad_output, w, size, window, 1), expected_input)
    np.testing.assert_array_equal(kernels.conv2d_grad_weight(grad_output, x, window, 1), expected_weight)


def gradients_by_windows(grad_output: Array, x: Array, w: Array) -> tuple[Array, Array]:
    """Return the gradients with respect to x and w at a stride of 39."""
    grad_input, grad_weight = np.zeros_like(x), np.zeros_like(w)
    for p, q in np.ndindex(*grad_output.shape[2:]):
        under = (..., slice(39 * p, 39 * p + w.shape[2]), slice(39 * q, 39 * q + w.shape[3]))
        grads = grad_output[:, :, p, q]
        grad_input[under] += np.einsum("no,ochw->nchw", grads, w)
        grad_weight += np.einsum("no,nchw->ochw", grads, x[under])
    return grad_input, grad_weight
