"""Two-dimensional max pooling and its derivatives.

    y[n, c, p, q] = max_{i, j} x[n, c, p·stride + i·dilation - padding, q·stride + j·dilation - padding]

over the taps (i, j) that don't fall into the padding. Pooling remembers the place of the maximum;
its derivative sends each gradient back there (a scatter), and the derivative of the scatter reads from there
(a gather). Scatter and gather are each other's transposes: every order of derivative is one of them.

Shapes: x (N, C, H, W), y (N, C, OH, OW). `places` (N, C, OH, OW) are pixels of the flattened picture,
row · W + column, in int32, where torch keeps them in int64.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Pair, Tap, Window, axis_blocks, plane_blocks

__all__ = ["max_pool2d", "max_pool2d_gather", "max_pool2d_indices", "max_pool2d_scatter"]

_Block = tuple[slice, ...]
"""An index into outputs (N·C, OH, OW): planes, and rows and columns of them."""

_BLOCK_BYTES = 2**20
"""Planes are pooled so many at a time that a block stays in the core's own cache between the passes.

A larger plane is pooled in parts.
"""


def max_pool2d(x: Array, window: Window, ceil_mode: bool) -> tuple[Array, Array]:
    """Take the maximum under each window of x (N, C, H, W): gives y (N, C, OH, OW) and its places.

    Among equal maxima the first in reading order wins, and NaN wins over every number; of several NaN the
    last wins (the order in which torch compares). Where all is padding or -inf, y is -inf.

    Raises:
        ValueError: a picture has so many pixels that int32 does not number them.
    """
    if x.shape[2] * x.shape[3] > 2**31:
        raise ValueError(f"max_pool2d: expected pictures of at most 2**31 pixels, got {_size(x)}")
    y = np.empty((*x.shape[:2], *window.output_size(_size(x), ceil_mode)), dtype=x.dtype)
    places = np.empty(y.shape, dtype=np.int32)
    x_planes, y_planes, place_planes = _planes(x), _planes(y), _planes(places)
    batch, plane_parts = _cut(x_planes, y_planes)

    def work(block: _Block) -> None:
        offsets, positions = place_planes[block], _positions_of(block, window, _size(x), _size(y))
        _maxima(_in_cache(x_planes[block[0]]), y_planes[block], offsets, positions)
        offsets += positions.corners

    parallel(work, [(planes, *part) for part in plane_parts for planes in batch])
    return y, places


def _in_cache(pictures: Array) -> Array:
    """Read pictures from memory in one go: in half the time that it takes tap by tap."""
    if pictures.nbytes > _BLOCK_BYTES:
        return pictures
    copy = scratch("pictures", pictures.shape, pictures.dtype)
    np.copyto(copy, pictures)
    return copy


def _maxima(x: Array, y: Array, offsets: Array, positions: "_Positions") -> None:
    """Go through the taps in reading order, keeping the maximum so far and its offset from the first tap.

    As later taps are farther from it, the last improvement's offset is itself a maximum: no masked write.
    """
    (first, _), *others = positions.taps
    y[...] = -np.inf if y.dtype.kind == "f" else np.iinfo(y.dtype).min
    y[first.windows] = x[first.pixels]
    offsets[...] = positions.first_offsets
    for tap, offset in others:
        best, best_offsets = y[tap.windows], offsets[tap.windows]
        # Contiguous, each pass below runs at several times the speed that it has on strided pixels.
        pixels = scratch("pixels", best.shape, x.dtype)
        np.copyto(pixels, x[tap.pixels])
        better = scratch("better", best.shape, np.bool_)
        improved = scratch("improved", best.shape, np.int32)
        np.greater(pixels, best, out=better)
        np.maximum(pixels, best, out=best)
        np.multiply(better, offset, out=improved)
        np.maximum(improved, best_offsets, out=best_offsets)
    if np.isnan(y.max()):
        _find_nans(x, offsets, positions)


def _find_nans(x: Array, offsets: Array, positions: "_Positions") -> None:
    """Point at the last NaN of each window that has one (a comparison with NaN never was an improvement)."""
    for tap, offset in positions.taps:
        np.copyto(offsets[tap.windows], offset, where=np.isnan(x[tap.pixels]))


def max_pool2d_scatter(grad_output: Array, places: Array, input_size: Pair, window: Window) -> Array:
    """Carry the gradient of y (N, C, OH, OW) back to x (N, C, H, W): dx[place of the maximum] += dy.

    Where windows overlap, gradients are summed in float64; of a plane that is cut, part by part.
    """
    grad_input = np.empty((*grad_output.shape[:2], *input_size), dtype=grad_output.dtype)
    grad_planes, place_planes, pixel_planes = _planes(grad_output), _planes(places), _planes(grad_input)
    batch, plane_parts = _cut(pixel_planes, grad_planes)
    apart, whole = window.is_non_overlapping(), len(plane_parts) == 1

    def work(planes: slice) -> None:
        pixels = pixel_planes[planes].ravel()
        if apart or not whole:
            pixels[...] = 0
        for part in plane_parts:
            block = (planes, *part)
            grads, indices = grad_planes[block], _indices(place_planes[block], input_size)
            met = _met(*_part(block, window), input_size)
            if met is not None:
                grads, indices = grads[:, met], indices[:, met]
            indices, grads = indices.ravel(), grads.ravel()
            if apart:
                pixels[indices] = grads  # half the time of a sum
            elif whole:
                pixels[...] = np.bincount(indices, grads, minlength=pixels.size)
            elif indices.size:
                first = indices.min()
                sums = np.bincount(indices - first, grads)
                pixels[first : first + len(sums)] += sums

    parallel(work, batch)
    return grad_input


def max_pool2d_gather(x: Array, places: Array, window: Window) -> Array:
    """Read x (N, C, H, W) where the maxima were: gives y (N, C, OH, OW), y = x[place of the maximum]."""
    y = np.empty(places.shape, dtype=x.dtype)
    x_planes, place_planes, y_planes = _planes(x), _planes(places), _planes(y)
    batch, plane_parts = _cut(x_planes, y_planes)

    def work(block: _Block) -> None:
        pixels, indices = x_planes[block[0]].ravel(), _indices(place_planes[block], _size(x))
        np.take(pixels, indices, out=y_planes[block], mode="clip")  # checked indices cost more
        met = _met(*_part(block, window), _size(x))
        if met is not None:
            y_planes[block][:, ~met] = 0

    parallel(work, [(planes, *part) for part in plane_parts for planes in batch])
    return y


def max_pool2d_indices(places: Array) -> Array:
    """Give the places as `torch.nn.functional.max_pool2d(..., return_indices=True)` does, in int64."""
    return places.astype(np.int64)


def _indices(places: Array, input_size: Pair) -> Array:
    """Turn places in each of several pictures into indices of all their pixels, flattened."""
    starts = np.arange(len(places))[:, None, None] * (input_size[0] * input_size[1])
    indices = scratch("indices", places.shape, np.int64)
    return np.add(places, starts, out=indices)


class _Positions(NamedTuple):
    """Where the windows lie on pictures of one size. Offsets are distances in the flattened picture."""

    taps: list[tuple[Tap, np.int32]]
    """In reading order, each with its offset from the window's first tap."""
    corners: Array
    """The place of each window's first tap (OH, OW), which may lie in the padding."""
    first_offsets: Array
    """The offset of each window's first tap that is not above or left of the picture: of what wins if all
    is -inf."""


def _part(block: _Block, window: Window) -> tuple[Window, Pair]:
    """Give the window that has the positions in a block of the outputs only, and the number of these."""
    _, rows, columns = block
    size = rows.stop - rows.start, columns.stop - columns.start
    return window.starting_at(rows.start, columns.start), size


def _positions_of(block: _Block, window: Window, input_size: Pair, output_size: Pair) -> _Positions:
    """Give the positions of the windows in a block; only those of whole planes are kept for the next call."""
    part, size = _part(block, window)
    find = _positions_of_planes if size == output_size else _positions
    return find(part, size, input_size)


def _positions(window: Window, output_size: Pair, input_size: Pair) -> _Positions:
    width, dilation = input_size[1], window.dilation
    taps = [
        (tap, np.int32(i * dilation[0] * width + j * dilation[1]))
        for tap, (i, j) in zip(
            window.taps(input_size, output_size), np.ndindex(*window.kernel_size), strict=True
        )
    ]
    starts = [np.arange(output_size[axis]) * window.stride[axis] - window.padding[axis][0] for axis in (0, 1)]
    # The first multiple of the dilation that is no less than what lies outside.
    outside = [-(np.minimum(starts[axis], 0) // dilation[axis]) * dilation[axis] for axis in (0, 1)]
    return _Positions(
        taps,
        np.add.outer((starts[0] * width).astype(np.int32), starts[1].astype(np.int32)),
        np.add.outer((outside[0] * width).astype(np.int32), outside[1].astype(np.int32)),
    )


_positions_of_planes = lru_cache(maxsize=16)(_positions)  # of planes that fit into a block: up to 2 MiB each


@lru_cache(maxsize=64)
def _met(window: Window, output_size: Pair, input_size: Pair) -> Array | None:
    """Tell which windows (OH, OW) meet the picture; None for all. A dilated one may lie around it."""
    met = [np.zeros(count, dtype=np.bool_) for count in output_size]
    for axis in (0, 1):
        for tap in range(window.kernel_size[axis]):
            met[axis][window.inside(axis, tap, input_size[axis], output_size[axis])[0]] = True
    return None if met[0].all() and met[1].all() else np.logical_and.outer(*met)


def _planes(pictures: Array) -> Array:
    """Reshape (N, C, H, W) to (N·C, H, W): pooling treats every channel alike."""
    n, c, h, w = pictures.shape
    return pictures.reshape(n * c, h, w)


def _size(pictures: Array) -> Pair:
    return pictures.shape[-2], pictures.shape[-1]


def _cut(x_planes: Array, y_planes: Array) -> tuple[list[slice], list[tuple[slice, ...]]]:
    """Cut the batch into planes that fit into a block, and the outputs of a plane if a single one doesn't."""
    plane_bytes = max(x_planes[:1].nbytes, y_planes[:1].nbytes)
    batch = axis_blocks(len(x_planes), plane_bytes, _BLOCK_BYTES)
    return batch, plane_blocks(_size(y_planes), plane_bytes, _BLOCK_BYTES)
