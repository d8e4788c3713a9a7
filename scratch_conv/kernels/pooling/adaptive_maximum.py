"""Adaptive max pooling: the maximum in each bin of an image, and its index.

Output row p is over the rows from floor(p H / OH) up to ceil((p + 1) H / OH), columns likewise. The maxima of
the columns' bins are found first, then those of the rows of what is left. Where bins come out even, they are
windows of one size.

Shapes: x (N, C, H, W), y and indices (N, C, OH, OW); an index is row · W + column, int32.
"""

from typing import Any

import numpy as np

from scratch_conv.kernels.pooling.maximum import max_pool2d
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks, bins, planes

__all__ = ["adaptive_max_pool2d"]

_BLOCK_BYTES = 2**20
"""A block of planes stays in the core's own cache between the passes."""


def adaptive_max_pool2d(x: Array, output_size: Pair) -> tuple[Array, Array]:
    """Return the maxima y (N, C, OH, OW), of `output_size` (OH, OW), of x (N, C, H, W), and their indices.

    Among equal maxima the first in reading order wins, and NaN wins over every number; of several NaN the
    last wins.
    """
    size = x.shape[2], x.shape[3]
    if output_size == (1, 1):
        return _maxima_of_planes(x)
    if all(output_size) and size[0] % output_size[0] == 0 == size[1] % output_size[1]:
        kernel_size = size[0] // output_size[0], size[1] // output_size[1]
        return max_pool2d(x, Window(kernel_size, kernel_size, ((0, 0), (0, 0)), (1, 1)), False)
    y = np.empty((*x.shape[:2], *output_size), dtype=x.dtype)
    indices = np.empty(y.shape, dtype=np.int32)
    x_planes, y_planes, index_planes = planes(x), planes(y), planes(indices)
    rows, columns = bins(size[0], output_size[0]), bins(size[1], output_size[1])

    def work(some: slice) -> None:
        if size[1] == output_size[1]:  # each column is a bin
            _maxima(x_planes[some], y_planes[some], index_planes[some], *rows)
            in_row: Any = np.arange(size[1], dtype=np.int32)
        else:
            # Transposed, the passes go along contiguous pixels, in a third of the time.
            by_columns = np.ascontiguousarray(x_planes[some].swapaxes(1, 2))
            of_rows = np.empty((len(by_columns), output_size[1], size[0]), x.dtype)
            places = np.empty(of_rows.shape, np.int32)
            _maxima(by_columns, of_rows, places, *columns)
            by_rows = np.ascontiguousarray(of_rows.swapaxes(1, 2))
            _maxima(by_rows, y_planes[some], index_planes[some], *rows)
            chosen = index_planes[some].astype(np.intp)
            in_row = np.take_along_axis(places.swapaxes(1, 2), chosen, axis=1)
        index_planes[some] *= np.int32(size[1])
        index_planes[some] += in_row

    if all(output_size):
        parallel(
            work, axis_blocks(len(x_planes), max(x_planes[:1].nbytes, y_planes[:1].nbytes), _BLOCK_BYTES)
        )
    return y, indices


def _maxima_of_planes(x: Array) -> tuple[Array, Array]:
    """Return the maximum of each plane (N, C, 1, 1), and its index."""
    n, c, height, width = x.shape
    flat = x.reshape(n * c, height * width)
    y, indices = np.empty(n * c, x.dtype), np.empty(n * c, np.int32)

    def work(some: slice) -> None:
        pixels = flat[some]
        indices[some] = pixels.argmax(axis=1)
        y[some] = np.take_along_axis(pixels, indices[some, None].astype(np.intp), axis=1)[:, 0]
        nans = some.start + np.flatnonzero(np.isnan(y[some]))
        indices[nans] = flat.shape[1] - 1 - np.isnan(flat[nans, ::-1]).argmax(axis=1)

    if n * c:
        parallel(work, axis_blocks(n * c, flat[:1].nbytes, _BLOCK_BYTES))
    return y.reshape(n, c, 1, 1), indices.reshape(n, c, 1, 1)


def _maxima(x: Array, y: Array, places: Array, starts: Array, ends: Array) -> None:
    """Write the maxima of bins of the middle axis of x (n, pixels, m), and the number of the pixel of each.

    A bin that is smaller than the largest meets its last pixel several times, which changes nothing.
    """
    numbers = [np.minimum(starts + tap, ends - 1) for tap in range((ends - starts).max())]
    y[...], places[...] = x[:, starts], starts[:, None].astype(np.int32)
    for each in numbers[1:]:
        pixels = x[:, each]
        np.copyto(places, each[:, None].astype(np.int32), where=pixels > y)
        np.maximum(pixels, y, out=y)
    if np.isnan(y.max(initial=0)):
        for each in numbers:
            np.copyto(places, each[:, None].astype(np.int32), where=np.isnan(x[:, each]))
