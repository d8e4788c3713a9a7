"""Pooling against its definitions, written as plain loops over one image element at a time.

Where the data are small integers held as floats, every sum is exact and the results must be equal.
"""

import gc
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.windows import Array, Pair, effective_kernel_size

SMALL = st.integers(1, 3)
FLOATS = st.sampled_from([np.float32, np.float64])


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, Pair]:
    """Draw a window, and an image size on which it has at least one position."""
    stride, dilation = (draw(st.just((1, 1)) | st.tuples(SMALL, SMALL)) for _ in range(2))
    kernel_size = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    most = [st.just(size // 2) | st.integers(0, size // 2) for size in kernel_size]
    padding = draw(st.tuples(*[st.tuples(pad, pad) for pad in most]))
    height, width = (
        max(1, effective_kernel_size(kernel_size[axis], dilation[axis]) - sum(padding[axis]))
        + draw(st.integers(0, 4))
        for axis in (0, 1)
    )
    return Window(kernel_size, stride, padding, dilation), (height, width)


def integers(rng: np.random.Generator, dtype: type, *shape: int) -> Array:
    return rng.integers(-4, 5, shape).astype(dtype)


def pool_by_loops(x: Array, window: Window, size: Pair) -> tuple[Array, Array]:
    (top, _), (left, _) = window.padding
    y = np.full((*x.shape[:2], *size), lowest(x.dtype), dtype=x.dtype)
    indices = np.full(y.shape, -1)
    for b, c, p, q in np.ndindex(y.shape):
        for i, j in np.ndindex(window.kernel_size):
            row = p * window.stride[0] + i * window.dilation[0] - top
            column = q * window.stride[1] + j * window.dilation[1] - left
            if not (0 <= row < x.shape[2] and 0 <= column < x.shape[3]):
                continue
            pixel = x[b, c, row, column]
            if indices[b, c, p, q] < 0 or pixel > y[b, c, p, q] or np.isnan(pixel):
                y[b, c, p, q], indices[b, c, p, q] = pixel, row * x.shape[3] + column
    return y, indices


def lowest(dtype: np.dtype[Any]) -> float:
    return -np.inf if np.issubdtype(dtype, np.floating) else float(np.iinfo(dtype).min)


@given(
    windows(),
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
    y, indices = kernels.max_pool2d(x, window, ceil_mode)
    expected, expected_indices = pool_by_loops(x, window, window.output_size(size, ceil_mode))
    np.testing.assert_array_equal(y, expected, strict=True)
    inside = expected_indices >= 0
    indices = kernels.max_pool2d_indices(indices)
    np.testing.assert_array_equal(indices[inside], expected_indices[inside], strict=True)


@given(windows(), st.booleans(), st.integers(0, 3), FLOATS, st.integers(0, 2**32 - 1))
def test_max_pool2d_derivatives_follow_the_indices(
    drawn: tuple[Window, Pair], ceil_mode: bool, channels: int, dtype: type, seed: int
) -> None:
    """Windows without a tap inside the image get no pixel, and no pixel gets their gradient."""
    window, size = drawn
    rng = np.random.default_rng(seed)
    x = integers(rng, dtype, 2, channels, *size)
    y, indices = kernels.max_pool2d(x, window, ceil_mode)
    _, expected_indices = pool_by_loops(x, window, window.output_size(size, ceil_mode))
    inside = expected_indices >= 0
    grad_output: Array = integers(rng, dtype, *y.shape)
    grad_output.flat[np.flatnonzero(inside)[:1]] = np.inf  # an infinity must stay where it is
    expected: Array = np.zeros((2 * channels, size[0] * size[1]), dtype=dtype)
    planes = np.repeat(np.arange(2 * channels), math.prod(y.shape[2:]))
    for plane, place, value in zip(planes, expected_indices.ravel(), grad_output.ravel(), strict=True):
        if place >= 0:
            expected[plane, place] += value
    grad_input = kernels.max_pool2d_scatter(grad_output, indices, size, window)
    gathered = kernels.max_pool2d_gather(x, indices, window)
    np.testing.assert_array_equal(grad_input, expected.reshape(x.shape), strict=True)
    np.testing.assert_array_equal(gathered, np.where(inside, y, dtype(0)), strict=True)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_window_without_a_tap_in_the_image_has_no_gradient(axis: int) -> None:
    """Dilated taps may step over a narrow image: of three windows of two taps the middle one does."""
    window = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    taps, padding, dilation = [1, 1], [(0, 0), (0, 0)], [1, 1]
    taps[axis], padding[axis], dilation[axis] = 2, (2, 2), 4
    window = window._replace(kernel_size=tuple(taps), padding=tuple(padding), dilation=tuple(dilation))
    size = (4, 3) if axis else (3, 4)
    x = np.arange(1.0, 73.0).reshape(2, 3, *size)
    y, indices = kernels.max_pool2d(x, window, False)
    empty = np.isinf(y)
    assert empty.any()
    assert not empty.all()
    gradient = kernels.max_pool2d_scatter(np.ones_like(y), indices, size, window)
    np.testing.assert_array_equal(gradient.sum(), (~empty).sum())
    np.testing.assert_array_equal(
        kernels.max_pool2d_gather(x, indices, window), np.where(empty, 0, y), strict=True
    )


@pytest.mark.parametrize("side", [31, 32, 33, 45])
def test_the_average_of_each_plane_is_that_of_all_of_its_pixels(side: int) -> None:
    """Of a number of pixels that is no multiple of a part's too."""
    x = np.arange(3.0 * side * side).reshape(1, 3, side, side)
    expected = x.sum(axis=(2, 3), keepdims=True) / side**2
    np.testing.assert_array_equal(kernels.adaptive_avg_pool2d(x, (1, 1)), expected)


def test_a_large_window_without_a_tap_in_the_image_has_an_index_of_it() -> None:
    window = Window((2, 300), (1, 1), ((1, 1), (0, 0)), (5, 1))
    y, indices = kernels.max_pool2d(np.zeros((1, 1, 4, 300)), window, False)
    assert np.isneginf(y).all()
    assert (indices < 4 * 300).all()


@pytest.mark.parametrize("more", [0, 1])
def test_images_of_more_pixels_than_int32_numbers_are_refused(more: int) -> None:
    """An image of one repeated byte takes no memory."""
    size = (2**15 + more, 2**16)
    x = np.broadcast_to(np.int8(7), (1, 1, *size))
    window = Window((1, 1), (2**15 - 1, 2**16 - 1), ((0, 0), (0, 0)), (1, 1))
    if more:
        with pytest.raises(
            ValueError, match=r"expected images of at most 2\*\*31 pixels, got \(32769, 65536\)$"
        ):
            kernels.max_pool2d(x, window, ceil_mode=False)
    else:
        _, indices = kernels.max_pool2d(x, window, ceil_mode=False)
        assert indices[0, 0, 1, 1] == 2**31 - 1


def average_by_loops(
    x: Array, starts: Any, ends: Any, divide: Callable[[int, int], float]
) -> tuple[Array, Callable[[Array], Array]]:
    """Average over the rows and columns from starts up to ends; return that and its transpose."""
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
    windows(),
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
    np.testing.assert_array_equal(kernels.adaptive_avg_pool2d(x, output_size), expected)
    grad_input = kernels.adaptive_avg_pool2d_grad_input(grad_output, size)
    np.testing.assert_allclose(grad_input, transpose(grad_output), rtol=1e-13, atol=1e-13)


def test_infinities_stay_under_their_windows() -> None:
    """A sum by a product with zeros would turn them into NaN everywhere."""
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 0, 0] = np.inf
    window = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    for y in (kernels.avg_pool2d(x, (2, 2), window, True, None), kernels.adaptive_avg_pool2d(x, (2, 2))):
        np.testing.assert_array_equal(y, [[[[np.inf, 0], [0, 0]]]])


LINE = np.arange(1.0, 10.0).reshape(1, 1, 1, 9)


def test_averages_take_work_for_what_lies_inside_the_image_only() -> None:
    """Neither for taps in the padding, nor for windows that are many over few pixels, or large and few."""
    x, huge = LINE[..., :4] * np.ones((4, 1)), 10**9
    window = Window((huge, huge), (10**5, huge), ((huge // 2,) * 2,) * 2, (1, 1))
    size = window.output_size((4, 4))
    assert size == (1, 1)
    np.testing.assert_array_equal(kernels.avg_pool2d(x, size, window, True, 8), [[[[x.sum() / 8]]]])
    window = window._replace(stride=(huge // 2 - 1, huge // 2 - 1))
    y = kernels.avg_pool2d(x, (2, 2), window, True, 8)
    np.testing.assert_array_equal(y[..., 0, 0], [[x.sum() / 8]])
    grad_input = kernels.avg_pool2d_grad_input(y, (4, 4), window, True, 1)
    np.testing.assert_array_equal(grad_input[..., 0, 0], [[y.sum()]])
    many = kernels.adaptive_avg_pool2d(LINE, (1, 100_000))
    np.testing.assert_array_equal(many[..., [0, -1]], LINE[..., [0, -1]])
    grad_input = kernels.adaptive_avg_pool2d_grad_input(many, (1, 9))
    assert abs(grad_input.sum() - many.sum()) < 100
    row = np.arange(1e6).reshape(1, 1, 1, -1)
    np.testing.assert_array_equal(kernels.adaptive_avg_pool2d(row, (1, 2)), [[[[249_999.5, 749_999.5]]]])


@pytest.mark.parametrize("size", [(1, 3_000_000), (3_000_000, 1), (1500, 2000), (1030, 3)])
@pytest.mark.parametrize("bins", [1, 2])
def test_averages_of_many_pixels_are_those_of_their_terms(size: Pair, bins: int) -> None:
    """In float32, millions of equal numbers one after the other err by more than one in a hundred."""
    output_size = bins if size[0] > 1 else 1, bins if size[1] > 1 else 1
    y = kernels.adaptive_avg_pool2d(np.full((1, 1, *size), 0.7, np.float32), output_size)
    np.testing.assert_allclose(y, np.full_like(y, 0.7), rtol=1e-4)
    grads: Array = np.full((1, 1, *size), 0.7, np.float32)
    grad_input = kernels.adaptive_avg_pool2d_grad_input(grads, output_size)  # of windows over few pixels
    count = math.prod(size) / math.prod(output_size)
    np.testing.assert_allclose(grad_input / count, np.full_like(grad_input, 0.7), rtol=1e-4)


def test_what_is_kept_between_calls_is_little() -> None:
    """For forty sizes, with windows of many taps or many windows."""

    def pool() -> None:
        for length in range(4000, 4040):
            line = np.ones((1, 1, 1, length), np.float32)
            kernels.adaptive_avg_pool2d(line, (1, 1 + length % 3))
            window = Window((1, 40), (1, 1), ((0, 0), (0, 0)), (1, 1))
            size = window.output_size((1, length))
            kernels.avg_pool2d_grad_input(
                kernels.avg_pool2d(line, size, window, True, None), (1, length), window, True, None
            )

    tracemalloc.start()
    try:
        pool()
        kernels.free_scratch()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2**23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("size", "window", "ceil_mode"),
    [
        ((300, 300), Window((300, 300), (300, 300), ((0, 0), (0, 0)), (1, 1)), False),
        ((2, 3), Window((10**6, 10**6), (10**6, 10**6), ((0, 0), (0, 0)), (1, 1)), True),
        ((1, 400), Window((65536, 1), (1, 1), ((32768, 32768), (0, 0)), (1, 1)), False),
        ((40, 1), Window((2**40, 1), (2**39, 1), ((2**39, 2**39), (0, 0)), (1, 1)), True),
        ((50, 40), Window((11, 30), (1, 2), ((5, 5), (15, 15)), (1, 1)), True),
        ((90, 90), Window((9, 4), (1, 1), ((4, 4), (2, 2)), (10, 20)), False),
    ],
)
@pytest.mark.parametrize("numbers", ["ties", "apart", "nan"])
def test_large_windows_take_work_for_what_lies_inside_the_image_only(
    size: Pair, window: Window, ceil_mode: bool, numbers: str
) -> None:
    rng = np.random.default_rng(0)
    x = (
        rng.integers(0, 3, (2, 1, *size)).astype(np.float32)
        if numbers == "ties"
        else rng.random((2, 1, *size))
    )
    if numbers == "nan":
        x.flat[:: x.size // 5] = np.nan
    output_size = window.output_size(size, ceil_mode)
    y, indices = kernels.max_pool2d(x, window, ceil_mode)
    assert y.shape[2:] == output_size
    for p, q in {
        (0, 0),
        (output_size[0] - 1, output_size[1] - 1),
        (output_size[0] // 2, output_size[1] // 2),
    }:
        rows, columns = (
            [
                pixel
                for pixel in range(size[axis])
                if (pixel - start) % window.dilation[axis] == 0
                and 0 <= (pixel - start) // window.dilation[axis] < window.kernel_size[axis]
            ]
            for axis, position in enumerate((p, q))
            for start in [position * window.stride[axis] - window.padding[axis][0]]
        )
        for image in (0, 1):
            under = {(row, column): x[image, 0, row, column] for row in rows for column in columns}
            nans = [place for place, value in under.items() if np.isnan(value)]
            row, column = nans[-1] if nans else max(under, key=lambda place: under[place])
            assert indices[image, 0, p, q] == row * size[1] + column
            np.testing.assert_array_equal(y[image, 0, p, q], x[image, 0, row, column])
    grad_input = kernels.max_pool2d_scatter(np.ones_like(y), indices, size, window)
    assert grad_input.sum() == y.size
    np.testing.assert_array_equal(kernels.max_pool2d_gather(x, indices, window), y)
