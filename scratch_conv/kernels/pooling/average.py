"""Two-dimensional average pooling, under windows of one size or adaptive, and its transpose.

    y[n, c, p, q] = (Σ_{i, j} x[n, c, i, j]) / divisor[p, q]        (i, j) under the window of (p, q)

Which pixels lie under a window is told axis by axis, so the sum goes over rows first, then over the columns
of what is left. Average pooling is linear: its derivative divides by the same divisors and spreads each
quotient over its window, and that map's derivative is the pooling again.

Shapes: x (N, C, H, W), y (N, C, OH, OW).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks, plane_blocks

__all__ = ["adaptive_avg_pool2d", "adaptive_avg_pool2d_grad_input", "avg_pool2d", "avg_pool2d_grad_input"]

_BLOCK_BYTES = 2**20
"""Planes are pooled so many at a time that a block stays in the core's own cache between the passes.

A larger plane is pooled in parts.
"""


def avg_pool2d(
    x: Array, output_size: Pair, window: Window, count_include_pad: bool, divisor_override: int | None
) -> Array:
    """Average x (N, C, H, W) under each window: gives y (N, C, OH, OW) of `output_size` (OH, OW).

    The divisor is `divisor_override`; or the number of taps that are not beyond the padding; or, without
    `count_include_pad`, of those that are not in the padding either.
    """
    size = (x.shape[2], x.shape[3])
    divisors = _divisors(window, size, output_size, count_include_pad, divisor_override)
    return _average(x, _under_window(window, size, output_size), divisors)


def avg_pool2d_grad_input(
    grad_output: Array,
    input_size: Pair,
    window: Window,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Carry the gradient of y (N, C, OH, OW) back to x (N, C, H, W): dy / divisor to all of a window."""
    size = (grad_output.shape[2], grad_output.shape[3])
    divisors = _divisors(window, input_size, size, count_include_pad, divisor_override)
    return _spread(grad_output, _under_window(window, input_size, size), divisors)


def adaptive_avg_pool2d(x: Array, output_size: Pair) -> Array:
    """Average x (N, C, H, W) into y (N, C, OH, OW) of `output_size` (OH, OW).

    Output row p averages the rows from floor(p H / OH) up to ceil((p + 1) H / OH), columns likewise.
    """
    bins = _bins(x.shape[2], output_size[0]), _bins(x.shape[3], output_size[1])
    return _average(x, bins, _areas(*bins))


def adaptive_avg_pool2d_grad_input(grad_output: Array, input_size: Pair) -> Array:
    """Carry the gradient of y (N, C, OH, OW) back to x (N, C, H, W): dy / area goes to the whole bin."""
    bins = _bins(input_size[0], grad_output.shape[2]), _bins(input_size[1], grad_output.shape[3])
    return _spread(grad_output, bins, _areas(*bins))


_Taps = tuple[tuple[Any, Any], ...]
"""Pairs of indices into two axes, slices or arrays of ascending numbers."""


class _Axis(NamedTuple):
    """Which pixels of one axis lie under which windows.

    Each tap is an index of windows and one of the pixels that these meet; within a tap none appears twice.
    The windows cover the axis if each pixel lies under one; they are apart if none lies under two.
    """

    pixels: int
    windows: int
    taps: _Taps
    covered: bool
    apart: bool

    def of_windows(self, windows: slice) -> tuple["_Axis", slice]:
        """Give the axis of some windows, and the pixels of this one that it has."""
        if windows == slice(0, self.windows):
            return self, slice(0, self.pixels)
        taps, pixels = _restricted(self.taps, (self.windows, self.pixels), windows)
        count = windows.stop - windows.start
        return self._replace(windows=count, pixels=pixels.stop - pixels.start, taps=taps), pixels

    def of_pixels(self, pixels: slice) -> tuple["_Axis", slice]:
        """Give the axis of some pixels, and the windows of this one that it has."""
        if pixels == slice(0, self.pixels):
            return self, slice(0, self.windows)
        taps, windows = _restricted(_swapped(self.taps), (self.pixels, self.windows), pixels)
        count = pixels.stop - pixels.start
        return self._replace(windows=windows.stop - windows.start, pixels=count, taps=_swapped(taps)), windows

    def is_one_window(self) -> bool:
        """Tell whether there is a single window, over all pixels."""
        return self.windows == 1 and len(self.taps) == self.pixels


class _Divisors(NamedTuple):
    """Those of all outputs: the product of a row's (OH,) and a column's (OW,), or one number for all."""

    rows: Array
    columns: Array
    single: Array | None

    def of(self, rows: slice, columns: slice) -> "_Divisors":
        """Give those of a part of the outputs."""
        return self._replace(rows=self.rows[rows], columns=self.columns[columns])

    def array(self) -> Array:
        """Give them as an array, or the one that all have: dividing by a number is faster."""
        return np.multiply.outer(self.rows, self.columns) if self.single is None else self.single


class _Planes(NamedTuple):
    """Planes of `pixels` (N·C, H, W) and of `windows` (N·C, OH, OW), or a part of each."""

    rows: _Axis
    columns: _Axis
    divisors: _Divisors
    pixels: Array
    windows: Array

    def of_windows(self, rows: slice, columns: slice) -> "_Planes":
        """Give the part with some of the windows, and the pixels under them."""
        part_rows, row_pixels = self.rows.of_windows(rows)
        part_columns, column_pixels = self.columns.of_windows(columns)
        pixels, windows = self.pixels[:, row_pixels, column_pixels], self.windows[:, rows, columns]
        return _Planes(part_rows, part_columns, self.divisors.of(rows, columns), pixels, windows)

    def of_pixels(self, rows: slice, columns: slice) -> "_Planes":
        """Give the part with some of the pixels, and the windows over them."""
        part_rows, row_windows = self.rows.of_pixels(rows)
        part_columns, column_windows = self.columns.of_pixels(columns)
        pixels, windows = self.pixels[:, rows, columns], self.windows[:, row_windows, column_windows]
        divisors = self.divisors.of(row_windows, column_windows)
        return _Planes(part_rows, part_columns, divisors, pixels, windows)

    def blocks(self, to_part: Callable[..., "_Planes"], size: Pair) -> list[tuple["_Planes", slice]]:
        """Cut into some planes each, or into parts of one if its sums are too large."""
        sums_bytes = self.rows.windows * max(self.columns.windows, self.columns.pixels) * self.pixels.itemsize
        batch = axis_blocks(len(self.pixels), max(sums_bytes, self.pixels[:1].nbytes), _BLOCK_BYTES)
        if sums_bytes <= _BLOCK_BYTES:
            return [(self, planes) for planes in batch]
        cut = [to_part(self, *part) for part in plane_blocks(size, sums_bytes, _BLOCK_BYTES)]
        return [(part, planes) for part in cut for planes in batch]


def _average(x: Array, axes: tuple[_Axis, _Axis], divisors: _Divisors) -> Array:
    rows, columns = axes
    y = np.empty((*x.shape[:2], rows.windows, columns.windows), dtype=x.dtype)
    whole = rows.is_one_window() and columns.is_one_window()

    def work(block: tuple[_Planes, slice]) -> None:
        part, planes = block
        pixels, averages = part.pixels[planes], part.windows[planes]
        if whole:
            _sum_planes(pixels, averages[:, 0, 0])
        else:
            sums = scratch("sums", (len(pixels), part.rows.windows, part.columns.pixels), x.dtype)
            _sum(pixels, sums, part.rows, _of_rows)
            _sum(sums, averages, part.columns, _of_columns)
        _divide(averages, part.divisors.array(), averages)

    planes = _Planes(rows, columns, divisors, _planes(x), _planes(y))
    parallel(work, planes.blocks(_Planes.of_windows, (rows.windows, columns.windows)))
    return y


def _spread(grad_output: Array, axes: tuple[_Axis, _Axis], divisors: _Divisors) -> Array:
    rows, columns = axes
    grad_input = np.empty((*grad_output.shape[:2], rows.pixels, columns.pixels), dtype=grad_output.dtype)
    whole = rows.is_one_window() and columns.is_one_window()

    def work(block: tuple[_Planes, slice]) -> None:
        part, planes = block
        pixels, grads = part.pixels[planes], part.windows[planes]
        quotients = scratch("quotients", grads.shape, grads.dtype)
        _divide(grads, part.divisors.array(), quotients)
        if whole:
            pixels[...] = quotients
            return
        in_columns = scratch("in columns", (*grads.shape[:2], pixels.shape[2]), grads.dtype)
        _share(quotients, in_columns, part.columns, _of_columns)
        _share(in_columns, pixels, part.rows, _of_rows)

    planes = _Planes(rows, columns, divisors, _planes(grad_input), _planes(grad_output))
    parallel(work, planes.blocks(_Planes.of_pixels, (rows.pixels, columns.pixels)))
    return grad_input


def _sum_planes(pixels: Array, sums: Array) -> None:
    """Add up all pixels of each plane, small ones by the BLAS, which takes 0.7 of the time.

    (And np.sum from one and a half times to three times as long as np.einsum.)
    """
    count, height, width = pixels.shape
    if pixels[:1].nbytes <= _BLOCK_BYTES:
        np.matmul(pixels.reshape(count, height * width), np.ones(height * width, pixels.dtype), out=sums)
    else:
        np.einsum("pij->p", pixels, out=sums)


def _sum(pixels: Array, sums: Array, axis: _Axis, at: Callable[[Any], Any]) -> None:
    """Add up the pixels under each window of one axis; `at` makes an index of the axis one of the arrays."""
    _add_up(pixels, sums, axis.taps, axis.windows, at)


def _share(sums: Array, pixels: Array, axis: _Axis, at: Callable[[Any], Any]) -> None:
    """Add up for each pixel of one axis what the windows over it have: the transpose of `_sum`."""
    if not axis.apart:
        _add_up(sums, pixels, _swapped(axis.taps), axis.pixels, at)
        return
    if not axis.covered:
        pixels[...] = 0
    for windows, met in axis.taps:
        pixels[at(met)] = sums[at(windows)]  # half the time of an addition


def _add_up(terms: Array, sums: Array, taps: _Taps, size: int, at: Callable[[Any], Any]) -> None:
    """Set sums to Σ terms over taps (index of sums, index of terms); those that meet all sums start it."""
    everywhere = [tap for tap in taps if _is_everything(tap[0], size)][:2]
    others = [tap for tap in taps if all(tap is not begun for begun in everywhere)]
    if len(everywhere) == 2:
        (_, first), (_, second) = everywhere
        np.add(terms[at(first)], terms[at(second)], out=sums)
    else:
        sums[...] = terms[at(everywhere[0][1])] if everywhere else 0
    for places, met in others:
        sums[at(places)] += terms[at(met)]


def _of_rows(index: Any) -> Any:
    return slice(None), index


def _of_columns(index: Any) -> Any:
    return ..., index


def _is_everything(index: Any, size: int) -> bool:
    return isinstance(index, slice) and range(size)[index] == range(size)


def _divide(sums: Array, divisors: Array, quotients: Array) -> None:
    """Divide; whole numbers are rounded towards zero, as in C."""
    if sums.dtype.kind == "i":
        sign = np.sign(sums) * np.sign(divisors)
        np.multiply(np.abs(sums) // np.abs(divisors), sign, out=quotients)
    else:
        np.divide(sums, divisors.astype(sums.dtype), out=quotients)


def _swapped(taps: _Taps) -> _Taps:
    return tuple((second, first) for first, second in taps)


def _restricted(taps: _Taps, sizes: Pair, part: slice) -> tuple[_Taps, slice]:
    """Keep what of the taps has its first index in a part of that axis.

    Gives the taps, counted from the part's beginning, and the slice of the other axis that they lie in, from
    whose beginning their second index is counted.
    """
    kept = []
    for tap in taps:
        numbers, others = (
            range(size)[index] if isinstance(index, slice) else index
            for index, size in zip(tap, sizes, strict=True)
        )
        chosen = slice(bisect_left(numbers, part.start), bisect_left(numbers, part.stop))
        if chosen.start < chosen.stop:
            kept.append((numbers[chosen], others[chosen]))
    first = min((int(others[0]) for _, others in kept), default=0)
    last = max((int(others[-1]) for _, others in kept), default=-1)
    shifted = tuple((_shifted(numbers, part.start), _shifted(others, first)) for numbers, others in kept)
    return shifted, slice(first, last + 1)


def _shifted(numbers: Any, start: int) -> Any:
    """Count numbers, a range or an array, from `start`, and give a range as a slice."""
    if isinstance(numbers, range):
        return slice(numbers[0] - start, numbers[-1] - start + 1, numbers.step)
    return numbers - start


@lru_cache(maxsize=256)
def _under_window(window: Window, input_size: Pair, output_size: Pair) -> tuple[_Axis, _Axis]:
    rows, columns = (
        _axis(
            input_size[axis],
            output_size[axis],
            (
                window.inside(axis, tap, input_size[axis], output_size[axis])
                for tap in range(window.kernel_size[axis])
            ),
        )
        for axis in (0, 1)
    )
    return rows, columns


@lru_cache(maxsize=256)
def _bins(pixels: int, count: int) -> _Axis:
    """Describe an axis cut into `count` bins, which overlap where they do not come out even.

    The taps go through the bins' pixels and, where bins begin at the same pixel, through these bins.
    """
    starts, ends = _bin_borders(pixels, count)
    rank = np.arange(count) - np.searchsorted(starts, starts)
    taps = []
    for turn in range(rank.max(initial=-1) + 1):
        for offset in range((ends - starts).max(initial=0)):
            chosen = np.flatnonzero((rank == turn) & (starts + offset < ends))
            if chosen.size:
                taps.append((_as_slice(chosen), _as_slice(starts[chosen] + offset)))
    return _axis(pixels, count, taps)


def _as_slice(numbers: Array) -> Any:
    """Give ascending numbers as a slice where their steps are equal: indexing by it copies nothing."""
    steps = np.diff(numbers)
    step = int(steps.max(initial=1))
    if (steps < step).any():
        return numbers
    return slice(int(numbers[0]), int(numbers[-1]) + 1, step)


def _axis(pixels: int, windows: int, taps: Iterable[tuple[Any, Any]]) -> _Axis:
    met = np.zeros(pixels, dtype=np.int64)
    kept = []
    for places, met_pixels in taps:
        if met[met_pixels].size:
            met[met_pixels] += 1
            kept.append((places, met_pixels))
    return _Axis(pixels, windows, tuple(kept), covered=bool((met > 0).all()), apart=bool((met < 2).all()))


def _bin_borders(pixels: int, count: int) -> tuple[Array, Array]:
    numbers = np.arange(count, dtype=np.int64)
    return numbers * pixels // count, -((numbers + 1) * -pixels // count)


@lru_cache(maxsize=256)
def _divisors(
    window: Window, input_size: Pair, output_size: Pair, count_include_pad: bool, divisor_override: int | None
) -> _Divisors:
    if divisor_override is not None:
        return _Divisors(np.array([]), np.array([]), np.array(divisor_override))
    rows, columns = (
        _lengths(window, axis, input_size[axis], output_size[axis], count_include_pad) for axis in (0, 1)
    )
    return _products(rows, columns)


def _lengths(window: Window, axis: int, pixels: int, windows: int, count_include_pad: bool) -> Array:
    """Count the taps of each window of one axis that are inside, or also those in the padding."""
    before, after = window.padding[axis]
    starts = np.arange(windows) * window.stride[axis] - before
    ends = np.minimum(starts + window.kernel_size[axis], pixels + after)
    return ends - starts if count_include_pad else np.minimum(ends, pixels) - np.maximum(starts, 0)


def _areas(rows: _Axis, columns: _Axis) -> _Divisors:
    """Give the number of pixels in each bin."""
    borders = [_bin_borders(axis.pixels, axis.windows) for axis in (rows, columns)]
    heights, widths = (ends - starts for starts, ends in borders)
    return _products(heights, widths)


def _products(rows: Array, columns: Array) -> _Divisors:
    """Give the products of a row's and a column's number, which may all be the same."""
    single = all(lengths.size and (lengths == lengths[0]).all() for lengths in (rows, columns))
    return _Divisors(rows, columns, np.array(rows[0] * columns[0]) if single else None)


def _planes(pictures: Array) -> Array:
    """Reshape (N, C, H, W) to (N·C, H, W): pooling treats every channel alike."""
    n, c, h, w = pictures.shape
    return pictures.reshape(n * c, h, w)
