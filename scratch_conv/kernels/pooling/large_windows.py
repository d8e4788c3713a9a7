"""Max pooling with large windows: over the columns first, then over the rows of what is left.

A window of KH x KW taps takes KH + KW passes then, or one for each position of the window where these are
fewer. An index is that of the row's maximum, and of the column's in that row: among equal ones the first in
reading order, among NaN the last.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from scratch_conv.kernels.windows import Array, Pair, Window

__all__ = ["Line", "is_large", "lowest", "maxima_by_axes"]

_FEW_TAPS = 16
"""Up to so many taps, a pass for each takes less time than one axis after the other."""

_MANY_TAPS = 512
"""More taps take too long to go through, even if most of them are in the padding."""


class Line(NamedTuple):
    """A window that slides along one axis of so many pixels, with so many positions."""

    taps: int
    stride: int
    before: int
    dilation: int
    pixels: int
    positions: int

    @staticmethod
    def lines(window: Window, input_size: Pair, output_size: Pair) -> list["Line"]:
        """Return those of the rows and of the columns."""
        sizes = zip(window.kernel_size, window.stride, window.padding, window.dilation, strict=True)
        return [
            Line(taps, stride, before, dilation, input_size[axis], output_size[axis])
            for axis, (taps, stride, (before, _), dilation) in enumerate(sizes)
        ]

    @property
    def inside(self) -> range:
        """The taps that may be inside the axis; all others are in the padding at every position."""
        first = -((self.stride * (self.positions - 1) - self.before) // self.dilation)
        last = (self.pixels - 1 + self.before) // self.dilation
        return range(max(0, first), min(self.taps - 1, last) + 1)

    def under(self, position: int) -> slice:
        """Return the pixels under the window at a position."""
        start = position * self.stride - self.before
        first = start if start >= 0 else start % self.dilation
        stop = min(self.pixels, start + (self.taps - 1) * self.dilation + 1)
        return slice(first, max(first, stop), self.dilation)

    def met(self, tap: int) -> tuple[slice, slice]:
        """Return the positions at which a tap is inside, and the pixels that it meets."""
        window = Window((self.taps,), (self.stride,), ((self.before, 0),), (self.dilation,))
        return window.inside(0, tap, self.pixels, self.positions)


def is_large(window: Window, input_size: Pair, output_size: Pair) -> bool:
    """Return whether a window has so many taps that one axis after the other takes less time."""
    rows, columns = Line.lines(window, input_size, output_size)
    taps = len(rows.inside) * len(columns.inside)
    along_columns = len(columns.inside) * rows.pixels + len(rows.inside) * rows.positions
    if math.prod(window.kernel_size) > _MANY_TAPS:
        return True
    return taps > _FEW_TAPS and taps * rows.positions >= along_columns


def maxima_by_axes(x: Array, y: Array, indices: Array, window: Window) -> None:
    """Write the maxima of images (n, H, W) and their indices to y and indices (n, OH, OW)."""
    n, height, width = x.shape
    rows, columns = Line.lines(window, (height, width), (y.shape[1], y.shape[2]))
    of_rows = np.empty((n, height, columns.positions), x.dtype)
    places = np.empty(of_rows.shape, np.int32)
    _maxima(x.swapaxes(1, 2), of_rows.swapaxes(1, 2), places.swapaxes(1, 2), columns)
    _maxima(of_rows, y, indices, rows)
    in_row = np.take_along_axis(places, indices.astype(np.intp), axis=1)
    indices *= np.int32(width)
    indices += in_row


def lowest(dtype: np.dtype[Any]) -> float:
    """Return what no number is below."""
    return -np.inf if dtype.kind == "f" else float(np.iinfo(dtype).min)


def _maxima(x: Array, y: Array, places: Array, line: Line) -> None:
    """Write the maxima along the middle axis of x (n, pixels, m), and the number of the pixel of each."""
    y[...] = lowest(y.dtype)
    under = map(line.under, range(line.positions))
    places[...] = np.array([min(each.start, line.pixels - 1) for each in under], np.int32)[:, None]
    if line.positions < len(line.inside):
        for position in range(line.positions):
            _maximum(x, y[:, position], places[:, position], line.under(position))
        return
    for tap, pixels, numbers in _taps(x, line):
        best = y[:, tap]
        better = np.greater(pixels, best)
        np.maximum(pixels, best, out=best)
        # The last improvement is the pixel with the greatest number: no masked write.
        np.maximum(places[:, tap], better * numbers, out=places[:, tap])
    if np.isnan(y.max(initial=0)):
        for tap, pixels, numbers in _taps(x, line):
            np.copyto(places[:, tap], numbers, where=np.isnan(pixels))


def _taps(x: Array, line: Line) -> Iterator[tuple[slice, Array, Array]]:
    """Yield for each tap the positions at which it is inside, the pixels there, and their numbers (.., 1)."""
    for tap in line.inside:
        positions, pixels = line.met(tap)
        if positions.stop:
            numbers = np.arange(pixels.start, pixels.stop, pixels.step, dtype=np.int32)
            yield positions, x[:, pixels], numbers[:, None]


def _maximum(x: Array, y: Array, places: Array, under: slice) -> None:
    """Write the maximum under one window, and its place; of several NaN the last one's."""
    pixels = x[:, under]
    greatest = pixels.argmax(axis=1)
    y[...] = np.take_along_axis(pixels, greatest[:, None], axis=1)[:, 0]
    if np.isnan(y.max(initial=0)):
        from_last = np.isnan(pixels[:, ::-1]).argmax(axis=1)
        greatest = np.where(np.isnan(y), pixels.shape[1] - 1 - from_last, greatest)
    places[...] = under.start + greatest * under.step
