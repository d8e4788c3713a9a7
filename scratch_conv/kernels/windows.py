"""The window arithmetic that every sliding-window operation shares.

Everything here is integer arithmetic on sizes, or a view of an array. The arithmetic also accepts symbolic
integers, so that shapes can be propagated without data.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
"""((top, bottom), (left, right)): how many rows and columns are added on each side."""


def effective_kernel_size(kernel_size: int, dilation: int) -> int:
    """Give the number of pixels from the first tap of a dilated kernel to its last, both included."""
    return dilation * (kernel_size - 1) + 1


def same_padding(kernel_size: int, dilation: int) -> Pair:
    """Give the padding that keeps an axis's size at stride 1; an uneven pixel goes to the end."""
    total = dilation * (kernel_size - 1)
    return total // 2, total - total // 2


class Window(NamedTuple):
    """A window that slides over pictures: its taps, and the steps it takes. Each field is (rows, columns)."""

    kernel_size: Pair
    stride: Pair
    padding: Padding
    dilation: Pair

    def output_size(self, input_size: Pair, ceil_mode: bool = False) -> Pair:
        """Count the positions of the window on pictures of `input_size` (H, W)."""
        return self._positions(0, input_size[0], ceil_mode), self._positions(1, input_size[1], ceil_mode)

    def _positions(self, axis: int, size: int, ceil_mode: bool) -> int:
        """Count the positions along one axis.

        With `ceil_mode` a last window may hang over the end of the padded axis, but only if it starts
        inside the input or the padding before it (`torch.nn.MaxPool2d`, note on ceil_mode).
        """
        stride, (before, after) = self.stride[axis], self.padding[axis]
        room = size + before + after - effective_kernel_size(self.kernel_size[axis], self.dilation[axis])
        if not ceil_mode:
            return room // stride + 1
        count = -(-room // stride) + 1
        return count - 1 if (count - 1) * stride >= size + before else count

    def positions_are_apart(self) -> bool:
        """Tell whether no pixel lies under two positions of the window."""
        return all(
            self.stride[axis] >= effective_kernel_size(self.kernel_size[axis], self.dilation[axis])
            for axis in (0, 1)
        )

    def starting_at(self, row: int, column: int) -> "Window":
        """Give the window whose first position is this one's at (row, column).

        The pixels before that are like a smaller padding, which may be negative: cropping.
        """
        if not (row or column):
            return self
        (top, bottom), (left, right) = self.padding
        return self._replace(
            padding=((top - row * self.stride[0], bottom), (left - column * self.stride[1], right))
        )

    def ending_after(self, output_size: Pair, input_size: Pair) -> "Window":
        """Give the window that has so many positions: what it never meets at the ends is cropped."""
        (top, _), (left, _) = self.padding
        bottom, right = (
            (output_size[axis] - 1) * self.stride[axis]
            + effective_kernel_size(self.kernel_size[axis], self.dilation[axis])
            - (top, left)[axis]
            - input_size[axis]
            for axis in (0, 1)
        )
        return self._replace(padding=((top, bottom), (left, right)))

    def backwards(self, input_size: Pair, output_size: Pair) -> "Window":
        """Give the window that convolves outputs back to inputs: at stride 1, with the weights turned.

        Its padding may be negative: cropping.
        """
        margins = [effective_kernel_size(self.kernel_size[axis], self.dilation[axis]) - 1 for axis in (0, 1)]
        before = [margins[axis] - self.padding[axis][0] for axis in (0, 1)]
        after = [input_size[axis] + margins[axis] - output_size[axis] - before[axis] for axis in (0, 1)]
        return self._replace(padding=((before[0], after[0]), (before[1], after[1])))

    def phases(self, input_size: Pair) -> Iterator["Phase"]:
        """Split the window by where its taps stand modulo the stride: into windows of stride 1.

        Each meets pixels of its own, as far apart as the stride. For windows without dilation.
        """
        for phase in np.ndindex(*self.stride):
            kernel_size, padding, pixels, taps = [], [], [], []
            for axis, first_tap in enumerate(phase):
                stride, before = self.stride[axis], self.padding[axis][0]
                kernel_size.append(len(range(first_tap, self.kernel_size[axis], stride)))
                padding.append((-((first_tap - before) // stride), 0))
                pixels.append(slice((first_tap - before) % stride, input_size[axis], stride))
                taps.append(slice(first_tap, None, stride))
            window = Window((kernel_size[0], kernel_size[1]), (1, 1), (padding[0], padding[1]), self.dilation)
            yield Phase(window, (..., *taps), (..., *pixels))

    def taps(self, input_size: Pair, output_size: Pair) -> Iterator["Tap"]:
        """List the window's taps in reading order, each with what it meets inside the picture."""
        for number, (i, j) in enumerate(np.ndindex(*self.kernel_size)):
            rows = self.inside(0, i, input_size[0], output_size[0])
            columns = self.inside(1, j, input_size[1], output_size[1])
            yield Tap(number, (..., rows[0], columns[0]), (..., rows[1], columns[1]))

    def inside(self, axis: int, tap: int, size: int, count: int) -> tuple[slice, slice]:
        """Give the window positions at which a tap lies inside an axis, and the pixels it then meets."""
        stride = self.stride[axis]
        offset = tap * self.dilation[axis] - self.padding[axis][0]
        first = max(0, -(offset // stride))
        last = min(count - 1, (size - 1 - offset) // stride)
        if first > last:
            return slice(0), slice(0)
        return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)

    def view(self, padded: Array, output_size: Pair) -> Array:
        """View padded (N, C, H, W) as (N, C, KH, KW, OH, OW): for each tap, the pixels that it meets.

        No data is copied: a pixel under several windows appears several times. The stride tricks are safe
        for reading only.
        """
        n, c, h, w = padded.strides
        return as_strided(
            padded,
            shape=(*padded.shape[:2], *self.kernel_size, *output_size),
            strides=(
                n,
                c,
                h * self.dilation[0],
                w * self.dilation[1],
                h * self.stride[0],
                w * self.stride[1],
            ),
            writeable=False,
        )


class Phase(NamedTuple):
    """A part of a window: one of stride 1, with some of the `taps` (an index into weights).

    It meets the `pixels` (an index into inputs). Its padding at the end is left open.
    """

    window: Window
    taps: Any
    pixels: Any


class Tap(NamedTuple):
    """One tap of a window: at the `windows` (an index into outputs) it meets the `pixels` (into inputs).

    Windows whose tap falls into the padding are not among them. No pixel appears twice under one tap.
    """

    number: int
    windows: Any
    pixels: Any


def pad(x: Array, padding: Padding) -> Array:
    """Surround the pictures of (N, C, H, W) with zeros, or crop them where the padding is negative.

    Without padding, `x` itself is returned.
    """
    (top, bottom), (left, right) = padding
    if not (top or bottom or left or right):
        return x
    n, c, h, w = x.shape
    rows = slice(max(0, -top), max(0, h + min(0, bottom)))
    columns = slice(max(0, -left), max(0, w + min(0, right)))
    cropped = x[:, :, rows, columns]
    if max(top, bottom, left, right) <= 0:
        return cropped
    padded = np.zeros((n, c, top + h + bottom, left + w + right), dtype=x.dtype)
    height, width = cropped.shape[2:]
    padded[:, :, max(0, top) : max(0, top) + height, max(0, left) : max(0, left) + width] = cropped
    return padded


def axis_blocks(count: int, bytes_each: int, block_bytes: int) -> list[slice]:
    """Cut `count` things into slices of about `block_bytes`, at least one thing each."""
    step = max(1, block_bytes // max(1, bytes_each))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def plane_blocks(size: Pair, plane_bytes: int, block_bytes: int) -> list[tuple[slice, slice]]:
    """Cut a plane of `size` (rows, columns) into parts of about `block_bytes`, in reading order.

    They are whole rows, or columns of one row where that is too long.
    """
    if plane_bytes <= block_bytes:  # in a quarter of the time
        return [(slice(0, size[0]), slice(0, size[1]))] if all(size) else []
    row_bytes = plane_bytes // max(1, size[0])
    columns = axis_blocks(size[1], row_bytes // max(1, size[1]), block_bytes)
    return [(rows, part) for rows in axis_blocks(size[0], row_bytes, block_bytes) for part in columns]
