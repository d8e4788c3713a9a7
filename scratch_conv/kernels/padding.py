"""Padding: elements around an array, and the transpose of it, which is its derivative.

Along each axis the padded array y is made of up to three segments: the elements of x that are kept, and those
before and after them. What lies there is

    constant:   one value                           0 0 | a b c | 0 0
    reflect:    x backwards, without its edge       c b | a b c | b a
    replicate:  the edge of x                       a a | a b c | c c
    circular:   the other end of x                  b c | a b c | a b

so each region of y, a segment of every axis, is a copy of a region of x. All these maps are linear (the
constant aside). The transpose adds each region of y to its region of x; that of padding with zeros is
cropping, which is padding by negative amounts.

Shapes: x of any number of axes, `padding` with one pair for each: how many elements are added before and
after, where a negative number crops. Arrays may be strided in any way and are never written to.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Padding, Pair, Size, plane_blocks

__all__ = ["crop", "pad_constant", "pad_edges", "pad_edges_grad"]

_BLOCK_BYTES = 2**20
"""The results of a block take so much memory, which stays in the core's own cache."""


class Segment(NamedTuple):
    """Elements of one axis of y, and the elements of x that they are; of x one alone where it is repeated."""

    of_y: slice
    of_x: slice
    repeated: bool


class Region(NamedTuple):
    """A segment of every axis: an index into y, one into x, and the axes along which x is repeated."""

    of_y: tuple[Any, ...]
    of_x: tuple[Any, ...]
    repeated: tuple[int, ...]


def crop(x: Array, padding: Padding) -> Array:
    """Return a copy of what negative (or no) padding leaves of x, in the order of its memory."""
    kept: Any = (..., *_inside(x.shape, padding)[0])
    return x[kept].copy(order="K")


def pad_constant(x: Array, padding: Padding, value: Any, channels_last: bool = False) -> Array:
    """Surround x by a value: y (N, C, H, W) as C-contiguous memory, or (N, H, W, C) for channels_last."""
    kept, filled = _inside(x.shape, padding)
    y = empty_images(padded_size(x.shape, padding), x.dtype, channels_last)

    def work(x: Array, y: Array, axes: range) -> None:
        for axis in axes:
            for side in (slice(0, filled[axis].start), slice(filled[axis].stop, None)):
                outside: Any = (*[slice(None)] * axis, side)
                y[outside] = value
        inside: Any = (..., *filled[axes.start :])
        source: Any = (..., *kept[axes.start :])
        y[inside] = x[source]

    _over_blocks(work, x, y, padding, channels_last, y)
    return y


def pad_edges(x: Array, padding: Padding, mode: str, channels_last: bool = False) -> Array:
    """Surround x by its own elements; the memory of y as in `pad_constant`.

    Args:
        x: the array; every axis that is padded has elements that are kept.
        padding: for reflect less than the size; for circular no more than what is kept.
        mode: reflect, replicate or circular.
        channels_last: whether y has its channels last in memory.
    """
    y = empty_images(padded_size(x.shape, padding), x.dtype, channels_last)

    def work(x: Array, y: Array, axes: range) -> None:
        for region in _regions(x.shape, padding, mode, axes):
            y[region.of_y] = x[region.of_x]

    _over_blocks(work, x, y, padding, channels_last, y)
    return y


def pad_edges_grad(
    grad_output: Array, input_size: Size, padding: Padding, mode: str, channels_last: bool = False
) -> Array:
    """Return the gradient with respect to x, of `input_size`: the sum of the elements of dy that copy one."""
    dtype = grad_output.dtype
    grad_input = empty_images(input_size, dtype, channels_last)
    covered = min(map(min, padding), default=0) >= 0

    def work(grad_input: Array, grad_output: Array, axes: range) -> None:
        first, *others = _regions(grad_input.shape, padding, mode, axes)
        if not covered:
            grad_input[...] = 0
        grad_input[first.of_x] = grad_output[first.of_y]
        for region in others:
            added, repeated = grad_output[region.of_y], region.repeated
            met = grad_input[region.of_x]
            met += added.sum(axis=repeated, keepdims=True, dtype=dtype) if repeated else added

    _over_blocks(work, grad_input, grad_output, padding, channels_last, grad_output)
    return grad_input


def padded_size(size: Size, padding: Padding) -> Size:
    """Return the size of y."""
    return tuple(before + count + after for count, (before, after) in zip(size, padding, strict=True))


def empty_images(shape: Size, dtype: Any, channels_last: bool) -> Array:
    """Return an uninitialised array (N, C, ...), whose channels are last in memory where that is said."""
    if not channels_last:
        return np.empty(shape, dtype)
    return np.moveaxis(np.empty((shape[0], *shape[2:], shape[1]), dtype), -1, 1)


def _over_blocks(
    work: Callable[[Array, Array, range], None],
    x: Array,
    y: Array,
    padding: Padding,
    channels_last: bool,
    larger: Array,
) -> None:
    """Call `work` on blocks of the leading axes without padding, with the range of the others."""
    axes = len(padding)
    lead = next((axis for axis, pair in enumerate(padding) if any(pair)), axes)
    blocked = min(lead, 1) if channels_last else lead
    if not blocked or larger.nbytes <= _BLOCK_BYTES:
        work(x, y, range(lead, axes))
        return

    def on_block(block: tuple[slice, ...]) -> None:
        work(x[block], y[block], range(lead, axes))

    parallel(on_block, plane_blocks(larger.shape[:blocked], larger.nbytes, _BLOCK_BYTES))


@lru_cache(maxsize=256)
def _inside(size: Size, padding: Padding) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return two indices: of what is kept, into x and into y."""
    runs = [_kept(count, before, after) for count, (before, after) in zip(size, padding, strict=True)]
    kept = tuple(slice(first, first + count) for first, count in runs)
    starts = zip(runs, padding, strict=True)
    filled = tuple(slice(first + before, first + before + count) for (first, count), (before, _) in starts)
    return kept, filled


def _kept(size: int, before: int, after: int) -> Pair:
    """Return the first element of an axis that is kept, and how many are."""
    first = max(0, -before)
    return first, max(0, size + min(0, after) - first)


def _regions(size: Size, padding: Padding, mode: str, axes: range) -> Sequence[Region]:
    """Return the regions of y, that of what is kept first; the leading axes are whole in each."""
    return _regions_of(size[axes.start :], padding[axes.start :], mode, axes.start)


@lru_cache(maxsize=256)
def _regions_of(size: Size, padding: Padding, mode: str, lead: int) -> Sequence[Region]:
    by_axis = [_segments(count, *pair, mode) for count, pair in zip(size, padding, strict=True)]
    regions = []
    for segments in product(*by_axis):
        repeated = tuple(lead + axis for axis, segment in enumerate(segments) if segment.repeated)
        of_y, of_x = (tuple(each[which] for each in segments) for which in (0, 1))
        regions.append(Region((..., *of_y), (..., *of_x), repeated))
    return regions


def _segments(size: int, before: int, after: int, mode: str) -> list[Segment]:
    """Return the segments of one axis, that of the elements that are kept first."""
    first, count = _kept(size, before, after)
    start, total = max(0, before), before + size + after
    ahead, behind = min(start, total), min(max(0, after), total)
    segments = [Segment(slice(start, start + count), slice(first, first + count), False)]
    sides = (
        (slice(0, ahead), ahead, -before),
        (slice(total - behind, total), behind, total - behind - before),
    )
    for of_y, length, place in sides:  # the place, counted from x's first element, where a side begins
        if not length:
            continue
        if mode == "replicate":
            edge = 0 if place < 0 else size - 1
            segments.append(Segment(of_y, slice(edge, edge + 1), length > 1))
        elif mode == "reflect":
            from_end = -place if place < 0 else 2 * (size - 1) - place
            segments.append(Segment(of_y, _backwards(from_end, length), False))
        else:
            other = first + (place - first) % count
            segments.append(Segment(of_y, slice(other, other + length), False))
    return segments


def _backwards(last: int, length: int) -> slice:
    stop = last - length
    return slice(last, stop if stop >= 0 else None, -1)
