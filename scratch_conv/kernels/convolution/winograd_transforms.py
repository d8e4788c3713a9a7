"""Winograd's transforms: the matrices, their error, and how they are applied to tiles of images.

Along one axis, two polynomials can be multiplied by their values at enough points (Toom and Cook): evaluate
both, multiply value by value, interpolate. Its transpose computes m outputs of a filter of r taps from
m + r - 1 pixels, with as many multiplications instead of m r:

    y = Aᵀ (G w · B x)

with points p_0, p_1, ... and infinity, M_i = Π_{j ≠ i} (p_i - p_j), and in row i

    A: 1, p_i, p_i², ...      G: (1, p_i, p_i², ...) / M_i      B: the coefficients of Π_{j ≠ i} (z - p_j)

Along both axes, an image is cut into *tiles* of m x m outputs, whose input pixels overlap. Each (i, j) of the
values of a tile is a product of matrices over the channels:

    U_ij = (G w Gᵀ)_ij    V_ij = (B x Bᵀ)_ij      M_ij = V_ij · U_ij      y = Aᵀ M A

The transforms are products of matrices too, which the BLAS computes at full speed: the matrix of a *strip*, a
few consecutive tiles of an axis, has the matrix of each tile along its diagonal. For their sake the channels
become the last axis first. The tiles of a dilated kernel are made of pixels that are `dilation` apart.

The error. Let n = C + KH·KW + 40: the terms of the products with C channels and KH·KW taps, 8 in each of the
four transforms of pixels and values, and 8 roundings of the constants in G. Then, as for any chain of sums
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1; Barabasz, Anderson, Soodhalter and
Gregg, "Error analysis and improving the accuracy of Winograd convolution for deep neural networks", 2020),

    |computed - exact| <= gamma_n |A|ᵀ (|G| |w| |G|ᵀ · |B| |x| |B|ᵀ) |A|

For the gradient with respect to the weight the sums are those over all tiles, n = their number + 110. Unlike
the bound of a direct sum, this one depends on all pixels of a tile, not only on those under one window.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from scratch_conv.kernels.scratch_memory import padded_scratch, scratch
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks

__all__ = [
    "STRIP_TILES",
    "Axes",
    "Axis",
    "Strip",
    "empty_values",
    "grad_weight_from_values",
    "interpolate",
    "matrices",
    "transform",
    "transform_weight",
    "transformed_axes",
]

_POINTS = {
    4: (0.0, 1.0, -1.0),
    6: (0.0, 0.75, -0.75, 1.5, -1.5),
    8: (0.0, 0.5625, -0.5625, 1.0, -1.0, 1.875, -1.875),
}
"""The points beside infinity for so many values. 3/4 and 3/2 err a third as much as the usual 1 and 2."""

STRIP_TILES = 4
"""The most tiles of a strip: a larger matrix holds more zeros, products with a smaller one are slow."""

_WEIGHT_BYTES = 2**21
"""Transformed weights are computed in blocks of this size, one thread each."""

_SAME_LINES = 2**10
"""Planes a multiple of so many bytes apart share a few lines of the cache.

Gathering a pixel's channels from them took up to four times as long.
"""


def matrices(outputs: int, taps: int) -> tuple[Array, Array, Array]:
    """Return A (points, outputs), G (points, taps) and B (points, outputs + taps - 1): a row for each point.

    The last of the points is infinity, where a polynomial's value is its leading coefficient.
    """
    count = outputs + taps - 1
    points = _POINTS[count]
    a, g, b = (np.zeros((count, length)) for length in (outputs, taps, count))
    for i, point in enumerate(points):
        others = points[:i] + points[i + 1 :]
        a[i] = point ** np.arange(outputs)
        g[i] = point ** np.arange(taps) / np.prod([point - other for other in others])
        b[i, :-1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(points)[::-1]
    return a, g, b


class Strip(NamedTuple):
    """Consecutive tiles along one axis: the pixels or outputs they meet, and the matrix between."""

    tiles: slice
    meets: slice
    matrix: Array
    """(tiles, points, pixels or outputs): B or A of each tile, zero where it meets none."""

    @property
    def rows(self) -> Array:
        """The matrix with one row for each value."""
        tiles, points, width = self.matrix.shape
        return self.matrix.reshape(tiles * points, width)


class Axis(NamedTuple):
    """One axis of the images, cut into tiles."""

    points: int
    tiles: int
    taps: Array
    """G (points, taps)."""
    evaluate: tuple[Strip, ...]
    """B: from pixels to values."""
    interpolate: tuple[Strip, ...]
    """A: the transpose goes from values to outputs."""


class Axes(NamedTuple):
    """Both axes."""

    rows: Axis
    columns: Axis
    taps: Array
    """G of both: (points of rows · points of columns, KH·KW)."""


@lru_cache(maxsize=64)
def transformed_axes(size: Pair, window: Window, dtype: Any) -> Axes:
    """Cut both axes of images of `size` (H, W) into tiles for a window."""
    rows, columns = (
        _axis(
            size[axis] + min(0, window.padding[axis][1]),  # cropped pixels belong to no tile
            window.output_size(size)[axis],
            window.kernel_size[axis],
            window.padding[axis][0],
            window.dilation[axis],
            dtype,
        )
        for axis in (0, 1)
    )
    return Axes(rows, columns, np.kron(rows.taps, columns.taps))


def _axis(size: int, output_size: int, taps: int, padding: int, dilation: int, dtype: Any) -> Axis:
    """Cut an axis into strips as even as possible; padding needs no pixels, only fewer columns.

    The outputs of `dilation` tiles alternate, and these are in one strip.
    """
    outputs = 2 if output_size <= 2 * dilation else 4
    a, g, b = matrices(outputs, taps)
    turns = -(-output_size // (outputs * dilation))
    strips = -(-turns * dilation // (STRIP_TILES // dilation * dilation))
    bounds = [turns * strip // strips * dilation for strip in range(strips + 1)]
    cut = [slice(first, last) for first, last in pairwise(bounds)]
    evaluate = (_strip(tiles, b.astype(dtype), outputs, dilation, padding, size) for tiles in cut)
    interpolate = (_strip(tiles, a.astype(dtype), outputs, dilation, 0, output_size) for tiles in cut)
    return Axis(len(g), turns * dilation, g, _shared(evaluate), _shared(interpolate))


def _shared(strips: Iterable[Strip]) -> tuple[Strip, ...]:
    """Let strips share equal matrices: all but the first and the last have the same."""
    matrices: dict[tuple[Any, ...], Array] = {}
    return tuple(
        strip._replace(matrix=matrices.setdefault((strip.matrix.shape, strip.matrix.tobytes()), strip.matrix))
        for strip in strips
    )


def _strip(tiles: slice, matrix: Array, outputs: int, dilation: int, padding: int, size: int) -> Strip:
    """Place a tile's matrix for each tile of a strip where the tile is, and cut off the padding."""
    points, width = matrix.shape
    origins = [
        tile // dilation * dilation * outputs + tile % dilation - padding
        for tile in range(tiles.start, tiles.stop)
    ]
    start, extent = origins[0], dilation * (width - 1) + 1
    placed = np.zeros((len(origins), points, origins[-1] + extent - start), dtype=matrix.dtype)
    for tile, origin in enumerate(origins):
        placed[tile, :, origin - start : origin - start + extent : dilation] = matrix
    first, last = (min(max(edge, 0), size) for edge in (start, start + placed.shape[2]))
    inside = placed[:, :, first - start : last - start]
    return Strip(tiles, slice(first, last), np.ascontiguousarray(inside))


def transform(name: str, images: Array, rows: Strip, columns: tuple[Strip, ...]) -> Array:
    """Transform images (n, C, h, w) along both axes into (points, points, tiles, C), in scratch memory."""
    met = slice(columns[0].meets.start, columns[-1].meets.stop)
    images = images[..., met]  # without cropped pixels
    n, channels, height, width = images.shape
    channels_last = scratch("channels last", (n, height, width, channels), images.dtype)
    if images.strides[1] % _SAME_LINES == 0:
        planes = padded_scratch("half", images.shape, images.dtype)  # whose memory is free until below
        np.copyto(planes, images)
        images = planes
    np.copyto(channels_last, images.transpose(0, 2, 3, 1))
    tiles, points = columns[-1].tiles.stop, columns[0].matrix.shape[1]
    padded = padded_scratch("half", (tiles * points, n, height * channels), images.dtype)
    half = padded.reshape(tiles, points, n, height, channels)
    for strip in columns:
        out = half[strip.tiles].reshape(len(strip.rows), n, height, channels).transpose(1, 2, 0, 3)
        meets = slice(strip.meets.start - met.start, strip.meets.stop - met.start)
        np.matmul(strip.rows, channels_last[:, :, meets], out=out)
    values = scratch(name, (points, n, tiles, *rows.matrix.shape[:2], channels), images.dtype)
    out = values.reshape(points, n, tiles, len(rows.rows), channels)
    np.matmul(rows.rows, half.transpose(1, 2, 0, 3, 4), out=out)
    by_tile = values.reshape(points, n * tiles * len(rows.matrix), rows.matrix.shape[1], channels)
    return by_tile.transpose(2, 0, 1, 3)


def empty_values(name: str, shape: tuple[int, ...], channels: int, dtype: Any) -> Array:
    """Return scratch memory (points, points, tiles, channels) that is laid out as by `transform`."""
    rows, columns, tiles = shape
    return scratch(name, (columns, tiles, rows, channels), dtype).transpose(2, 0, 1, 3)


def interpolate(sums: Array, shape: tuple[int, ...], rows: Strip, columns: tuple[Strip, ...]) -> Array:
    """Transform sums (points, points, tiles, O) to outputs (n, O, h, w): the transpose of `transform`."""
    n, outs, height, width = shape
    tiles, points = columns[-1].tiles.stop, columns[0].matrix.shape[1]
    padded = padded_scratch("half", (tiles * points, n, outs * height), sums.dtype)
    half = padded.reshape(tiles, points, n, outs, height)
    by_column = sums.transpose(1, 2, 0, 3).reshape(points, n, tiles, len(rows.rows), outs)
    np.matmul(by_column.swapaxes(3, 4), rows.rows, out=half.transpose(1, 2, 0, 3, 4))
    outputs = scratch("outputs", shape, sums.dtype)
    lines = outputs.reshape(n, outs * height, width)
    for strip in columns:
        values = padded[strip.tiles.start * points : strip.tiles.stop * points].transpose(1, 2, 0)
        np.matmul(values, strip.rows, out=lines[:, :, strip.meets])
    return outputs


def transform_weight(values: Array, taps: Array, w: Array) -> None:
    """Write taps (values, KH·KW) times w (C, KH·KW, O) to values (values, C, O)."""
    taps = np.ascontiguousarray(taps, dtype=w.dtype)

    def work(channels: slice) -> None:
        np.matmul(taps, w[channels], out=values[:, channels].swapaxes(0, 1))

    parallel(work, axis_blocks(len(w), values[:, 0].nbytes, _WEIGHT_BYTES))


def grad_weight_from_values(sums: Array, taps: Array) -> Array:
    """Return tapsᵀ (Σ sums) as (O, C, KH·KW), for sums (threads, values, C, O): the transpose."""
    channels, outs = sums.shape[2:]
    grad_weight = np.empty((outs, channels, taps.shape[1]), dtype=sums.dtype)
    taps = taps.astype(sums.dtype)

    def work(block: slice) -> None:
        total = sums[0, ..., block]
        for others in sums[1:]:
            total += others[..., block]
        # By way of rows that are apart: the result's own, often a multiple of 2 KiB, take twice the time.
        rows = padded_scratch("product", grad_weight[block].shape, sums.dtype)
        np.matmul(total.transpose(1, 2, 0), taps, out=rows.swapaxes(0, 1))
        grad_weight[block] = rows

    parallel(work, axis_blocks(outs, sums[0, ..., 0].nbytes, _WEIGHT_BYTES))
    return grad_weight
