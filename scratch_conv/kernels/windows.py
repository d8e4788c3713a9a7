"""The arithmetic of sliding windows, for any number of axes: every operation that slides a window shares it.

Everything here is integer arithmetic on sizes, or a view of an array. The arithmetic also accepts symbolic
integers, so that shapes can be propagated without data.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product, repeat
from operator import mul
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

__all__ = ["Window"]

Array = NDArray[Any]
Pair = tuple[int, int]
Size = tuple[int, ...]
"""One number for each axis."""
Padding = tuple[Pair, ...]
"""For each axis, how many elements are added before and after; ((top, bottom), (left, right)) of an image."""

_Size = TypeVar("_Size", bound=Size)


def effective_kernel_size(kernel_size: int, dilation: int) -> int:
    """Return the number of pixels from the first tap of a dilated kernel to its last, both included."""
    return dilation * (kernel_size - 1) + 1


def same_padding(kernel_size: int, dilation: int) -> Pair:
    """Return the padding that keeps an axis's size at stride 1; an uneven pixel goes to the end."""
    total = dilation * (kernel_size - 1)
    return total // 2, total - total // 2


class Window(NamedTuple):
    """A window that slides over images: its taps, and the steps it takes.

    Each field has one entry for each axis, (rows, columns) for images.
    """

    kernel_size: Size
    stride: Size
    padding: Padding
    dilation: Size

    def output_size(self, input_size: _Size, ceil_mode: bool = False) -> _Size:
        """Count the positions of the window on images of `input_size`, (H, W) or one number for each axis.

        With `ceil_mode` a last window may extend beyond the end of the padded axis, but only if it starts
        inside the input or the padding before it (`torch.nn.MaxPool2d`, note on ceil_mode).
        """
        counts: Any = tuple(map(_positions, input_size, *self, repeat(ceil_mode)))
        return counts

    @property
    def effective_kernel_size(self) -> Size:
        """The number of pixels from the first tap to the last along each axis, both included."""
        return tuple(map(effective_kernel_size, self.kernel_size, self.dilation))

    def is_non_overlapping(self) -> bool:
        """Return whether no pixel lies under two positions of the window."""
        steps = zip(self.stride, self.effective_kernel_size, strict=True)
        return all(stride >= size for stride, size in steps)

    def starting_at(self, *position: int) -> "Window":
        """Return the window whose first position is this one's at (row, column).

        The pixels before that are like a smaller padding, which may be negative: cropping.
        """
        if not any(position):
            return self
        starts = zip(self.padding, position, self.stride, strict=True)
        padding = [(before - start * stride, after) for (before, after), start, stride in starts]
        return self._replace(padding=tuple(padding))

    def ending_after(self, output_size: Size, input_size: Size) -> "Window":
        """Return the window that has so many positions: what it never meets at the ends is cropped."""
        last = [(count - 1) * stride for count, stride in zip(output_size, self.stride, strict=True)]
        sizes = zip(self.padding, last, self.effective_kernel_size, input_size, strict=True)
        padding = [(before, start + size - before - pixels) for (before, _), start, size, pixels in sizes]
        return self._replace(padding=tuple(padding))

    def backwards(self, input_size: Size, output_size: Size) -> "Window":
        """Return the window that convolves outputs back to inputs: at stride 1, with the flipped kernel.

        Its padding may be negative: cropping.
        """
        sizes = zip(self.effective_kernel_size, self.padding, input_size, output_size, strict=True)
        padding = [(size - 1 - pad, pixels + pad - count) for size, (pad, _), pixels, count in sizes]
        return self._replace(padding=tuple(padding))

    def phases(self) -> Iterator["Phase"]:
        """Split the window by the remainders of its taps modulo the stride: into windows of stride 1.

        Each meets pixels of its own, a stride apart from each other. For windows without dilation.
        """
        for phase in np.ndindex(*map(min, self.stride, self.kernel_size)):
            kernel_size, padding, pixels, taps = [], [], [], []
            for axis, first_tap in enumerate(phase):
                stride, before = self.stride[axis], self.padding[axis][0]
                kernel_size.append(len(range(first_tap, self.kernel_size[axis], stride)))
                padding.append((-((first_tap - before) // stride), 0))
                pixels.append(slice((first_tap - before) % stride, None, stride))
                taps.append(slice(first_tap, None, stride))
            window = Window(tuple(kernel_size), (1,) * len(phase), tuple(padding), self.dilation)
            yield Phase(window, (..., *taps), (..., *pixels))

    def taps(self, input_size: Size, output_size: Size) -> Iterator["Tap"]:
        """Yield the window's taps in reading order, each with what it meets inside the image."""
        by_axis = [
            [self.inside(axis, tap, input_size[axis], output_size[axis]) for tap in range(taps)]
            for axis, taps in enumerate(self.kernel_size)
        ]
        for number, met in enumerate(product(*by_axis)):
            windows, pixels = zip(*met, strict=True)
            yield Tap(number, (..., *windows), (..., *pixels))

    def inside(self, axis: int, tap: int, size: int, count: int) -> tuple[slice, slice]:
        """Return the window positions at which a tap lies inside an axis, and the pixels it then meets."""
        stride = self.stride[axis]
        offset = tap * self.dilation[axis] - self.padding[axis][0]
        first = max(0, -(offset // stride))
        last = min(count - 1, (size - 1 - offset) // stride)
        if first > last:
            return slice(0), slice(0)
        return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)

    def under(self, axis: int, position: int, size: int) -> tuple[slice, slice]:
        """Return the taps that are inside an axis at a position of the window, and the pixels they meet."""
        dilation, start = self.dilation[axis], position * self.stride[axis] - self.padding[axis][0]
        first = max(0, -(start // dilation))
        last = min(self.kernel_size[axis] - 1, (size - 1 - start) // dilation)
        if first > last:
            return slice(0), slice(0)
        return slice(first, last + 1), slice(start + first * dilation, start + last * dilation + 1, dilation)

    def view(self, padded: Array, output_size: Size) -> Array:
        """View padded (N, C, H, W) as (N, C, KH, KW, OH, OW): for each tap, the pixels that it meets.

        No data is copied: a pixel under several windows appears several times. The stride tricks are safe
        for reading only.
        """
        steps = padded.strides[2:]
        return as_strided(
            padded,
            shape=padded.shape[:2] + self.kernel_size + output_size,
            strides=(*padded.strides[:2], *map(mul, steps, self.dilation), *map(mul, steps, self.stride)),
            writeable=False,
        )


def _positions(size: int, taps: int, stride: int, padding: Pair, dilation: int, ceil_mode: bool) -> int:
    """Count the positions of a window along one axis."""
    room = size + padding[0] + padding[1] - dilation * (taps - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    # Not by the remainder, by which a compiler would compile again; the last window may not start beyond.
    count = (room + stride - 1) // stride + 1
    return count - 1 if (count - 1) * stride >= size + padding[0] else count


class Phase(NamedTuple):
    """One of the windows that a window with strides is split into: of stride 1, with some of the `taps`.

    `taps` is an index into weights, `pixels`, those that it meets, one into inputs. Its padding at the end is
    left open.
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
    """Surround the images of (N, C, H, W) with zeros, or crop them where the padding is negative.

    Without padding, `x` itself is returned.
    """
    if not any(map(any, padding)):
        return x
    size, kept, filled = _padded(x.shape[2:], padding)
    cropped = x[kept]
    if max(map(max, padding)) <= 0:
        return cropped
    padded = np.zeros(x.shape[:2] + size, dtype=x.dtype)
    padded[filled] = cropped
    return padded


@lru_cache(maxsize=256)
def _padded(size: Size, padding: Padding) -> tuple[Size, tuple[slice, ...], tuple[slice, ...]]:
    """Return the padded size, and two indices: into the images and into the padded ones."""
    padded, kept, inside = [], [slice(None)] * 2, [slice(None)] * 2
    for pixels, (before, after) in zip(size, padding, strict=True):
        first = max(0, -before)
        count = max(0, pixels + min(0, after) - first)
        padded.append(before + pixels + after)
        kept.append(slice(first, first + count))
        inside.append(slice(before + first, before + first + count))
    return tuple(padded), tuple(kept), tuple(inside)


def bins(pixels: int, count: int) -> tuple[Array, Array]:
    """Return the starts and the ends of `count` bins of an axis, which overlap where they come out uneven."""
    numbers = np.arange(count, dtype=np.int64)
    return numbers * pixels // count, -((numbers + 1) * -pixels // count)


def axis_blocks(count: int, bytes_each: int, block_bytes: int) -> list[slice]:
    """Cut `count` things into slices of about `block_bytes`, at least one thing each."""
    step = max(1, block_bytes // max(1, bytes_each))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def plane_blocks(size: Size, plane_bytes: int, block_bytes: int) -> list[tuple[slice, ...]]:
    """Cut a plane of `size` (rows, columns) into blocks of about `block_bytes`, in reading order.

    They are whole rows, or columns of one row where that is too long; likewise for any number of axes.
    """
    if plane_bytes <= block_bytes:  # in a quarter of the time
        return [tuple([slice(0, count) for count in size])] if all(size) else []
    count, *inner = size
    row_bytes = plane_bytes // max(1, count)
    rows = axis_blocks(count, row_bytes, block_bytes)
    if not inner:
        return [(block,) for block in rows]
    of_rows = plane_blocks(tuple(inner), row_bytes, block_bytes)
    return [(block, *rest) for block in rows for rest in of_rows]


def planes(images: Array) -> Array:
    """Reshape (N, C, H, W) to (N·C, H, W): each channel of an image by itself."""
    n, c, h, w = images.shape
    return images.reshape(n * c, h, w)
