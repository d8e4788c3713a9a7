"""Convolution with a quarter of the multiplications (Winograd; Lavin and Gray, 2015).

Along one axis, two polynomials can be multiplied by their values at enough points (Toom and Cook): evaluate
both, multiply value by value, interpolate. Its transpose computes m outputs of a filter of r taps from
m + r - 1 pixels, with as many multiplications instead of m r:

    y = Aᵀ (G w · B x)

with points p_0, p_1, ... and infinity, M_i = Π_{j ≠ i} (p_i - p_j), and in row i

    A: 1, p_i, p_i², ...      G: (1, p_i, p_i², ...) / M_i      B: the coefficients of Π_{j ≠ i} (z - p_j)

Along both axes, a picture is cut into tiles of m x m outputs whose pixels overlap, and each (i, j) of the
values of a tile is a product of matrices over the channels:

    U_ij = (G w Gᵀ)_ij    V_ij = (B x Bᵀ)_ij      M_ij = V_ij · U_ij      y = Aᵀ M A

The derivatives are the same chain transposed: dM = A dy Aᵀ,  dU_ij = V_ijᵀ · dM_ij,  dw = Gᵀ dU G. (At
stride 1 the gradient of the input is a convolution itself.) All of it, the transforms too, are products of
matrices, which the BLAS does at full speed; for its sake the channels of the pixels are put last first. A
dilated kernel needs only tiles of pixels that are as far apart.

The error. Let n = C + KH·KW + 40: the terms of the products with C channels and KH·KW taps, 8 in each of the
four transforms of pixels and values, and 8 roundings of the constants in G. Then, as for any chain of sums
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1; Barabasz, Anderson, Soodhalter and
Gregg, "Error analysis and improving the accuracy of Winograd convolution for deep neural networks", 2020),

    |computed - exact| <= gamma_n |A|ᵀ (|G| |w| |G|ᵀ · |B| |x| |B|ᵀ) |A|

For the gradient of the weight the sums are those over all tiles, n = their number + 110. Unlike the bound of
a direct sum, this one depends on all pixels of a tile, not on those under one window alone.

Shapes and terms are those of `im2col`, with G = 1 group and 3 or 5 taps along each axis.
"""

from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from scratch_conv.kernels.convolution import mec
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.scratch_memory import scratch, scratch_apart
from scratch_conv.kernels.threads import num_threads_for, parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks

_POINTS = {
    4: (0.0, 1.0, -1.0),
    6: (0.0, 0.75, -0.75, 1.5, -1.5),
    8: (0.0, 0.5625, -0.5625, 1.0, -1.0, 1.875, -1.875),
}
"""The points beside infinity for so many values. 3/4 and 3/2 err a third as much as the usual 1 and 2."""

_RUN = 4
"""So many tiles in a row go through one matrix: larger ones hold more zeros, smaller ones are slow."""

_BLOCK_BYTES = 2**21, 3 * 2**22
"""The values of a block of work take about so much memory: as the weights' do, within these bounds.

All the scratch memory of a block is at most 2.4 times that.
"""

_WEIGHTS_BYTES = 2**21
"""Transformed weights of so much memory are worth a thread of their own."""

_SAME_LINES = 2**10
"""Planes a multiple of so many bytes apart fall into the same few lines of the cache.

To gather a pixel's channels from them took up to four times as long.
"""


def accepts(shapes: Shapes) -> bool:
    """Tell whether this algorithm computes such a convolution, and a block of it fits into memory."""
    window = shapes.window
    if {*window.kernel_size} - {3, 5} or window.stride != (1, 1) or max(window.dilation) > _RUN:
        return False
    if shapes.groups != 1 or shapes.dtype not in (np.float32, np.float64):
        return False
    rows, columns, _ = _axes(shapes.input_size, window, shapes.dtype)
    channels = shapes.channels + shapes.out_channels
    return _run_bytes(rows, columns, channels, shapes.dtype.itemsize) <= _BLOCK_BYTES[1]


def tiles_of(shapes: Shapes) -> int:
    """Count the tiles of a picture."""
    rows, columns, _ = _axes(shapes.input_size, shapes.window, shapes.dtype)
    return rows.tiles * columns.tiles


def conv2d(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C, KH, KW) into y (N, O, OH, OW): y = Aᵀ (G w Gᵀ · B x Bᵀ) A + bias.

    The transforms would spread an infinity or a NaN over the picture, and may overflow where the result does
    not: if anything that is not finite comes out, it is computed without them. So are the derivatives.
    """
    taps = _axes((x.shape[2], x.shape[3]), window, x.dtype).taps
    y, finite = _convolve(x, taps, _flat(w).transpose(1, 2, 0), bias, window)
    return y if finite else mec.conv2d(x, w, bias, window, groups)


def conv2d_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to x (N, C, H, W), by a convolution with turned weights."""
    size = (grad_output.shape[2], grad_output.shape[3])
    backwards = window.backwards(input_size, size)
    turned = _axes(size, backwards, w.dtype).taps[:, ::-1]
    grad_input, finite = _convolve(grad_output, turned, _flat(w).transpose(0, 2, 1), None, backwards)
    return grad_input if finite else mec.conv2d_grad_input(grad_output, w, input_size, window, groups)


def conv2d_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to w (O, C, KH, KW): dw = Gᵀ ((B x Bᵀ)ᵀ · (A dy Aᵀ)) G."""
    rows, columns, taps = _axes((x.shape[2], x.shape[3]), window, x.dtype)
    outs, channels = grad_output.shape[1], x.shape[1]
    shares = _shares(x.shape, outs, rows, columns, x.itemsize)
    if not shares:
        return np.zeros((outs, channels, *window.kernel_size), dtype=x.dtype)
    count = 1 + shares[-1].sums
    all_sums = scratch_apart("weights", (count, rows.points * columns.points, channels, outs), x.dtype)

    def work(share: Share) -> None:
        sums = all_sums[share.sums, ..., share.outputs]
        sums = sums.reshape(rows.points, columns.points, *sums.shape[1:])
        for turn, block in enumerate(share.blocks):
            pixels = _values("pixels", x[block.of_pixels], block.evaluate, columns.evaluate)
            of_block = grad_output[:, share.outputs][block.of_outputs]
            grads = _values("sums", of_block, block.interpolate, columns.interpolate)
            product = scratch("product", sums.shape, x.dtype) if turn else sums
            np.matmul(pixels.swapaxes(2, 3), grads, out=product)
            if turn:
                sums += product

    parallel(work, shares)
    grad_weight = _weights_from(all_sums, taps)
    if not np.isfinite(grad_weight).all():
        return mec.conv2d_grad_weight(grad_output, x, window, groups)
    return grad_weight.reshape(outs, channels, *window.kernel_size)


def _convolve(x: Array, taps: Array, w: Array, bias: Array | None, window: Window) -> tuple[Array, bool]:
    """Give y for weights w (C, KH·KW, O) and their transform (values, KH·KW); and whether it is finite."""
    size = window.output_size((x.shape[2], x.shape[3]))
    rows, columns, _ = _axes((x.shape[2], x.shape[3]), window, x.dtype)
    y = np.empty((x.shape[0], w.shape[2], *size), dtype=x.dtype)
    shares = _shares(x.shape, w.shape[2], rows, columns, x.itemsize)
    weights = scratch_apart("weights", (len(taps), *w.shape[::2]), x.dtype)
    by_value = weights.reshape(rows.points, columns.points, *weights.shape[1:])
    finite: list[bool] = []
    _transform_weights(weights, taps, w)

    def work(work_block: tuple[Block, slice]) -> None:
        block, outs = work_block
        pixels = _values("pixels", x[block.of_pixels], block.evaluate, columns.evaluate)
        part = y[:, outs][block.of_outputs]
        sums = _empty_values("sums", pixels.shape[:3], part.shape[1], x.dtype)
        np.matmul(pixels, by_value[..., outs], out=sums)
        outputs = _interpolated(sums, part.shape, block.interpolate, columns.interpolate)
        finite.append(bool(np.isfinite(outputs).all()))
        if bias is None:
            part[:] = outputs
        else:
            np.add(outputs, bias[outs, None, None], out=part)

    parallel(work, [(block, share.outputs) for share in shares for block in share.blocks])
    return y, all(finite)


def transforms(outputs: int, taps: int) -> tuple[Array, Array, Array]:
    """Give A (points, outputs), G (points, taps) and B (points, outputs + taps - 1): a row for each point.

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


class Part(NamedTuple):
    """A run of tiles along one axis: which pixels or outputs they meet, and the matrix between these."""

    tiles: slice
    meets: slice
    matrix: Array
    """(tiles, points, pixels or outputs): Bᵀ or A of each tile, zero where it meets none."""

    @property
    def rows(self) -> Array:
        """The matrix with one row for each value."""
        tiles, points, width = self.matrix.shape
        return self.matrix.reshape(tiles * points, width)


class Axis(NamedTuple):
    """One axis of the pictures, cut into tiles."""

    points: int
    tiles: int
    taps: Array
    """G (points, taps)."""
    evaluate: tuple[Part, ...]
    interpolate: tuple[Part, ...]


class Axes(NamedTuple):
    """Both axes."""

    rows: Axis
    columns: Axis
    taps: Array
    """G of both: (points of rows · points of columns, KH·KW)."""


@lru_cache(maxsize=256)
def _axes(size: Pair, window: Window, dtype: Any) -> Axes:
    rows, columns = (
        _axis(
            size[axis] + min(0, window.padding[axis][1]),  # what is cropped belongs to no tile
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
    """Cut an axis into runs of tiles, as even as possible; padding needs no pixels, only fewer columns.

    The outputs of `dilation` tiles alternate, and these are in one run.
    """
    outputs = 2 if output_size <= 2 * dilation else 4
    a, g, b = transforms(outputs, taps)
    turns = -(-output_size // (outputs * dilation))
    runs = -(-turns * dilation // (_RUN // dilation * dilation))
    bounds = [turns * run // runs * dilation for run in range(runs + 1)]
    cut = [slice(first, last) for first, last in pairwise(bounds)]
    return Axis(
        points=len(g),
        tiles=turns * dilation,
        taps=g,
        evaluate=tuple(_part(run, b.astype(dtype), outputs, dilation, padding, size) for run in cut),
        interpolate=tuple(_part(run, a.astype(dtype), outputs, dilation, 0, output_size) for run in cut),
    )


def _part(run: slice, matrix: Array, outputs: int, dilation: int, padding: int, size: int) -> Part:
    """Place a tile's matrix for each tile of the run where the tile is, and cut off the padding."""
    tiles, (points, width) = range(run.start, run.stop), matrix.shape
    origins = [tile // dilation * dilation * outputs + tile % dilation - padding for tile in tiles]
    start, reached = origins[0], dilation * (width - 1) + 1
    placed = np.zeros((len(tiles), points, origins[-1] + reached - start), dtype=matrix.dtype)
    for tile, origin in enumerate(origins):
        placed[tile, :, origin - start : origin - start + reached : dilation] = matrix
    first, last = (min(max(edge, 0), size) for edge in (start, start + placed.shape[2]))
    inside = placed[:, :, first - start : last - start]
    return Part(run, slice(first, last), np.ascontiguousarray(inside))


class Block(NamedTuple):
    """A block of work: pictures, and a run of rows of tiles."""

    pictures: slice
    evaluate: Part
    interpolate: Part

    @property
    def of_pixels(self) -> tuple[Any, ...]:
        """Where its pixels are in x (N, C, H, W)."""
        return self.pictures, slice(None), self.evaluate.meets

    @property
    def of_outputs(self) -> tuple[Any, ...]:
        """Where its outputs are in y (N, O, OH, OW)."""
        return self.pictures, slice(None), self.interpolate.meets


class Share(NamedTuple):
    """What one thread computes: some of the outputs of some of the blocks."""

    blocks: list[Block]
    outputs: slice
    sums: int
    """In the gradient of the weight: the number of the sums that it is the only one to add to."""


def _shares(shape: tuple[int, ...], outs: int, rows: Axis, columns: Axis, itemsize: int) -> list[Share]:
    """Share the work on x (N, C, H, W) out among the threads: the blocks; of few tiles rather the outputs.

    Fewer tiles than outputs are less work than the weights, which each thread then has a part of to itself.
    """
    tiles, values = shape[0] * rows.tiles * columns.tiles, rows.points * columns.points
    threads = num_threads_for(values * (tiles * (shape[1] + outs) + shape[1] * outs) * itemsize)
    if tiles < outs:
        blocks = _blocks(shape, -(-outs // threads), rows, columns, itemsize, 1)
        return [Share(blocks, part, 0) for part in axis_blocks(outs, 1, -(-outs // threads)) if blocks]
    blocks = _blocks(shape, outs, rows, columns, itemsize, threads)
    return [Share(blocks[turn::threads], slice(0, outs), turn) for turn in range(min(threads, len(blocks)))]


def _blocks(
    shape: tuple[int, ...], outs: int, rows: Axis, columns: Axis, itemsize: int, threads: int
) -> list[Block]:
    """Cut the work on x (N, C, H, W) into blocks, as many for each thread.

    A block's values are about as many as the weights', which are read again for each block.
    """
    n, channels, *_ = shape
    fewest, most = _BLOCK_BYTES
    block_bytes = min(max(fewest, rows.points * columns.points * channels * outs * itemsize), most)
    run_bytes = _run_bytes(rows, columns, channels + outs, itemsize)
    turns = -(-n // (max(1, block_bytes // max(1, run_bytes)) * threads))
    count = min(n, turns * threads)
    bounds = [n * part // count for part in range(count + 1)] if count else []
    return [
        Block(slice(first, last), *parts)
        for first, last in pairwise(bounds)
        for parts in zip(rows.evaluate, rows.interpolate, strict=True)
    ]


def _run_bytes(rows: Axis, columns: Axis, channels: int, itemsize: int) -> int:
    """Count the memory of the values of a run of rows of tiles of one picture."""
    tiles = min(rows.tiles, _RUN) * columns.tiles
    return rows.points * columns.points * tiles * channels * itemsize


def _flat(w: Array) -> Array:
    """Reshape w (O, C, KH, KW) to (O, C, KH·KW)."""
    outs, channels, height, width = w.shape
    return np.ascontiguousarray(w).reshape(outs, channels, height * width)


def _transform_weights(weights: Array, taps: Array, w: Array) -> None:
    """Write taps (values, KH·KW) times w (C, KH·KW, O) to weights (values, C, O)."""
    taps = np.ascontiguousarray(taps, dtype=w.dtype)

    def work(part: slice) -> None:
        np.matmul(taps, w[part], out=weights[:, part].swapaxes(0, 1))

    parallel(work, axis_blocks(len(w), weights[:, 0].nbytes, _WEIGHTS_BYTES))


def _weights_from(sums: Array, taps: Array) -> Array:
    """Give tapsᵀ (Σ sums) as (O, C, KH·KW), for sums (shares, values, C, O): the transpose."""
    channels, outs = sums.shape[2:]
    weights = np.empty((outs, channels, taps.shape[1]), dtype=sums.dtype)
    taps = taps.astype(sums.dtype)

    def work(part: slice) -> None:
        total = sums[0, ..., part]
        for share in sums[1:]:
            total += share[..., part]
        # By way of rows that are apart: the result's own, often a multiple of 2 KiB, take twice the time.
        rows = scratch_apart("product", weights[part].shape, sums.dtype)
        np.matmul(total.transpose(1, 2, 0), taps, out=rows.swapaxes(0, 1))
        weights[part] = rows

    parallel(work, axis_blocks(outs, sums[0, ..., 0].nbytes, _WEIGHTS_BYTES))
    return weights


def _empty_values(name: str, shape: tuple[int, ...], channels: int, dtype: Any) -> Array:
    """Give scratch memory (points of rows, points of columns, tiles, channels), in the order of `_values`."""
    rows, columns, tiles = shape
    return scratch(name, (columns, tiles, rows, channels), dtype).transpose(2, 0, 1, 3)


def _values(name: str, pixels: Array, rows: Part, columns: tuple[Part, ...]) -> Array:
    """Transform pictures (n, C, h, w) along both axes: gives (points, points, tiles, C)."""
    met = slice(columns[0].meets.start, columns[-1].meets.stop)
    pixels = pixels[..., met]  # without those that are cropped
    n, channels, height, width = pixels.shape
    turned = scratch("turned", (n, height, width, channels), pixels.dtype)
    if pixels.strides[1] % _SAME_LINES == 0:
        planes = scratch_apart("half", pixels.shape, pixels.dtype)  # whose memory is free until below
        np.copyto(planes, pixels)
        pixels = planes
    np.copyto(turned, pixels.transpose(0, 2, 3, 1))
    tiles, points = columns[-1].tiles.stop, columns[0].matrix.shape[1]
    padded = scratch_apart("half", (tiles * points, n, height * channels), pixels.dtype)
    half = padded.reshape(tiles, points, n, height, channels)
    for part in columns:
        out = half[part.tiles].reshape(len(part.rows), n, height, channels).transpose(1, 2, 0, 3)
        meets = slice(part.meets.start - met.start, part.meets.stop - met.start)
        np.matmul(part.rows, turned[:, :, meets], out=out)
    values = scratch(name, (points, n, tiles, *rows.matrix.shape[:2], channels), pixels.dtype)
    out = values.reshape(points, n, tiles, len(rows.rows), channels)
    np.matmul(rows.rows, half.transpose(1, 2, 0, 3, 4), out=out)
    by_tile = values.reshape(points, n * tiles * len(rows.matrix), rows.matrix.shape[1], channels)
    return by_tile.transpose(2, 0, 1, 3)


def _interpolated(sums: Array, shape: tuple[int, ...], rows: Part, columns: tuple[Part, ...]) -> Array:
    """Carry sums (points, points, tiles, O) to outputs (n, O, h, w): the transpose of `_values`."""
    n, outs, height, width = shape
    tiles, points = columns[-1].tiles.stop, columns[0].matrix.shape[1]
    padded = scratch_apart("half", (tiles * points, n, outs * height), sums.dtype)
    half = padded.reshape(tiles, points, n, outs, height)
    by_column = sums.transpose(1, 2, 0, 3).reshape(points, n, tiles, len(rows.rows), outs)
    np.matmul(by_column.swapaxes(3, 4), rows.rows, out=half.transpose(1, 2, 0, 3, 4))
    outputs = scratch("outputs", shape, sums.dtype)
    lines = outputs.reshape(n, outs * height, width)
    for part in columns:
        values = padded[part.tiles.start * points : part.tiles.stop * points].transpose(1, 2, 0)
        np.matmul(values, part.rows, out=lines[:, :, part.meets])
    return outputs
