"""Average pooling of images and volumes, under windows of one size or adaptive, and its transpose.

    y[n, c, p, q] = (Σ_{i, j} x[n, c, i, j]) / divisor[p, q]        (i, j) under the window of (p, q)

Which pixels lie under a window is known axis by axis, so the sum goes over rows first, then over the columns
of what is left. Average pooling is linear: its derivative divides by the same divisors and adds each quotient
to all pixels of its window, and that map's derivative is the pooling again.

A volume is summed slice by slice, then over its depth.

Shapes: x (N, C, H, W), y (N, C, OH, OW); of volumes x (N, C, D, H, W), y (N, C, OD, OH, OW).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.sums import summed
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Pair, Size, Window, axis_blocks, bins, plane_blocks, planes

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad_input",
    "adaptive_avg_pool3d",
    "adaptive_avg_pool3d_grad_input",
    "avg_pool2d",
    "avg_pool2d_grad_input",
    "avg_pool3d",
    "avg_pool3d_grad_input",
]

_Index = tuple[slice, slice, slice]
"""Of planes, rows and columns."""

_Taps = tuple[tuple[Any, Any], ...]
"""Pairs of indices into two axes, slices or arrays of ascending numbers."""

_BLOCK_BYTES = 2**20
"""A block of planes, or of one that is larger, stays in the core's own cache between the passes."""

_PART = 2**10
"""So many pixels of a plane are added one after the other at most, then the sums of these."""

_FEW_WINDOWS = 2**16
"""For more windows on an image, nothing is kept for the next call: for these, it is 2 MiB at most."""

_FAR = 2**62


def avg_pool2d(
    x: Array, output_size: Pair, window: Window, count_include_pad: bool, divisor_override: int | None
) -> Array:
    """Return the averages y (N, C, OH, OW) of x (N, C, H, W) under each window.

    Args:
        x: The images.
        output_size: (OH, OW).
        window: The window; it has no dilation.
        count_include_pad: Whether the taps in the padding count in the divisors.
        divisor_override: The divisor of all sums, in place of the number of taps.
    """
    return _average(x, _axes(window, x.shape[2:], output_size, count_include_pad), divisor_override)


def avg_pool2d_grad_input(
    grad_output: Array,
    input_size: Pair,
    window: Window,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Return the gradient with respect to x (N, C, H, W): dy / divisor for all pixels of a window, summed."""
    axes = _axes(window, input_size, grad_output.shape[2:], count_include_pad)
    return _distribute(grad_output, axes, divisor_override)


def adaptive_avg_pool2d(x: Array, output_size: Pair) -> Array:
    """Return the averages y (N, C, OH, OW), of `output_size` (OH, OW), of x (N, C, H, W).

    Output row p averages the rows from floor(p H / OH) up to ceil((p + 1) H / OH), columns likewise.
    """
    return _average(x, _adaptive_axes(x.shape[2:], output_size), None)


def adaptive_avg_pool2d_grad_input(grad_output: Array, input_size: Pair) -> Array:
    """Return the gradient with respect to x (N, C, H, W): dy / area for all pixels of a bin, summed."""
    return _distribute(grad_output, _adaptive_axes(input_size, grad_output.shape[2:]), None)


def avg_pool3d(
    x: Array, output_size: Size, window: Window, count_include_pad: bool, divisor_override: int | None
) -> Array:
    """Return the averages y (N, C, OD, OH, OW) of x (N, C, D, H, W) under each window, as `avg_pool2d`."""
    axes = _volume_axes(window, x.shape[2:], output_size, count_include_pad)
    return _average_volumes(x, output_size, axes, divisor_override)


def avg_pool3d_grad_input(
    grad_output: Array,
    input_size: Size,
    window: Window,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Return the gradient with respect to x (N, C, D, H, W), as `avg_pool2d_grad_input`."""
    axes = _volume_axes(window, input_size, grad_output.shape[2:], count_include_pad)
    return _distribute_volumes(grad_output, input_size, axes, divisor_override)


def adaptive_avg_pool3d(x: Array, output_size: Size) -> Array:
    """Return the averages y (N, C, OD, OH, OW) in each bin of x (N, C, D, H, W)."""
    return _average_volumes(x, output_size, _volume_bins(x.shape[2:], output_size), None)


def adaptive_avg_pool3d_grad_input(grad_output: Array, input_size: Size) -> Array:
    """Return the gradient with respect to x (N, C, D, H, W): dy / volume for all pixels of a bin, summed."""
    axes = _volume_bins(input_size, grad_output.shape[2:])
    return _distribute_volumes(grad_output, input_size, axes, None)


@dataclass(frozen=True, eq=False)
class _Axis:
    """Which pixels of an axis, or of some of it, lie under which windows: those from starts up to ends.

    Both ascend; windows may start before the first pixel and end after the last.
    """

    windows: slice
    pixels: slice
    starts: Array
    ends: Array
    lengths: Array
    """Of each window, what counts in its divisor."""

    @cached_property
    def _offsets(self) -> range:
        """The distances from the start of a window at which there are pixels, of one window or another."""
        first, stop = self.pixels.start, np.minimum(self.ends, self.pixels.stop)
        least = (first - self.starts).min(initial=_FAR)
        return range(max(0, least), max(0, (stop - self.starts).max(initial=0)))

    @cached_property
    def _turns(self) -> int:
        """How many windows start at the same pixel."""
        return int(np.bincount(np.unique(self.starts, return_inverse=True)[1]).max(initial=0))

    def goes_by_windows(self) -> bool:
        """Return whether there are fewer windows than taps: each is summed by itself then."""
        return len(self.starts) < len(self._offsets)

    def goes_by_pixels(self) -> bool:
        """Return whether there are fewer pixels than taps with windows of their own: likewise."""
        return self.pixels.stop - self.pixels.start < len(self._offsets) * self._turns

    @cached_property
    def taps(self) -> _Taps:
        """Pairs of an index of windows and one of the pixels that they meet."""
        return tuple(self._taps(np.arange(len(self.starts))))

    @cached_property
    def taps_apart(self) -> _Taps:
        """Such pairs, within each of which no pixel appears twice."""
        turn = np.arange(len(self.starts)) - np.searchsorted(self.starts, self.starts)
        return tuple(
            tap for number in range(self._turns) for tap in self._taps(np.flatnonzero(turn == number))
        )

    def _taps(self, windows: Array) -> Iterator[tuple[Any, Any]]:
        starts, first = self.starts[windows], self.pixels.start
        stop = np.minimum(self.ends[windows], self.pixels.stop)
        for offset in self._offsets:
            met = starts + offset
            chosen = np.flatnonzero((met >= first) & (met < stop))
            if chosen.size:
                yield _as_slice(windows[chosen]), _as_slice(met[chosen] - first)

    @cached_property
    def under_windows(self) -> list[slice]:
        """The pixels under each window."""
        first, stop = self.pixels.start, self.pixels.stop
        return _slices(np.maximum(self.starts, first) - first, np.minimum(self.ends, stop) - first)

    @cached_property
    def over_pixels(self) -> list[slice]:
        """The windows over each pixel."""
        numbers = np.arange(self.pixels.start, self.pixels.stop)
        return _slices(
            np.searchsorted(self.ends, numbers, side="right"),
            np.searchsorted(self.starts, numbers, side="right"),
        )

    @cached_property
    def covered(self) -> bool:
        """Whether each pixel lies under a window."""
        starts, ends = np.append(self.starts, self.pixels.stop), np.append(self.pixels.start, self.ends)
        return bool((starts <= ends).all())

    @cached_property
    def non_overlapping(self) -> bool:
        """Whether no pixel lies under two windows."""
        return bool((self.starts[1:] >= self.ends[:-1]).all())

    @cached_property
    def is_identity(self) -> bool:
        """Whether each pixel has a window of its own."""
        numbers = np.arange(self.pixels.start, self.pixels.stop)
        return np.array_equal(self.starts, numbers) and np.array_equal(self.ends, numbers + 1)

    @cached_property
    def divisors(self) -> Array:
        """The lengths, or the one that all windows have."""
        return self.lengths[:1] if (self.lengths == self.lengths[:1]).all() else self.lengths

    @cached_property
    def _parts(self) -> "dict[tuple[int, int, int, int], _Axis]":
        return {}

    def part(self, windows: slice, pixels: slice) -> "_Axis":
        """Return some of the windows and some of the pixels; it is kept for the next call."""
        key = windows.start, windows.stop, pixels.start, pixels.stop
        if key not in self._parts:
            cut = self.starts[windows], self.ends[windows], self.lengths[windows]
            self._parts[key] = _Axis(windows, pixels, *cut)
        return self._parts[key]


def _with_windows(axis: _Axis, first: int, stop: int) -> _Axis:
    """Return some windows of an axis and the pixels under them."""
    pixels = slice(max(0, axis.starts[first]), min(axis.pixels.stop, axis.ends[stop - 1]))
    return axis.part(slice(first, stop), pixels)


def _with_pixels(axis: _Axis, first: int, stop: int) -> _Axis:
    """Return some pixels of an axis and the windows over them."""
    begin, end = np.searchsorted(axis.ends, first, side="right"), np.searchsorted(axis.starts, stop)
    return axis.part(slice(begin, max(begin, end)), slice(first, stop))


@dataclass(frozen=True, eq=False)
class _Axes:
    """The rows and the columns of planes, or of a part of each plane."""

    rows: _Axis
    columns: _Axis

    @cached_property
    def pixels(self) -> _Index:
        """Where the pixels are in x (N·C, H, W)."""
        return slice(None), self.rows.pixels, self.columns.pixels

    @cached_property
    def windows(self) -> _Index:
        """Where the windows are in y (N·C, OH, OW)."""
        return slice(None), self.rows.windows, self.columns.windows

    @cached_property
    def have_one_window(self) -> bool:
        """Whether there is a single window, over all pixels."""
        return _size(self.windows) == (1, 1) and self.rows.covered and self.columns.covered

    @cached_property
    def divisors(self) -> Array:
        """What the sums of the windows are divided by; if it is one number, that: it is faster."""
        divisors = np.multiply.outer(self.rows.divisors, self.columns.divisors)
        return divisors.reshape(()) if divisors.size == 1 else divisors


_Block = tuple[slice, _Axes]
"""Planes, and a part of each."""


def _blocks(
    planes: Array, axes: _Axes, index: _Index, part: Callable[[_Axis, int, int], _Axis]
) -> list[_Block]:
    """Cut into some planes each; if the sums of one are too large, into parts of what the index is of."""
    (rows, columns), (height, width) = _size(axes.windows), _size(axes.pixels)
    sums_bytes = rows * max(columns, width) * planes.itemsize
    batch = axis_blocks(len(planes), max(sums_bytes, height * width * planes.itemsize), _BLOCK_BYTES)
    parts = [axes]
    if sums_bytes > _BLOCK_BYTES:
        cut = plane_blocks(_size(index), sums_bytes, _BLOCK_BYTES)
        parts = [
            _Axes(part(axes.rows, rows.start, rows.stop), part(axes.columns, columns.start, columns.stop))
            for rows, columns in cut
        ]
    return [(some, of_plane) for of_plane in parts for some in batch]


def _size(index: _Index) -> Pair:
    return index[1].stop, index[2].stop


def _average(x: Array, axes: _Axes, divisor: int | None) -> Array:
    y = np.empty((*x.shape[:2], *_size(axes.windows)), dtype=x.dtype)
    x_planes, y_planes = planes(x), planes(y)

    def work(block: _Block) -> None:
        planes, part = block
        pixels, averages = x_planes[planes][part.pixels], y_planes[planes][part.windows]
        if axes.have_one_window:
            _sum_planes(pixels, averages[:, 0, 0])
        elif axes.columns.is_identity:
            _sum_windows(pixels, averages, part.rows)
        else:
            sums = scratch("sums", (len(pixels), averages.shape[1], pixels.shape[2]), x.dtype)
            _sum_windows(pixels, sums, part.rows)
            _sum_windows(sums.swapaxes(1, 2), averages.swapaxes(1, 2), part.columns)
        _divide(averages, part.divisors if divisor is None else np.array(divisor), averages)

    parallel(work, _blocks(x_planes, axes, axes.windows, _with_windows))
    return y


def _distribute(grad_output: Array, axes: _Axes, divisor: int | None) -> Array:
    grad_input = np.empty((*grad_output.shape[:2], *_size(axes.pixels)), dtype=grad_output.dtype)
    grad_planes, pixel_planes = planes(grad_output), planes(grad_input)

    def work(block: _Block) -> None:
        planes, part = block
        pixels, grads = pixel_planes[planes][part.pixels], grad_planes[planes][part.windows]
        quotients = scratch("quotients", grads.shape, grads.dtype)
        _divide(grads, part.divisors if divisor is None else np.array(divisor), quotients)
        if axes.have_one_window:
            pixels[...] = quotients
            return
        if axes.columns.is_identity:
            _add_to_pixels(quotients, pixels, part.rows)
            return
        in_columns = scratch("in columns", (*grads.shape[:2], pixels.shape[2]), grads.dtype)
        _add_to_pixels(quotients.swapaxes(1, 2), in_columns.swapaxes(1, 2), part.columns)
        _add_to_pixels(in_columns, pixels, part.rows)

    parallel(work, _blocks(pixel_planes, axes, axes.pixels, _with_pixels))
    return grad_input


def _average_volumes(x: Array, output_size: Size, axes: "_VolumeAxes", divisor: int | None) -> Array:
    n, c, depth, *plane = x.shape
    sums = _average(x.reshape(n, c * depth, *plane), axes.plane, 1)
    y = _average(sums.reshape(n, c, depth, prod(output_size[1:])), axes.depth, divisor)
    return y.reshape(n, c, *output_size)


def _distribute_volumes(
    grad_output: Array, input_size: Size, axes: "_VolumeAxes", divisor: int | None
) -> Array:
    n, c, count, *plane = grad_output.shape
    in_slices = _distribute(grad_output.reshape(n, c, count, prod(plane)), axes.depth, divisor)
    pixels = _distribute(in_slices.reshape(n, c * input_size[0], *plane), axes.plane, 1)
    return pixels.reshape(n, c, *input_size)


def _sum_planes(pixels: Array, sums: Array) -> None:
    """Add up all pixels of each plane, by the BLAS, which takes 0.7 of the time; many in parts."""
    flat = pixels.reshape(len(pixels), pixels.shape[1] * pixels.shape[2])
    whole = flat.shape[1] // _PART * _PART
    if whole == 0:
        np.matmul(flat, np.ones(flat.shape[1], flat.dtype), out=sums)
        return
    parts = flat[:, :whole].reshape(len(flat), whole // _PART, _PART)
    np.matmul(parts, np.ones(_PART, flat.dtype)).sum(axis=1, out=sums)
    sums += flat[:, whole:].sum(axis=1)


def _sum_windows(pixels: Array, sums: Array, axis: _Axis) -> None:
    """Set sums (n, windows, m) to those of the pixels (n, pixels, m) under each window of an axis."""
    if axis.goes_by_windows():
        _sum_slices(pixels, sums, axis.under_windows)
    else:
        _add_up(pixels, sums, axis.taps)


def _add_to_pixels(sums: Array, pixels: Array, axis: _Axis) -> None:
    """Add up for each pixel (n, pixels, m) of an axis what the windows over it have, sums (n, windows, m)."""
    if axis.non_overlapping:
        if not axis.covered:
            pixels[...] = 0
        _repeat(sums, pixels, axis)
    elif axis.goes_by_pixels():
        _sum_slices(sums, pixels, axis.over_pixels)
    else:
        _add_up(sums, pixels, tuple((met, windows) for windows, met in axis.taps_apart))


def _repeat(sums: Array, pixels: Array, axis: _Axis) -> None:
    """Write to each pixel what the window over it has: half the time of an addition."""
    if axis.goes_by_windows():
        for number, under in enumerate(axis.under_windows):
            pixels[:, under] = sums[:, number : number + 1]
    else:
        for windows, met in axis.taps:
            pixels[:, met] = sums[:, windows]


def _sum_slices(terms: Array, sums: Array, slices: list[slice]) -> None:
    """Set each of the sums (n, slices, m) to that of a slice of the terms (n, terms, m)."""
    for number, each in enumerate(slices):
        sums[:, number] = summed(terms[:, each], (1,))[:, 0]


def _add_up(terms: Array, sums: Array, taps: tuple[tuple[Any, Any], ...]) -> None:
    """Set sums to Σ terms over taps (index of sums, index of terms); those that meet all sums start it."""
    everywhere = [tap for tap in taps if _is_everything(tap[0], sums.shape[1])][:2]
    others = [tap for tap in taps if all(tap is not begun for begun in everywhere)]
    if len(everywhere) == 2:
        (_, first), (_, second) = everywhere
        np.add(terms[:, first], terms[:, second], out=sums)
    else:
        sums[...] = terms[:, everywhere[0][1]] if everywhere else 0
    for indices, met in others:
        sums[:, indices] += terms[:, met]


def _is_everything(index: Any, size: int) -> bool:
    return isinstance(index, slice) and range(size)[index] == range(size)


def _divide(sums: Array, divisors: Array, quotients: Array) -> None:
    """Divide; whole numbers are rounded towards zero, as in C."""
    if divisors.ndim == 0 and divisors == 1:
        if quotients is not sums:
            quotients[...] = sums
    elif sums.dtype.kind == "i":
        sign = np.sign(sums) * np.sign(divisors)
        np.multiply(np.abs(sums) // np.abs(divisors), sign, out=quotients)
    else:
        np.divide(sums, divisors.astype(sums.dtype), out=quotients)


def _axes(window: Window, input_size: Pair, output_size: Pair, count_include_pad: bool) -> _Axes:
    find = _kept_axes if prod(output_size) <= _FEW_WINDOWS else _kept_axes.__wrapped__
    return find(window, input_size, output_size, count_include_pad)


def _adaptive_axes(input_size: Pair, output_size: Pair) -> _Axes:
    find = _kept_bins if prod(output_size) <= _FEW_WINDOWS else _kept_bins.__wrapped__
    return find(input_size, output_size)


@lru_cache(maxsize=16)
def _kept_axes(window: Window, input_size: Pair, output_size: Pair, count_include_pad: bool) -> _Axes:
    sizes = zip(input_size, output_size, *window[:3], strict=True)
    return _Axes(*(_windows(*axis, count_include_pad) for axis in sizes))


@lru_cache(maxsize=16)
def _kept_bins(input_size: Pair, output_size: Pair) -> _Axes:
    return _Axes(*map(_bins, input_size, output_size))


class _VolumeAxes(NamedTuple):
    """The axes of volumes: of each slice, then those of the depth and of all windows on a slice.

    The sums of a slice are divided once, at the end, by the volume of a window.
    """

    plane: _Axes
    depth: _Axes

    @staticmethod
    def of(depth: _Axis, rows: _Axis, columns: _Axis) -> "_VolumeAxes":
        areas = np.multiply.outer(rows.lengths, columns.lengths).ravel()
        numbers = np.arange(areas.size)
        each = _Axis(slice(areas.size), slice(0, areas.size), numbers, numbers + 1, areas)
        return _VolumeAxes(_Axes(rows, columns), _Axes(depth, each))


def _volume_axes(window: Window, input_size: Size, output_size: Size, count_include_pad: bool) -> _VolumeAxes:
    find = _kept_volume_axes if prod(output_size) <= _FEW_WINDOWS else _kept_volume_axes.__wrapped__
    return find(window, input_size, output_size, count_include_pad)


def _volume_bins(input_size: Size, output_size: Size) -> _VolumeAxes:
    find = _kept_volume_bins if prod(output_size) <= _FEW_WINDOWS else _kept_volume_bins.__wrapped__
    return find(input_size, output_size)


@lru_cache(maxsize=16)
def _kept_volume_axes(
    window: Window, input_size: Size, output_size: Size, count_include_pad: bool
) -> _VolumeAxes:
    sizes = zip(input_size, output_size, *window[:3], strict=True)
    return _VolumeAxes.of(*(_windows(*axis, count_include_pad) for axis in sizes))


@lru_cache(maxsize=16)
def _kept_volume_bins(input_size: Size, output_size: Size) -> _VolumeAxes:
    return _VolumeAxes.of(*map(_bins, input_size, output_size))


def _windows(
    pixels: int, count: int, kernel_size: int, stride: int, padding: Pair, count_include_pad: bool
) -> _Axis:
    """Describe an axis with so many windows of one size."""
    starts = np.arange(count) * stride - padding[0]
    ends = np.minimum(starts + kernel_size, pixels + padding[1])
    lengths = ends - starts if count_include_pad else np.minimum(ends, pixels) - np.maximum(starts, 0)
    return _Axis(slice(count), slice(0, pixels), starts, ends, lengths)


def _bins(pixels: int, count: int) -> _Axis:
    """Describe an axis cut into `count` bins, which overlap where they do not come out even."""
    starts, ends = bins(pixels, count)
    return _Axis(slice(count), slice(0, pixels), starts, ends, ends - starts)


def _slices(starts: Array, ends: Array) -> list[slice]:
    return [slice(start, max(start, end)) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _as_slice(numbers: Array) -> Any:
    """Return ascending numbers as a slice where their steps are equal: indexing by it copies nothing."""
    steps = np.diff(numbers)
    step = int(steps.max(initial=1))
    if (steps < step).any():
        return numbers
    return slice(int(numbers[0]), int(numbers[-1]) + 1, step)
