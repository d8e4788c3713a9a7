"""Depthwise convolution of narrow images: rows of pixels times banded matrices.

Each channel has taps of its own, too few of them for a product of matrices. But a row of outputs is a product
of the KH rows of pixels that it meets, one after the other a vector of KH·W numbers, and a matrix that has
the taps in bands along its diagonals:

    y[p, q] = Σ_{i, h} x[p + i, h] · band[i, h, q]      band[i, q + j·dilation, q] = w[i, j]      (x padded)

Most of it is zeros. Still, up to some 30 columns that is less work than a pass over the pixels for each tap,
as the BLAS multiplies and adds in one. The images of a channel lie below each other for it, with rows of
zeros between, and the windows of KH rows that begin in row i, i + KH, i + 2·KH, ... are the rows of a matrix
which is multiplied where it stands; there is one for each i < KH:

    y[i::KH] = windows_i · band      dband = Σ_i windows_iᵀ · dy[i::KH]

and dw sums dband along its diagonals. The gradient with respect to the input is such a convolution again,
with the flipped kernel. Zeros add no rounding: the error is that of direct sums. But an infinity times zero
is NaN: if anything that is not finite comes out, it is computed without them. Shapes and terms are those
of `im2col`.
"""

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from scratch_conv.kernels.convolution import mec
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.scratch_memory import padded_scratch, scratch
from scratch_conv.kernels.threads import num_threads_for, parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks

__all__ = ["accepts", "conv", "conv_grad_input", "conv_grad_weight"]

_TOGETHER_BYTES = 2**17
"""Images of one channel that are multiplied together take this much: a matrix of enough rows."""

_BLOCK_BYTES = 2**22
"""A block takes about this much: smaller ones cost more in calls than a cache saves."""

_MOST_BYTES = 2**22
"""A larger channel of an image, with its matrix, is not accepted."""

_Block = tuple[slice, slice]
"""Images and channels."""


def accepts(shapes: Shapes) -> bool:
    """Return whether this algorithm computes such a convolution, and a channel of it fits into memory."""
    window = shapes.window
    if window.stride != (1, 1) or window.dilation[0] != 1 or not np.issubdtype(shapes.dtype, np.inexact):
        return False
    if not shapes.groups == shapes.channels == shapes.out_channels:
        return False
    layout = _layout(window, shapes.input_size, shapes.output_size)
    return (layout.image_numbers + layout.band_numbers) * shapes.dtype.itemsize <= _MOST_BYTES


def conv(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (C, 1, KH, KW) into y (N, C, OH, OW)."""
    y, finite = _convolve(x, w, bias, window)
    return y if finite else mec.conv(x, w, bias, window, groups)


def conv_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient with respect to w (C, 1, KH, KW): dband, summed along its diagonals."""
    size = grad_output.shape[2], grad_output.shape[3]
    layout = _layout(window, (x.shape[2], x.shape[3]), size)
    grad_weight = np.zeros((groups, 1, *window.kernel_size), dtype=x.dtype)

    def work(blocks: list[_Block]) -> None:
        for block in blocks:
            windows = _windows(x[block], layout)
            grads, rows = _empty_outputs(x[block], layout)
            rows[...] = 0
            grads[...] = grad_output[block]
            taps, channels, _, numbers = windows.shape
            products = scratch("bands", (taps, channels, numbers, size[1]), x.dtype)
            np.matmul(windows.swapaxes(2, 3), rows, out=products)
            bands = products.reshape(taps, channels, *layout.bands)
            for j, (pixels, outputs) in enumerate(layout.columns):
                grad_weight[block[1], 0, :, j] += np.einsum("kcihh->ci", bands[..., pixels, outputs])

    parallel(work, _block_lists(x, layout))
    if not np.isfinite(grad_weight).all():
        return mec.conv_grad_weight(grad_output, x, window, groups)
    return grad_weight


def conv_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Return the gradient with respect to x (N, C, H, W): a convolution with the flipped kernel."""
    backwards = window.backwards(input_size, (grad_output.shape[2], grad_output.shape[3]))
    grad_input, finite = _convolve(grad_output, w[..., ::-1, ::-1], None, backwards)
    return grad_input if finite else mec.conv_grad_input(grad_output, w, input_size, window, groups)


def _convolve(x: Array, w: Array, bias: Array | None, window: Window) -> tuple[Array, bool]:
    """Return y, and whether it is finite."""
    size = window.output_size((x.shape[2], x.shape[3]))
    layout = _layout(window, (x.shape[2], x.shape[3]), size)
    y = np.empty((*x.shape[:2], *size), dtype=x.dtype)
    finite: list[bool] = []

    def work(block: _Block) -> None:
        part = y[block]
        outputs, rows = _empty_outputs(x[block], layout)
        np.matmul(_windows(x[block], layout), _bands(w[block[1]], layout), out=rows)
        if bias is None:
            part[:] = outputs
        else:
            np.add(outputs, bias[block[1], None, None], out=part)
        finite.append(bool(np.isfinite(part).all()))

    parallel(work, [block for blocks in _block_lists(x, layout) for block in blocks])
    return y, all(finite)


class _Layout(NamedTuple):
    """How the images of a channel lie below each other, and their outputs likewise."""

    outputs: int
    """The rows of outputs of an image: OH."""
    rows: int
    """Those of an image, or its outputs, with the zeros behind: a multiple of KH."""
    before: int
    """The rows of zeros before the first image."""
    first: int
    """The row in which the window of the first row of outputs begins."""
    bands: tuple[int, int, int]
    """KH, W, OW."""
    columns: list[tuple[slice, slice]]
    """For each tap column, the pixels that it meets, and at which outputs."""

    @property
    def image_numbers(self) -> int:
        """Return how many numbers an image and its outputs take."""
        return self.rows * (self.bands[1] + self.bands[2])

    @property
    def band_numbers(self) -> int:
        """Return how many numbers the matrices of a channel take that are summed for a gradient."""
        return self.bands[0] * prod(self.bands)


@lru_cache(maxsize=256)
def _layout(window: Window, input_size: Pair, output_size: Pair) -> _Layout:
    taps, (top, bottom) = window.kernel_size[0], window.padding[0]
    before = max(0, top)
    rows = max(input_size[0] + max(before, bottom), output_size[0])
    met = [window.inside(1, j, input_size[1], output_size[1]) for j in range(window.kernel_size[1])]
    return _Layout(
        output_size[0],
        -(-rows // taps) * taps,
        before,
        before - top,
        (taps, input_size[1], output_size[1]),
        [(pixels, outputs) for outputs, pixels in met],
    )


def _block_lists(x: Array, layout: _Layout) -> list[list[_Block]]:
    """Cut x (N, C, H, W) into blocks, in lists of those with the same channels: as many for each thread."""
    n, channels = x.shape[:2]
    image_bytes = layout.image_numbers * x.itemsize
    batch = axis_blocks(n, image_bytes, _TOGETHER_BYTES)
    if not batch:
        return []
    channel_bytes = batch[0].stop * image_bytes + layout.band_numbers * x.itemsize
    threads = num_threads_for(channels * len(batch) * channel_bytes)
    turns = -(-channels // (max(1, _BLOCK_BYTES // channel_bytes) * threads))
    parts = axis_blocks(channels, 1, -(-channels // (turns * threads)))
    return [[(images, part) for images in batch] for part in parts]


def _windows(x: Array, layout: _Layout) -> Array:
    """Lay x (n, c, H, W) out, and view it as the windows that begin in each row i < KH: (KH, c, m, KH·W)."""
    n, channels, height, width = x.shape
    taps, before, count = layout.bands[0], layout.before, n * layout.rows
    rows = count + max(before, layout.first + taps - 1)
    pixels = padded_scratch("pixels", (channels, rows, width), x.dtype)
    pixels[:, :before] = 0
    pixels[:, before + count :] = 0
    images = pixels[:, before : before + count].reshape(channels, n, layout.rows, width)
    images[:, :, :height] = x.swapaxes(0, 1)
    images[:, :, height:] = 0
    channel, row, column = pixels.strides
    return as_strided(
        pixels[:, layout.first :],
        (taps, channels, count // taps, taps * width),
        (row, channel, taps * row, column),
        writeable=False,
    )


def _empty_outputs(x: Array, layout: _Layout) -> tuple[Array, Array]:
    """Return scratch memory of outputs, as (n, c, OH, OW) and, by row modulo KH, as (KH, c, m, OW)."""
    n, channels = x.shape[:2]
    taps, _, width = layout.bands
    run = padded_scratch("outputs", (channels, n * layout.rows, width), x.dtype)
    images = run.reshape(channels, n, layout.rows, width)[:, :, : layout.outputs]
    return images.swapaxes(0, 1), run.reshape(channels, -1, taps, width).transpose(2, 0, 1, 3)


def _bands(w: Array, layout: _Layout) -> Array:
    """Put w (c, 1, KH, KW) into banded matrices (c, KH·W, OW)."""
    taps, width, outs = layout.bands
    bands = scratch("bands", (len(w), taps, width, outs), w.dtype)
    bands[...] = 0
    for j, (pixels, outputs) in enumerate(layout.columns):
        np.einsum("cihh->cih", bands[..., pixels, outputs])[...] = w[:, 0, :, j, None]
    return bands.reshape(len(w), taps * width, outs)
