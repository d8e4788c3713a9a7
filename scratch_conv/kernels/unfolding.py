"""Sliding blocks as columns (im2col), and the sum of overlapping blocks (col2im), its transpose.

    columns[n, (c, i, j), (p, q)] = x[n, c, p·stride + i·dilation, q·stride + j·dilation]   (x already padded)

Shapes: x (N, C, H, W), columns (N, C·KH·KW, OH·OW), or as many axes instead of two as the window has. Arrays
may be strided in any way and are never written to.
"""

import math

import numpy as np

from scratch_conv.kernels.convolution.im2col import add_columns, is_mostly_padding
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Size, Window, pad, plane_blocks

__all__ = ["col2im", "im2col"]

_BLOCK_BYTES = 2**20
"""The columns of a block take so much memory, which stays in the core's own cache."""


def im2col(x: Array, window: Window) -> Array:
    """Return the columns of x: zeros where a tap of the window falls into the padding."""
    input_size = x.shape[2:]
    size = window.output_size(input_size)
    columns = np.empty((*x.shape[:2], *window.kernel_size, *size), dtype=x.dtype)
    by_taps, steps = is_mostly_padding(window, input_size, size), _taken(window, size)

    def work(block: tuple[slice, ...]) -> None:
        images, under = x[block], columns[block]
        if not by_taps:
            np.copyto(under, steps.view(pad(images, window.padding), size))
            return
        under[...] = 0
        of_tap = under.reshape(*images.shape[:2], math.prod(window.kernel_size), *size)
        for tap in window.taps(input_size, size):
            of_tap[:, :, tap.number][tap.windows] = images[tap.pixels]

    parallel(work, plane_blocks(x.shape[:2], columns.nbytes, _BLOCK_BYTES))
    return columns.reshape(len(x), x.shape[1] * math.prod(window.kernel_size), math.prod(size))


def _taken(window: Window, size: Size) -> Window:
    """Return the window without the steps that it never takes, which may be beyond all memory."""
    dilation = [d if taps > 1 else 1 for d, taps in zip(window.dilation, window.kernel_size, strict=True)]
    stride = [step if count > 1 else 1 for step, count in zip(window.stride, size, strict=True)]
    return window._replace(dilation=tuple(dilation), stride=tuple(stride))


def col2im(columns: Array, input_size: Size, window: Window) -> Array:
    """Return x of `input_size` (H, W): for each pixel the sum over the blocks that it lies in."""
    n, rows, _ = columns.shape
    channels, size = rows // math.prod(window.kernel_size), window.output_size(input_size)
    by_tap = columns.reshape(n, channels, *window.kernel_size, *size)
    if _tiles(window, input_size, size):
        return _tiled(by_tap, input_size)
    x = np.zeros((n, channels, *input_size), dtype=columns.dtype)

    def work(block: tuple[slice, ...]) -> None:
        add_columns(by_tap[block], x[block], window)

    parallel(work, plane_blocks((n, channels), columns.nbytes, _BLOCK_BYTES))
    return x


def _tiles(window: Window, input_size: Size, size: Size) -> bool:
    """Return whether each pixel lies in one block, and the blocks cover all of the image."""
    axes = zip(window.kernel_size, window.stride, window.dilation, input_size, size, strict=True)
    side_by_side = all(k == step and d == 1 and length == k * n for k, step, d, length, n in axes)
    return side_by_side and not any(map(any, window.padding))


def _tiled(by_tap: Array, input_size: Size) -> Array:
    """Put blocks (N, C, KH, KW, OH, OW) side by side: a fifth of the time of adding them tap by tap."""
    axes = len(input_size)
    x = np.empty((*by_tap.shape[:2], *input_size), dtype=by_tap.dtype)
    taps, counts = by_tap.shape[2 : 2 + axes], by_tap.shape[2 + axes :]
    split = [length for pair in zip(counts, taps, strict=True) for length in pair]
    order = [axis + offset for axis in range(2, 2 + axes) for offset in (axes, 0)]
    blocks, ordered = x.reshape(*x.shape[:2], *split), by_tap.transpose(0, 1, *order)

    def work(block: tuple[slice, ...]) -> None:
        blocks[block] = ordered[block]

    parallel(work, plane_blocks(x.shape[:2], x.nbytes, _BLOCK_BYTES))
    return x
