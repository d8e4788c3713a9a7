"""Convolution with a quarter of the multiplications (Winograd; Lavin and Gray, 2015).

The 4x4 outputs of a tile of 3x3 taps are computed from 6x6 products instead of 16 · 9:

    y = Aᵀ (G w Gᵀ · B x Bᵀ) A

The matrices, their derivation and the bound of the error are in `winograd_transforms`; here the work is cut
into blocks. The derivatives are the same chain transposed:

    dM = A dy Aᵀ      dU_ij = V_ijᵀ · dM_ij      dw = Gᵀ dU G

At stride 1 the gradient with respect to the input is a convolution itself, with the flipped kernel.

The transforms would spread an infinity or a NaN over a tile, and may overflow where the result does not: if
any result is not finite, all are computed by MEC instead.

Shapes and terms are those of `im2col`, with G = 1 group and 3 or 5 taps along each axis.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from scratch_conv.kernels.convolution import mec
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.convolution.winograd_transforms import (
    STRIP_TILES,
    Axis,
    Strip,
    empty_values,
    grad_weight_from_values,
    interpolate,
    transform,
    transform_weight,
    transformed_axes,
)
from scratch_conv.kernels.scratch_memory import padded_empty
from scratch_conv.kernels.threads import num_threads_for, parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks

__all__ = ["accepts", "conv", "conv_grad_input", "conv_grad_weight", "tiles_of"]

_BLOCK_BYTES = 2**21, 3 * 2**22
"""The values of a block take about as much memory as the weight's, within these bounds.

All the scratch memory of a block is at most 2.4 times that.
"""


def accepts(shapes: Shapes) -> bool:
    """Return whether this algorithm computes such a convolution, and a block of it fits into memory."""
    window = shapes.window
    if {*window.kernel_size} - {3, 5} or window.stride != (1, 1) or max(window.dilation) > STRIP_TILES:
        return False
    if shapes.groups != 1 or shapes.dtype not in (np.float32, np.float64):
        return False
    rows, columns, _ = transformed_axes(shapes.input_size, window, shapes.dtype)
    channels = shapes.channels + shapes.out_channels
    return _strip_bytes(rows, columns, channels, shapes.dtype.itemsize) <= _BLOCK_BYTES[1]


def tiles_of(shapes: Shapes) -> int:
    """Count the tiles of an image."""
    rows, columns, _ = transformed_axes(shapes.input_size, shapes.window, shapes.dtype)
    return rows.tiles * columns.tiles


def conv(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C, KH, KW) into y (N, O, OH, OW): Aᵀ (G w Gᵀ · B x Bᵀ) A + bias."""
    taps = transformed_axes((x.shape[2], x.shape[3]), window, x.dtype).taps
    y, finite = _convolve(x, taps, _flat(w).transpose(1, 2, 0), bias, window)
    return y if finite else mec.conv(x, w, bias, window, groups)


def conv_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Return the gradient with respect to x (N, C, H, W): dy (N, O, OH, OW) convolved with the flipped w."""
    size = (grad_output.shape[2], grad_output.shape[3])
    backwards = window.backwards(input_size, size)
    flipped = transformed_axes(size, backwards, w.dtype).taps[:, ::-1]
    grad_input, finite = _convolve(grad_output, flipped, _flat(w).transpose(0, 2, 1), None, backwards)
    return grad_input if finite else mec.conv_grad_input(grad_output, w, input_size, window, groups)


def conv_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient with respect to w (O, C, KH, KW): dw = Gᵀ ((B x Bᵀ)ᵀ · (A dy Aᵀ)) G."""
    rows, columns, taps = transformed_axes((x.shape[2], x.shape[3]), window, x.dtype)
    outs, channels = grad_output.shape[1], x.shape[1]
    by_thread = _by_thread(x.shape, outs, rows, columns, x.itemsize)
    if not by_thread:
        return np.zeros((outs, channels, *window.kernel_size), dtype=x.dtype)
    count = 1 + by_thread[-1].sums
    all_sums = padded_empty((count, rows.points * columns.points, channels, outs), x.dtype)

    def work(mine: ThreadBlocks) -> None:
        sums = all_sums[mine.sums, ..., mine.outputs]
        sums = sums.reshape(rows.points, columns.points, *sums.shape[1:])
        product = np.empty(sums.shape, x.dtype)
        for turn, block in enumerate(mine.blocks):
            pixels = transform("pixels", x[block.of_pixels], block.evaluate, columns.evaluate)
            of_block = grad_output[:, mine.outputs][block.of_outputs]
            grads = transform("sums", of_block, block.interpolate, columns.interpolate)
            np.matmul(pixels.swapaxes(2, 3), grads, out=product if turn else sums)
            if turn:
                sums += product

    parallel(work, by_thread)
    grad_weight = grad_weight_from_values(all_sums, taps)
    if not np.isfinite(grad_weight).all():
        return mec.conv_grad_weight(grad_output, x, window, groups)
    return grad_weight.reshape(outs, channels, *window.kernel_size)


def _convolve(x: Array, taps: Array, w: Array, bias: Array | None, window: Window) -> tuple[Array, bool]:
    """Return y for w (C, KH·KW, O) and its transform (values, KH·KW); and whether y is finite."""
    size = window.output_size((x.shape[2], x.shape[3]))
    rows, columns, _ = transformed_axes((x.shape[2], x.shape[3]), window, x.dtype)
    y = np.empty((x.shape[0], w.shape[2], *size), dtype=x.dtype)
    weights = padded_empty((len(taps), *w.shape[::2]), x.dtype)
    by_value = weights.reshape(rows.points, columns.points, *weights.shape[1:])
    finite: list[bool] = []
    transform_weight(weights, taps, w)

    def work(block_and_outputs: tuple[Block, slice]) -> None:
        block, outs = block_and_outputs
        pixels = transform("pixels", x[block.of_pixels], block.evaluate, columns.evaluate)
        of_block = y[:, outs][block.of_outputs]
        sums = empty_values("sums", pixels.shape[:3], of_block.shape[1], x.dtype)
        np.matmul(pixels, by_value[..., outs], out=sums)
        outputs = interpolate(sums, of_block.shape, block.interpolate, columns.interpolate)
        finite.append(bool(np.isfinite(outputs).all()))
        if bias is None:
            of_block[:] = outputs
        else:
            np.add(outputs, bias[outs, None, None], out=of_block)

    by_thread = _by_thread(x.shape, w.shape[2], rows, columns, x.itemsize)
    parallel(work, [(block, thread.outputs) for thread in by_thread for block in thread.blocks])
    return y, all(finite)


def _flat(w: Array) -> Array:
    """Reshape w (O, C, KH, KW) to (O, C, KH·KW)."""
    outs, channels, height, width = w.shape
    return np.ascontiguousarray(w).reshape(outs, channels, height * width)


class Block(NamedTuple):
    """Some images, and a strip of the tiles along their rows."""

    images: slice
    evaluate: Strip
    interpolate: Strip

    @property
    def of_pixels(self) -> tuple[Any, ...]:
        """Index its pixels in x (N, C, H, W)."""
        return self.images, slice(None), self.evaluate.meets

    @property
    def of_outputs(self) -> tuple[Any, ...]:
        """Index its outputs in y (N, O, OH, OW)."""
        return self.images, slice(None), self.interpolate.meets


class ThreadBlocks(NamedTuple):
    """The blocks that one thread computes, and which output channels of these."""

    blocks: list[Block]
    outputs: slice
    sums: int
    """For the gradient with respect to the weight: the index of the sums that no other thread adds to."""


def _by_thread(
    shape: tuple[int, ...], outs: int, rows: Axis, columns: Axis, itemsize: int
) -> list[ThreadBlocks]:
    """Divide the work on x (N, C, H, W) among the threads: by blocks; if there are few tiles, by outputs.

    Fewer tiles than outputs are less work than the weight, which is divided among the threads then.
    """
    tiles, values = shape[0] * rows.tiles * columns.tiles, rows.points * columns.points
    threads = num_threads_for(values * (tiles * (shape[1] + outs) + shape[1] * outs) * itemsize)
    if tiles < outs:
        blocks = _blocks(shape, -(-outs // threads), rows, columns, itemsize, 1)
        return [ThreadBlocks(blocks, some, 0) for some in axis_blocks(outs, 1, -(-outs // threads)) if blocks]
    blocks = _blocks(shape, outs, rows, columns, itemsize, threads)
    count = min(threads, len(blocks))
    return [ThreadBlocks(blocks[turn::threads], slice(0, outs), turn) for turn in range(count)]


def _blocks(
    shape: tuple[int, ...], outs: int, rows: Axis, columns: Axis, itemsize: int, threads: int
) -> list[Block]:
    """Cut the work on x (N, C, H, W) into blocks, as many for each thread.

    A block's values are about as many as the weight's, which are read again for each block.
    """
    n, channels, *_ = shape
    fewest, most = _BLOCK_BYTES
    block_bytes = min(max(fewest, rows.points * columns.points * channels * outs * itemsize), most)
    strip_bytes = _strip_bytes(rows, columns, channels + outs, itemsize)
    turns = -(-n // (max(1, block_bytes // max(1, strip_bytes)) * threads))
    count = min(n, turns * threads)
    bounds = [n * block // count for block in range(count + 1)] if count else []
    return [
        Block(slice(first, last), *strips)
        for first, last in pairwise(bounds)
        for strips in zip(rows.evaluate, rows.interpolate, strict=True)
    ]


def _strip_bytes(rows: Axis, columns: Axis, channels: int, itemsize: int) -> int:
    """Count the memory of the values of a strip of rows of one image."""
    tiles = min(rows.tiles, STRIP_TILES) * columns.tiles
    return rows.points * columns.points * tiles * channels * itemsize
