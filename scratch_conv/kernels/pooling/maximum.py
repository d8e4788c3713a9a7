"""Two-dimensional max pooling and its derivatives.

    y[n, c, p, q] = max_{i, j} x[n, c, p·stride + i·dilation - padding, q·stride + j·dilation - padding]

over the taps (i, j) outside of the padding. Pooling also returns the indices of the maxima: its derivative
adds each gradient there (a scatter), and the derivative of the scatter reads from there (a gather). Scatter
and gather are each other's transposes: every order of derivative is one of them.

Shapes: x (N, C, H, W), y (N, C, OH, OW). `indices` (N, C, OH, OW) are those of the flattened image,
row · W + column, in int32, where torch has int64.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scratch_conv.kernels.pooling.large_windows import Line, is_large, lowest, maxima_by_axes
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Pair, Tap, Window, axis_blocks, plane_blocks, planes

__all__ = ["max_pool2d", "max_pool2d_gather", "max_pool2d_indices", "max_pool2d_scatter"]

_Block = tuple[slice, ...]
"""An index into outputs (N·C, OH, OW): planes, and rows and columns of them."""

_BLOCK_BYTES = 2**20
"""A plane is cut if it takes more: a block of it stays in the core's own cache between the passes."""

_FEW_WINDOWS = 2**16
"""The positions of more windows on an image are kept for two sizes of images only."""


def max_pool2d(x: Array, window: Window, ceil_mode: bool) -> tuple[Array, Array]:
    """Return the maximum y (N, C, OH, OW) under each window of x (N, C, H, W), and its index.

    Among equal maxima the first in reading order wins, and NaN wins over every number; of several NaN the
    last wins (the order in which torch compares). Where all is padding or -inf, y is -inf.

    Raises:
        ValueError: An image has more pixels than int32 has indices for.
    """
    if x.shape[2] * x.shape[3] > 2**31:
        raise ValueError(f"max_pool2d: expected images of at most 2**31 pixels, got {_size(x)}")
    y = np.empty((*x.shape[:2], *window.output_size(_size(x), ceil_mode)), dtype=x.dtype)
    indices = np.empty(y.shape, dtype=np.int32)
    x_planes, y_planes, index_planes = planes(x), planes(y), planes(indices)
    batch, plane_cuts = _cut(x_planes, y_planes)
    if is_large(window, _size(x), _size(y)):
        parallel(
            lambda some: maxima_by_axes(x_planes[some], y_planes[some], index_planes[some], window), batch
        )
        return y, indices

    def work(block: _Block) -> None:
        positions = _positions_of(block, window, _size(x), _size(y))
        places = scratch("places", y_planes[block].shape, positions.first_places.dtype)
        _maxima(x_planes[block[0]], y_planes[block], places, positions)
        np.take(positions.offsets, places, out=index_planes[block], mode="clip")
        index_planes[block] += positions.corners

    parallel(work, [(planes, *of_plane) for of_plane in plane_cuts for planes in batch])
    return y, indices


def _maxima(x: Array, y: Array, places: Array, positions: "_Positions") -> None:
    """Go through the taps in reading order, keeping the maximum so far and its place: the tap's number.

    As numbers increase, the last improvement's is itself a maximum: no masked write. They take one byte
    each, which is 0.7 of the time that indices take.
    """
    first, *others = positions.taps
    met = y[first.windows]
    if met.shape != y.shape:
        y[...] = lowest(y.dtype)
    met[...] = x[first.pixels]
    places[...] = positions.first_places
    for tap in others:
        best, best_places = y[tap.windows], places[tap.windows]
        # Contiguous, each pass below runs at several times the speed that it has on strided pixels.
        pixels = scratch("pixels", best.shape, x.dtype)
        np.copyto(pixels, x[tap.pixels])
        better = scratch("better", best.shape, np.bool_)
        np.greater(pixels, best, out=better)
        np.maximum(pixels, best, out=best)
        improved = scratch("improved", best.shape, places.dtype)
        np.multiply(better.view(np.uint8), places.dtype.type(tap.number), out=improved)
        np.maximum(improved, best_places, out=best_places)
    if np.isnan(y.max()):
        _find_nans(x, places, positions)


def _find_nans(x: Array, places: Array, positions: "_Positions") -> None:
    """Point at the last NaN of each window that has one (a comparison with NaN never was an improvement)."""
    for tap in positions.taps:
        np.copyto(places[tap.windows], tap.number, where=np.isnan(x[tap.pixels]))


def max_pool2d_scatter(grad_output: Array, indices: Array, input_size: Pair, window: Window) -> Array:
    """Return the gradient with respect to x (N, C, H, W): dx[index of the maximum] += dy (N, C, OH, OW).

    Where windows overlap, gradients are summed in float64; those of a plane that is cut, block by block.
    """
    grad_input = np.empty((*grad_output.shape[:2], *input_size), dtype=grad_output.dtype)
    grad_planes, index_planes, pixel_planes = planes(grad_output), planes(indices), planes(grad_input)
    batch, plane_cuts = _cut(pixel_planes, grad_planes)
    non_overlapping, cut = window.is_non_overlapping(), len(plane_cuts) != 1

    def work(planes: slice) -> None:
        pixels = pixel_planes[planes].ravel()
        if non_overlapping or cut:
            pixels[...] = 0
        for of_plane in plane_cuts:
            block = (planes, *of_plane)
            grads, flat = grad_planes[block], _flat_indices(index_planes[block], input_size)
            met = _met(*_window_of(block, window), input_size)
            if met is not None:
                grads, flat = grads[:, met], flat[:, met]
            flat, grads = flat.ravel(), grads.ravel()
            if non_overlapping:
                pixels[flat] = grads  # half the time of a sum
            elif not cut:
                pixels[...] = np.bincount(flat, grads, minlength=pixels.size)
            elif flat.size:
                first = flat.min()
                sums = np.bincount(flat - first, grads)
                pixels[first : first + len(sums)] += sums

    parallel(work, batch)
    return grad_input


def max_pool2d_gather(x: Array, indices: Array, window: Window) -> Array:
    """Return y (N, C, OH, OW) = x[index of the maximum] for x (N, C, H, W)."""
    y = np.empty(indices.shape, dtype=x.dtype)
    x_planes, index_planes, y_planes = planes(x), planes(indices), planes(y)
    batch, plane_cuts = _cut(x_planes, y_planes)

    def work(block: _Block) -> None:
        pixels, flat = x_planes[block[0]].ravel(), _flat_indices(index_planes[block], _size(x))
        np.take(pixels, flat, out=y_planes[block], mode="clip")  # checked indices cost more
        met = _met(*_window_of(block, window), _size(x))
        if met is not None:
            y_planes[block][:, ~met] = 0

    parallel(work, [(planes, *of_plane) for of_plane in plane_cuts for planes in batch])
    return y


def max_pool2d_indices(indices: Array) -> Array:
    """Return the indices as `torch.nn.functional.max_pool2d(..., return_indices=True)` does, in int64."""
    return indices.astype(np.int64)


def _flat_indices(indices: Array, input_size: Pair) -> Array:
    """Return, for indices into each of several images, those into all of them, flattened."""
    starts = np.arange(len(indices))[:, None, None] * (input_size[0] * input_size[1])
    return np.add(indices, starts, out=scratch("indices", indices.shape, np.int64))


class _Positions(NamedTuple):
    """The positions of the windows on images of one size. Offsets are distances in the flattened image."""

    taps: list[Tap]
    """In reading order."""
    offsets: Array
    """The offset of each tap from the window's first."""
    corners: Array
    """The index of each window's first tap (OH, OW), which may be in the padding."""
    first_places: Array
    """The number of each window's first tap that is not above or left of the image: the maximum if all
    are -inf. A single 0 for all where that is so."""


def _window_of(block: _Block, window: Window) -> tuple[Window, Pair]:
    """Return the window that has only the positions in a block of the outputs, and the number of these."""
    _, rows, columns = block
    size = rows.stop - rows.start, columns.stop - columns.start
    return window.starting_at(rows.start, columns.start), size


def _positions_of(block: _Block, window: Window, input_size: Pair, output_size: Pair) -> _Positions:
    """Return the positions of the windows in a block; those of whole planes are kept for the next call."""
    moved, size = _window_of(block, window)
    if size != output_size:
        return _positions(moved, size, input_size)
    find = _kept_positions if size[0] * size[1] <= _FEW_WINDOWS else _kept_large_positions
    return find(moved, size, input_size)


def _positions(window: Window, output_size: Pair, input_size: Pair) -> _Positions:
    width, (_, taps) = input_size[1], window.kernel_size
    starts = [np.arange(output_size[axis]) * window.stride[axis] - window.padding[axis][0] for axis in (0, 1)]
    outside = [-(np.minimum(starts[axis], 0) // window.dilation[axis]) for axis in (0, 1)]
    numbers = np.arange(math.prod(window.kernel_size))
    offsets = numbers // taps * window.dilation[0] * width + numbers % taps * window.dilation[1]
    first_places = np.add.outer(outside[0] * taps, outside[1]).astype(np.min_scalar_type(len(numbers)))
    return _Positions(
        list(window.taps(input_size, output_size)),
        offsets.astype(np.int32),
        np.add.outer((starts[0] * width).astype(np.int32), starts[1].astype(np.int32)),
        first_places if first_places.any() else np.zeros((), first_places.dtype),
    )


_kept_positions = lru_cache(maxsize=16)(_positions)  # half a MiB each at most
_kept_large_positions = lru_cache(maxsize=2)(_positions)  # 2 MiB each, in half precision 4


def _met(window: Window, output_size: Pair, input_size: Pair) -> Array | None:
    """Return which windows (OH, OW) meet the image, None for all. A dilated one may have no tap in it."""
    if window.dilation == (1, 1):
        return None  # as the padding is at most half a window
    met = []
    for line in Line.lines(window, input_size, output_size):
        under = map(line.under, range(line.positions))
        met.append(np.array([each.start < each.stop for each in under], np.bool_))
    return None if met[0].all() and met[1].all() else np.logical_and.outer(*met)


def _size(images: Array) -> Pair:
    return images.shape[-2], images.shape[-1]


def _cut(x_planes: Array, y_planes: Array) -> tuple[list[slice], list[tuple[slice, ...]]]:
    """Cut the batch into planes that fit into a block, and the outputs of a plane if one does not."""
    plane_bytes = max(x_planes[:1].nbytes, y_planes[:1].nbytes)
    batch = axis_blocks(len(x_planes), plane_bytes, _BLOCK_BYTES)
    return batch, plane_blocks(_size(y_planes), plane_bytes, _BLOCK_BYTES)
