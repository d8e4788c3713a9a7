"""Pooling of volumes and adaptive max pooling are their definitions."""

from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.pooling import adaptive_maximum, average, maximum, picked, volumes
from scratch_conv.kernels.windows import Array, Size, effective_kernel_size

BLOCKS = st.sampled_from([2**20, 1, 60, 400])
"""Of bytes: whole volumes, parts of them, single outputs."""


def drawn_numbers(draw: st.DrawFn, shape: Size, whole: bool) -> Array:
    """Draw small whole numbers, so that every order of summation is exact, and else what is not finite."""
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(-2, 3, shape).astype(np.float32)
    if not whole:
        values[values == 1] = draw(st.sampled_from([1, np.nan, -np.inf]))
        values[values == 2] = draw(st.sampled_from([2, np.nan, -np.inf]))
    return values


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, Size, bool]:
    """Draw a window of three axes, the size of a volume that it slides over, and the ceil_mode."""
    triple = st.tuples(*(st.integers(1, 3) for _ in range(3)))
    kernel_size, stride, dilation = draw(triple), draw(triple), draw(st.just((1, 1, 1)) | triple)
    padding = tuple(draw(st.integers(0, each // 2)) for each in kernel_size)
    least = [
        max(1, effective_kernel_size(taps, step) - 2 * pad)
        for taps, step, pad in zip(kernel_size, dilation, padding, strict=True)
    ]
    size = tuple(each + draw(st.integers(0, 3)) for each in least)
    window = Window(kernel_size, stride, tuple((pad, pad) for pad in padding), dilation)
    return window, size, draw(st.booleans())


def under(window: Window, size: Size, output_size: Size) -> dict[Size, list[Size]]:
    """Return the pixels under each window in reading order."""
    met = {}
    for position in np.ndindex(*output_size):
        axes = [
            [
                pixel
                for tap in range(window.kernel_size[axis])
                if 0 <= (pixel := _pixel(window, axis, at, tap)) < size[axis]
            ]
            for axis, at in enumerate(position)
        ]
        met[position] = [*product(*axes)]
    return met


def _pixel(window: Window, axis: int, at: int, tap: int) -> int:
    return at * window.stride[axis] + tap * window.dilation[axis] - window.padding[axis][0]


def bins(size: Size, output_size: Size) -> dict[Size, list[Size]]:
    """Return the pixels in each bin in reading order."""
    return {
        position: [
            *product(
                *(
                    range(at * length // count, -(-(at + 1) * length // count))
                    for at, length, count in zip(position, size, output_size, strict=True)
                )
            )
        ]
        for position in np.ndindex(*output_size)
    }


def everywhere(place: Size) -> Any:
    """Return the index of a pixel or an output in all images."""
    return (..., *place)


def check_maxima(x: Array, y: Array, indices: Array, met: dict[Size, list[Size]]) -> None:
    """Compare with the last NaN under each window, else the first maximum; -inf where there is no pixel."""
    for image in np.ndindex(*x.shape[:2]):
        for position, pixels in met.items():
            got, index = y[image][position], indices[image][position]
            if not pixels:
                assert got == -np.inf
                assert index < 0
                continue
            values = np.array([x[image][pixel] for pixel in pixels])
            nans = np.flatnonzero(np.isnan(values))
            best = nans[-1] if nans.size else values.argmax()
            np.testing.assert_equal(got, values[best])
            assert index == np.ravel_multi_index(pixels[best], x.shape[2:])


def check_derivatives(x: Array, indices: Array, non_overlapping: bool) -> None:
    """Compare the scatter and the gather with loops over the outputs."""
    grads = np.arange(1, indices.size + 1, dtype=np.float32).reshape(indices.shape)
    images, pixels = prod(x.shape[:2]), prod(x.shape[2:])
    flat_x, flat_indices = x.reshape(images, pixels), indices.reshape(images, -1)
    scattered, gathered = np.zeros_like(flat_x), np.zeros_like(flat_indices, dtype=x.dtype)
    for (image, output), index in np.ndenumerate(flat_indices):
        if index >= 0:
            scattered[image, index] += grads.reshape(images, -1)[image, output]
            gathered[image, output] = flat_x[image, index]
    got = kernels.scatter_picked(grads, indices, x.shape[2:], non_overlapping)
    np.testing.assert_array_equal(got, scattered.reshape(x.shape))
    np.testing.assert_array_equal(kernels.gather_picked(x, indices), gathered.reshape(indices.shape))


@given(windows(), BLOCKS, st.data())
def test_max_pool3d_is_its_definition(drawn: Any, block_bytes: int, data: st.DataObject) -> None:
    window, size, ceil_mode = drawn
    x = data.draw(st.composite(drawn_numbers)((2, 2, *size), False))
    with pytest.MonkeyPatch.context() as patch:
        for module in (maximum, picked, volumes):
            patch.setattr(module, "_BLOCK_BYTES", block_bytes)
        y, indices = kernels.max_pool3d(x, window, ceil_mode)
        check_maxima(x, y, indices, under(window, size, window.output_size(size, ceil_mode)))
        check_derivatives(np.arange(x.size, dtype=np.float32).reshape(x.shape), indices, False)
    names = kernels.picked_indices(indices)
    assert names.dtype == np.int64
    np.testing.assert_array_equal(names, np.where(indices < 0, ~indices, indices))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 9), BLOCKS, st.data())
def test_max_unpooling_is_its_definition(
    size: list[int], count: int, block_bytes: int, data: st.DataObject
) -> None:
    """Of elements at one index the last stays, also where they are cut apart, and whoever computes."""
    x = data.draw(st.composite(drawn_numbers)((2, 3, count), False))
    places = np.random.default_rng(count).integers(0, prod(size), x.shape)
    expected = np.zeros((2, 3, prod(size)), np.float32)
    for (n, c, k), place in np.ndenumerate(places):
        expected[n, c, place] = x[n, c, k]
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(2):
        patch.setattr(picked, "_BLOCK_BYTES", block_bytes)
        y = kernels.max_unpool(x, places, tuple(size))
    np.testing.assert_array_equal(y, expected.reshape(2, 3, *size))
    wrong = data.draw(st.sampled_from([-1, -(2**40), prod(size), 2**40]))
    places.flat[-1:] = wrong
    if count:
        with pytest.raises(IndexError, match=f"invalid max index: {wrong} .*{'x'.join(map(str, size))}"):
            kernels.max_unpool(x, places, tuple(size))


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 5)), min_size=2, max_size=3), BLOCKS, st.data())
def test_adaptive_max_pooling_is_its_definition(
    axes: list[tuple[int, int]], block_bytes: int, data: st.DataObject
) -> None:
    size, output_size = (tuple(each) for each in zip(*axes, strict=True))
    x = data.draw(st.composite(drawn_numbers)((2, 2, *size), False))
    pool: Any = kernels.adaptive_max_pool2d if len(axes) == 2 else kernels.adaptive_max_pool3d
    with pytest.MonkeyPatch.context() as patch:
        for module in (maximum, picked, volumes, adaptive_maximum):
            patch.setattr(module, "_BLOCK_BYTES", block_bytes)
        y, indices = pool(x, output_size)
        check_maxima(x, y, indices, bins(size, output_size))
        even = all(length % count == 0 for length, count in axes)
        check_derivatives(np.arange(x.size, dtype=np.float32).reshape(x.shape), indices, even)


@given(windows(), BLOCKS, st.booleans(), st.sampled_from([None, 1, 4]), st.data())
def test_avg_pool3d_and_its_derivative_are_their_definitions(
    drawn: Any, block_bytes: int, count_include_pad: bool, divisor: int | None, data: st.DataObject
) -> None:
    window, size, ceil_mode = drawn
    window = window._replace(dilation=(1, 1, 1))
    output_size = window.output_size(size, ceil_mode)
    x: Array = data.draw(st.composite(drawn_numbers)((2, 1, *size), True)).astype(np.float64)
    dy: Array = data.draw(st.composite(drawn_numbers)((2, 1, *output_size), True)).astype(np.float64)
    y: Any = np.zeros_like(dy)
    dx: Any = np.zeros_like(x)
    for position, pixels in under(window, size, output_size).items():
        counts = []
        for axis, at in enumerate(position):
            start = at * window.stride[axis] - window.padding[axis][0]
            end = min(start + window.kernel_size[axis], size[axis] + window.padding[axis][1])
            counts.append(end - start if count_include_pad else min(end, size[axis]) - max(start, 0))
        for pixel in pixels:
            y[everywhere(position)] += x[everywhere(pixel)] / (divisor or prod(counts))
            dx[everywhere(pixel)] += dy[everywhere(position)] / (divisor or prod(counts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(average, "_BLOCK_BYTES", block_bytes)
        arguments = window, count_include_pad, divisor
        np.testing.assert_allclose(kernels.avg_pool3d(x, output_size, *arguments), y, atol=1e-14)
        np.testing.assert_allclose(kernels.avg_pool3d_grad_input(dy, size, *arguments), dx, atol=1e-14)


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 5)), min_size=3, max_size=3), st.data())
def test_adaptive_avg_pool3d_and_its_derivative_are_their_definitions(
    axes: list[tuple[int, int]], data: st.DataObject
) -> None:
    size, output_size = (tuple(each) for each in zip(*axes, strict=True))
    x: Array = data.draw(st.composite(drawn_numbers)((2, 1, *size), True)).astype(np.float64)
    dy: Array = data.draw(st.composite(drawn_numbers)((2, 1, *output_size), True)).astype(np.float64)
    y: Any = np.zeros_like(dy)
    dx: Any = np.zeros_like(x)
    for position, pixels in bins(size, output_size).items():
        for pixel in pixels:
            y[everywhere(position)] += x[everywhere(pixel)] / len(pixels)
            dx[everywhere(pixel)] += dy[everywhere(position)] / len(pixels)
    np.testing.assert_allclose(kernels.adaptive_avg_pool3d(x, output_size), y, atol=1e-14)
    np.testing.assert_allclose(kernels.adaptive_avg_pool3d_grad_input(dy, size), dx, atol=1e-14)
