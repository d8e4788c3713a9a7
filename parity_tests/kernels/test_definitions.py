"""The kernels against their definitions, written as plain loops over one picture element at a time.

The data are small integers held as floats, so every sum is exact and the results must be equal; of the
operands' own type too.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window, threads
from scratch_conv.kernels.convolution import banded, choosing, im2col, mec, winograd
from scratch_conv.kernels.convolution.choosing import ALGORITHMS
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.pooling import average as average_pooling
from scratch_conv.kernels.pooling import maximum as max_pooling
from scratch_conv.kernels.windows import Array, Pair, effective_kernel_size

EXACT = [name for name in ALGORITHMS if name != "winograd"]
"""Those that add products directly; test_winograd.py has the other."""

SMALL = st.integers(1, 3)
PAIRS = st.tuples(SMALL, SMALL)
PADS = st.tuples(st.integers(0, 3), st.integers(-2, 3))
FLOATS = st.sampled_from([np.float32, np.float64])


@st.composite
def windows(draw: st.DrawFn, pooling: bool = False) -> tuple[Window, Pair]:
    """Draw a window, and a picture size on which it has at least one position."""
    stride, dilation = (draw(st.just((1, 1)) | PAIRS) for _ in range(2))  # these have ways of their own
    if pooling:
        kernel_size = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
        most = [st.just(size // 2) | st.integers(0, size // 2) for size in kernel_size]
        padding = draw(st.tuples(*[st.tuples(pad, pad) for pad in most]))
    else:
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
    """Draw a window with as many outputs in a row as pixels, and a picture size; a row may be short."""
    kernel_size, dilation, rows = draw(PAIRS), draw(PAIRS), draw(PADS)
    margin = effective_kernel_size(kernel_size[1], dilation[1]) - 1
    before = draw(st.integers(0, margin))
    height = max(1, effective_kernel_size(kernel_size[0], dilation[0]) - sum(rows)) + draw(st.integers(0, 4))
    window = Window(kernel_size, (1, 1), (rows, (before, margin - before)), dilation)
    return window, (height, draw(st.integers(1, 6)))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Window, int, Array, Array]:
    """Draw a window, groups, pictures and weights; a batch of none and groups without channels included.

    Windows that have ways of their own are drawn often.
    """
    window, size = draw(windows() | st.tuples(POINTS, PAIRS) | keeping_width())
    groups, n = draw(SMALL), draw(st.integers(0, 5))
    ins, outs = draw(st.just((1, 1)) | st.tuples(st.integers(0, 3), SMALL))
    rng, dtype = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(FLOATS)
    x = integers(rng, dtype, n, groups * ins, *size)
    return window, groups, x, integers(rng, dtype, groups * outs, ins, *window.kernel_size)


@contextmanager
def cut_up(algorithm: str, block_bytes: int, few_columns: int, num_threads: int) -> Iterator[None]:
    """Compute by one algorithm, in blocks so small that each of its ways to cut the work is taken."""
    with (
        pytest.MonkeyPatch.context() as patch,
        kernels.convolution_algorithm(algorithm),
        kernels.using_num_threads(num_threads),
    ):
        patch.setattr(im2col, "_BLOCK_BYTES", block_bytes)
        patch.setattr(mec, "_BLOCK_BYTES", block_bytes)
        patch.setattr(threads, "_WORTH_A_THREAD", 1)
        patch.setattr(mec, "_MOST_BYTES", 4 * block_bytes)
        patch.setattr(mec, "_FEW_COLUMNS", few_columns)
        patch.setattr(banded, "_RUN_BYTES", block_bytes)
        patch.setattr(banded, "_BLOCK_BYTES", 4 * block_bytes)
        yield


CUTS = st.tuples(st.sampled_from([1, 300, 2000, 2**22]), st.sampled_from([1, 16, 512]), SMALL)

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
"""And nothing else under the first windows and the last; a block of 30 bytes has a row of outputs."""


@pytest.mark.parametrize("algorithm", EXACT)
@given(convolutions(), CUTS)
@example(FEW_TO_MANY, (2**22, 1, 1))
@example(ROWS_OF_PADDING, (30, 1, 1))
def test_conv2d_is_its_definition(
    algorithm: str, drawn: tuple[Window, int, Array, Array], cuts: tuple[int, int, int]
) -> None:
    window, groups, x, w = drawn
    bias = np.arange(len(w), dtype=x.dtype)
    expected = convolve_by_loops(x, w, window, groups)
    with cut_up(algorithm, *cuts):
        plain = kernels.conv2d(x, w, None, window, groups)
        biased = kernels.conv2d(x, w, bias, window, groups)
    np.testing.assert_array_equal(plain, expected, strict=True)
    np.testing.assert_array_equal(biased, expected + bias[:, None, None], strict=True)


@pytest.mark.parametrize("algorithm", EXACT)
@given(convolutions(), CUTS, st.integers(0, 2**32 - 1))
@example(FEW_TO_MANY, (2**22, 1, 1), 0)
@example(ROWS_OF_PADDING, (30, 1, 1), 0)
def test_conv2d_gradients_are_its_transposes(
    algorithm: str, drawn: tuple[Window, int, Array, Array], cuts: tuple[int, int, int], seed: int
) -> None:
    """<dy, f(x)> = <fᵀ(dy), x> says what the gradient is; x = each unit vector in turn gives its elements."""
    window, groups, x, w = drawn
    shape = convolve_by_loops(x, w, window, groups).shape
    grad_output = integers(np.random.default_rng(seed), x.dtype.type, *shape)
    with cut_up(algorithm, *cuts):
        grad_input = kernels.conv2d_grad_input(grad_output, w, x.shape[2:], window, groups)
        grad_weight = kernels.conv2d_grad_weight(grad_output, x, window, groups)
    expected_input, expected_weight = gradients_by_loops(grad_output, x, w, window, groups)
    np.testing.assert_array_equal(grad_input, expected_input, strict=True)
    np.testing.assert_array_equal(grad_weight, expected_weight, strict=True)
    grad_bias = kernels.conv_grad_bias(grad_output)
    np.testing.assert_array_equal(grad_bias, grad_output.sum((0, 2, 3)), strict=True)
    bias = np.arange(x.shape[1], dtype=x.dtype)
    with cut_up(algorithm, *cuts):
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
            place = b, o // outs * channels + c, row, column
            grad_padded[place] += w[o, c, i, j] * grad_output[b, o, p, q]
            grad_weight[o, c, i, j] += padded[place] * grad_output[b, o, p, q]
    (top, bottom), (left, right) = window.padding
    cropped = ((0, 0), (0, 0), (0, max(0, -bottom)), (0, max(0, -right)))
    grad_padded = np.pad(grad_padded, cropped)
    return grad_padded[:, :, top : top + x.shape[2], left : left + x.shape[3]], grad_weight


@pytest.mark.parametrize("algorithm", ["im2col", "mec", "winograd"])
def test_products_are_of_the_operands_type(algorithm: str) -> None:
    """Factors and memory of float64 would cost time, and the results, of float32 again, would not show it."""
    window, groups, x, w = FEW_TO_MANY
    grad_output = convolve_by_loops(x, w, window, groups)
    multiply = np.matmul

    def noted(a: Array, b: Array, out: Array | None = None) -> Array:
        product: Array = multiply(a, b, out=out)
        assert [array.dtype for array in (a, b, product)] == [np.float32] * 3
        return product

    with cut_up(algorithm, 1, 1, 1), pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_BLOCK_BYTES", (1, 2**24))
        patch.setattr(np, "matmul", noted)
        kernels.conv2d(x, w, None, window, groups)
        kernels.conv2d_grad_input(grad_output, w, x.shape[2:], window, groups)
        kernels.conv2d_grad_weight(grad_output, x, window, groups)


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


def test_an_algorithm_is_chosen_for_a_block_and_no_longer() -> None:
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    shapes = Shapes(1, 1, 1, (5, 5), (5, 5), window, 1, np.dtype(np.float32))
    usual = choosing._algorithm(shapes, mec)
    for name, module in ALGORITHMS.items():
        if not module.accepts(shapes):
            continue
        with suppress(ArithmeticError), kernels.convolution_algorithm("im2col"):
            with kernels.convolution_algorithm(name):
                assert choosing._algorithm(shapes, mec) is module
            assert choosing._algorithm(shapes, mec) is im2col
            raise ArithmeticError
        assert choosing._algorithm(shapes, mec) is usual
    with pytest.raises(KeyError, match="unheard of"), kernels.convolution_algorithm("unheard of"):
        pass


def test_work_grows_with_the_taps_not_with_the_stride() -> None:
    x, w = np.ones((1, 1, 3, 2)), np.ones((1, 1, 2, 1))
    window = Window((2, 1), (10**9, 1), ((0, 0), (0, 0)), (1, 1))
    np.testing.assert_array_equal(kernels.conv2d(x, w, None, window, 1), [[[[2.0, 2.0]]]])


def pool_by_loops(x: Array, window: Window, size: Pair) -> tuple[Array, Array]:
    (top, _), (left, _) = window.padding
    y = np.full((*x.shape[:2], *size), lowest(x.dtype), dtype=x.dtype)
    places = np.full(y.shape, -1)
    for b, c, p, q in np.ndindex(y.shape):
        for i, j in np.ndindex(window.kernel_size):
            row = p * window.stride[0] + i * window.dilation[0] - top
            column = q * window.stride[1] + j * window.dilation[1] - left
            if not (0 <= row < x.shape[2] and 0 <= column < x.shape[3]):
                continue
            pixel = x[b, c, row, column]
            if places[b, c, p, q] < 0 or pixel > y[b, c, p, q] or np.isnan(pixel):
                y[b, c, p, q], places[b, c, p, q] = pixel, row * x.shape[3] + column
    return y, places


def lowest(dtype: np.dtype[Any]) -> float:
    return -np.inf if np.issubdtype(dtype, np.floating) else float(np.iinfo(dtype).min)


@given(
    windows(pooling=True),
    st.booleans(),
    st.integers(0, 2),
    SMALL,
    st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int32]),
    st.sampled_from([0.2, 0.5, 0.9]),
    st.integers(0, 2**32 - 1),
)
def test_max_pool2d_is_its_definition(
    drawn: tuple[Window, Pair], ceil_mode: bool, n: int, channels: int, dtype: type, low: float, seed: int
) -> None:
    """Few distinct values make many ties; infinities, NaN and windows of the lowest are among them."""
    window, size = drawn
    rng = np.random.default_rng(seed)
    special = [np.inf, np.nan] if np.issubdtype(dtype, np.floating) else [2, 3]
    values = [lowest(np.dtype(dtype)), -1, 0, 1, *special]
    x: Array = rng.choice(values, (n, channels, *size), p=[low, *[(1 - low) / 5] * 5]).astype(dtype)
    with pooled_in_blocks(rng):
        y, places = kernels.max_pool2d(x, window, ceil_mode)
    expected, expected_places = pool_by_loops(x, window, window.output_size(size, ceil_mode))
    np.testing.assert_array_equal(y, expected, strict=True)
    inside = expected_places >= 0
    indices = kernels.max_pool2d_indices(places)
    np.testing.assert_array_equal(indices[inside], expected_places[inside], strict=True)


@contextmanager
def pooled_in_blocks(rng: np.random.Generator) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(max_pooling, "_BLOCK_BYTES", int(rng.choice([1, 20, 100, 500, 2**19])))
        yield


@given(windows(pooling=True), st.booleans(), st.integers(0, 3), FLOATS, st.integers(0, 2**32 - 1))
def test_max_pool2d_derivatives_follow_the_places(
    drawn: tuple[Window, Pair], ceil_mode: bool, channels: int, dtype: type, seed: int
) -> None:
    """Windows that lie around the picture altogether get no pixel, and give their gradient to none."""
    window, size = drawn
    rng = np.random.default_rng(seed)
    x = integers(rng, dtype, 2, channels, *size)
    y, places = kernels.max_pool2d(x, window, ceil_mode)
    _, expected_places = pool_by_loops(x, window, window.output_size(size, ceil_mode))
    inside = expected_places >= 0
    grad_output: Array = integers(rng, dtype, *y.shape)
    grad_output.flat[np.flatnonzero(inside)[:1]] = np.inf  # an infinity must stay in its place
    expected: Array = np.zeros((2 * channels, size[0] * size[1]), dtype=dtype)
    planes = np.repeat(np.arange(2 * channels), math.prod(y.shape[2:]))
    for plane, place, value in zip(planes, expected_places.ravel(), grad_output.ravel(), strict=True):
        if place >= 0:
            expected[plane, place] += value
    with pooled_in_blocks(rng):
        grad_input = kernels.max_pool2d_scatter(grad_output, places, size, window)
        gathered = kernels.max_pool2d_gather(x, places, window)
    np.testing.assert_array_equal(grad_input, expected.reshape(x.shape), strict=True)
    np.testing.assert_array_equal(gathered, np.where(inside, y, dtype(0)), strict=True)


@pytest.mark.parametrize("more", [0, 1])
def test_pictures_of_more_pixels_than_int32_numbers_are_refused(more: int) -> None:
    """A picture of one repeated byte takes no memory."""
    size = (2**15 + more, 2**16)
    x = np.broadcast_to(np.int8(7), (1, 1, *size))
    window = Window((1, 1), (2**15 - 1, 2**16 - 1), ((0, 0), (0, 0)), (1, 1))
    if more:
        with pytest.raises(
            ValueError, match=r"expected pictures of at most 2\*\*31 pixels, got \(32769, 65536\)$"
        ):
            kernels.max_pool2d(x, window, ceil_mode=False)
    else:
        _, places = kernels.max_pool2d(x, window, ceil_mode=False)
        assert places[0, 0, 1, 1] == 2**31 - 1


def average_by_loops(
    x: Array, starts: Any, ends: Any, divide: Callable[[int, int], float]
) -> tuple[Array, Callable[[Array], Array]]:
    """Average over the rows and columns from starts up to ends; gives the transpose of that as well."""
    size = len(starts[0]), len(starts[1])
    over = [
        [slice(max(0, start), max(0, end)) for start, end in zip(starts[axis], ends[axis], strict=True)]
        for axis in (0, 1)
    ]
    y = np.zeros((*x.shape[:2], *size))
    for p, q in np.ndindex(size):
        y[:, :, p, q] = x[:, :, over[0][p], over[1][q]].sum((2, 3)) / divide(p, q)

    def transpose(grad_output: Array) -> Array:
        grad_input = np.zeros(x.shape)
        for p, q in np.ndindex(size):
            grad_input[:, :, over[0][p], over[1][q]] += grad_output[:, :, p, q, None, None] / divide(p, q)
        return grad_input

    return y, transpose


@given(
    windows(pooling=True),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 3, -2]),
    FLOATS,
    st.integers(0, 99),
)
def test_avg_pool2d_and_its_derivative_are_their_definitions(
    drawn: tuple[Window, Pair], ceil_mode: bool, include: bool, divisor: int | None, dtype: type, seed: int
) -> None:
    window, size = drawn[0]._replace(dilation=(1, 1)), drawn[1]
    rng = np.random.default_rng(seed)
    x = integers(rng, dtype, 2, 2, *size)
    output_size = window.output_size(size, ceil_mode)
    starts = [np.arange(output_size[i]) * window.stride[i] - window.padding[i][0] for i in (0, 1)]
    last = [size[i] + window.padding[i][1] for i in (0, 1)]
    ends = [np.minimum(starts[i] + window.kernel_size[i], last[i]) for i in (0, 1)]

    def divide(p: int, q: int) -> float:
        if divisor is not None:
            return divisor
        counts = [
            end - start if include else min(end, length) - max(start, 0)
            for start, end, length in (
                (starts[0][p], ends[0][p], size[0]),
                (starts[1][q], ends[1][q], size[1]),
            )
        ]
        return counts[0] * counts[1]

    expected, transpose = average_by_loops(x, starts, ends, divide)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(average_pooling, "_BLOCK_BYTES", int(rng.choice([1, 20, 100, 500, 2**19])))
        y = kernels.avg_pool2d(x, output_size, window, include, divisor)
        np.testing.assert_array_equal(y, expected.astype(dtype), strict=True)
        grad_output = integers(rng, dtype, *expected.shape)
        grad_input = kernels.avg_pool2d_grad_input(grad_output, size, window, include, divisor)
    assert grad_input.dtype == dtype
    tolerance = 256 * np.finfo(dtype).eps
    np.testing.assert_allclose(grad_input, transpose(grad_output), rtol=tolerance, atol=tolerance)
    whole = kernels.avg_pool2d(x.astype(np.int64), output_size, window, include, divisor)
    np.testing.assert_array_equal(whole, np.trunc(expected))


def test_a_single_window_may_leave_pixels_out() -> None:
    x: Array = np.arange(20.0).reshape(1, 1, 4, 5)
    window = Window((3, 4), (2, 2), ((0, 0), (0, 0)), (1, 1))
    y = kernels.avg_pool2d(x, (1, 1), window, True, None)
    np.testing.assert_array_equal(y, x[:, :, :3, :4].mean(axis=(2, 3), keepdims=True))
    grad_input = kernels.avg_pool2d_grad_input(12 * y, (4, 5), window, True, None)
    expected = np.zeros_like(x)
    expected[:, :, :3, :4] = y
    np.testing.assert_array_equal(grad_input, expected)


@given(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(0, 12)] * 2), st.integers(0, 99))
def test_adaptive_avg_pool2d_and_its_derivative_are_their_definitions(
    size: Pair, output_size: Pair, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = integers(rng, np.float64, 2, 2, *size)
    starts, ends = (
        [[(p + more) * length // count + more * bool((p + more) * length % count) for p in range(count)]
         for length, count in zip(size, output_size, strict=True)]
        for more in (0, 1)
    )  # fmt: skip

    def divide(p: int, q: int) -> float:
        return (ends[0][p] - starts[0][p]) * (ends[1][q] - starts[1][q])

    expected, transpose = average_by_loops(x, starts, ends, divide)
    grad_output = integers(rng, np.float64, *expected.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(average_pooling, "_BLOCK_BYTES", int(rng.choice([1, 20, 100, 500, 2**19])))
        np.testing.assert_array_equal(kernels.adaptive_avg_pool2d(x, output_size), expected)
        grad_input = kernels.adaptive_avg_pool2d_grad_input(grad_output, size)
    np.testing.assert_allclose(grad_input, transpose(grad_output), rtol=1e-13, atol=1e-13)


@given(windows(pooling=True), st.booleans())
def test_average_pooling_knows_where_windows_leave_pixels_out_or_overlap(
    drawn: tuple[Window, Pair], ceil_mode: bool
) -> None:
    window, size = drawn[0]._replace(dilation=(1, 1)), drawn[1]
    output_size = window.output_size(size, ceil_mode)
    for axis, described in enumerate(average_pooling._under_window(window, size, output_size)):
        over = np.zeros(size[axis], dtype=int)
        for position in range(output_size[axis]):
            start = position * window.stride[axis] - window.padding[axis][0]
            over[max(0, start) : max(0, start + window.kernel_size[axis])] += 1
        assert described.covered == (over >= 1).all()
        assert described.apart == (over <= 1).all()


def test_a_divisor_that_all_outputs_have_is_one_number() -> None:
    same, different, none = np.full(3, 2), np.array([2, 3]), np.zeros(0, dtype=int)
    assert average_pooling._products(same, same).array().shape == ()
    np.testing.assert_array_equal(average_pooling._products(same[:1], different).array(), [[4, 6]])
    assert average_pooling._products(none, same).array().shape == (0, 3)


@given(st.integers(0, 3), st.lists(st.integers(1, 3), max_size=4))
def test_indices_of_equal_steps_are_a_slice(first: int, steps: list[int]) -> None:
    numbers = np.cumsum([first, *steps])
    index = average_pooling._as_slice(numbers)
    np.testing.assert_array_equal(np.arange(20)[index], numbers)
    assert isinstance(index, slice) == (len(set(steps)) <= 1)


def test_infinities_stay_under_their_windows() -> None:
    """A sum by a product with zeros would turn them into NaN everywhere."""
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 0, 0] = np.inf
    window = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    for y in (kernels.avg_pool2d(x, (2, 2), window, True, None), kernels.adaptive_avg_pool2d(x, (2, 2))):
        np.testing.assert_array_equal(y, [[[[np.inf, 0], [0, 0]]]])
