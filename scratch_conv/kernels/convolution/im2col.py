"""Convolution (cross-correlation, as in deep learning) and its derivatives, for any number of axes.

A convolution is bilinear: linear in the input x for a fixed weight w, and linear in w for a fixed x. For two
axes,

    y[n, o, p, q] = Σ_{c, i, j} w[o, c, i, j] · x[n, c, p·stride + i·dilation, q·stride + j·dilation]

(x already padded; c runs over the channels of the group that o belongs to). The gradient with respect to x is
linear in w and in the gradient of y, the gradient with respect to w is linear in x and in the gradient of y;
the derivative of each of the three maps is one of the other two. So these three functions are enough for
derivatives of every order.

All three lower the convolution to matrix products: the pixels under each window become one column (im2col;
Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006).
For each image, with w as (O, C·KH·KW), y and dy as (O, OH·OW), and columns as (C·KH·KW, OH·OW):

    columns(x)  = the pixels under each window, one row a weight, one column a window   (`_columns`)
    y           = w · columns(x)
    dw          = dy · columns(x)ᵀ, summed over the images
    columns(dx) = wᵀ · dy, of which each entry is added to the pixel it belongs to      (`add_columns`)

All else shares the work out: blocks of images and windows that fit into the cache, threads, and memory that
is used again (`scratch`).

Shapes, for G groups: x (N, C, H, W), w (O, C/G, KH, KW), y (N, O, OH, OW), or as many axes instead of H and W
as the window has. Arrays may be strided in any way and are never written to; both operands have the same
dtype, and the result has it too.
"""

import math
from typing import NamedTuple

import numpy as np

from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.sums import sum_of_threads, summed
from scratch_conv.kernels.threads import get_num_threads, parallel
from scratch_conv.kernels.windows import Array, Size, Window, axis_blocks, pad, plane_blocks

__all__ = [
    "accepts",
    "add_columns",
    "conv",
    "conv_grad_bias",
    "conv_grad_input",
    "conv_grad_weight",
    "is_mostly_padding",
    "is_pointwise",
]

_BLOCK_BYTES = 2**21
"""A block's columns take so much memory at most, so that they are still in cache when they are multiplied.

A block is some images, or if those of one image take more, some of the windows on one image.
"""


_OUT_OF_PROPORTION = 16
"""How many times as long as all that it is made of an axis may become by padding and dilation."""


class Block(NamedTuple):
    """Some images, and some of the windows on these."""

    images: slice
    windows: tuple[slice, ...]
    """For each axis."""

    def of(self, y: Array) -> Array:
        """View the block's outputs in y (N, O, OH, OW)."""
        index = (self.images, slice(None), *self.windows)
        return y[index]


def accepts(shapes: Shapes) -> bool:
    """Return whether this algorithm computes such a convolution: any."""
    return True


def conv(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW): y = w · columns(x) + bias."""
    return _multiply(_weight_rows(w, groups), x, bias, window, window.output_size(x.shape[2:]))


def conv_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient with respect to w (O, C/G, KH, KW): dw = Σ_n dy · columns(x)ᵀ."""
    shape = (grad_output.shape[1], x.shape[1] // groups, *window.kernel_size)
    size = grad_output.shape[2:]
    blocks = _blocks(x, 0, size, window, math.prod(shape) * x.itemsize)
    threads = max(1, min(get_num_threads(), len(blocks)))
    sums = np.zeros((threads, groups, shape[0] // groups, math.prod(shape[1:])), dtype=x.dtype)

    def work(thread: int) -> None:
        for block in blocks[thread::threads]:
            columns = _columns(x, size, block, window, groups)
            grads = _rows(block.of(grad_output), groups)
            products = scratch("product", (len(grads), *sums.shape[1:]), x.dtype)
            np.matmul(grads, columns.swapaxes(2, 3), out=products)
            sums[thread] += products.sum(axis=0, dtype=x.dtype)

    parallel(work, range(threads))
    return sum_of_threads(sums).reshape(shape).copy()  # without the memory of the other threads


def conv_grad_input(grad_output: Array, w: Array, input_size: Size, window: Window, groups: int) -> Array:
    """Return the gradient with respect to x (N, C, H, W): dx = columnsᵀ(wᵀ · dy).

    A row of the columns holds the pixels under one tap of the kernel; the transpose adds it to these pixels.
    This is also the transposed convolution ("deconvolution"), whose output has the `input_size` (H, W).
    """
    w_columns = _weight_rows(w, groups).swapaxes(1, 2)
    if is_pointwise(window):
        return _multiply(w_columns, grad_output, None, window, input_size)
    output_size, channels = grad_output.shape[2:], groups * w.shape[1]
    grad_input = np.zeros((len(grad_output), channels, *input_size), dtype=w.dtype)

    def work(blocks: list[Block]) -> None:
        for block in blocks:
            grads = block.of(grad_output)
            size = grads.shape[2:]
            shape = (len(grads), groups, w_columns.shape[1], math.prod(size))
            columns = np.matmul(w_columns, _rows(grads, groups), out=scratch("columns", shape, w.dtype))
            columns = columns.reshape(len(grads), channels, *window.kernel_size, *size)
            moved = window.starting_at(*(axis.start for axis in block.windows))
            add_columns(columns, grad_input[block.images], moved)

    # The windows on an image meet the same pixels, and are added by one thread.
    by_images: dict[int, list[Block]] = {}
    for block in _blocks(grad_input, 0, output_size, window):
        by_images.setdefault(block.images.start, []).append(block)
    parallel(work, by_images.values())
    return grad_input


def add_columns(columns: Array, images: Array, window: Window) -> None:
    """Add columns (n, C, KH, KW, OH, OW) to the pixels that they are of: by taps, or windows if fewer."""
    axes = len(window.kernel_size)
    input_size, size = images.shape[2:], columns.shape[2 + axes :]
    if math.prod(size) < math.prod(window.kernel_size):
        for position in np.ndindex(*size):
            under = [window.under(axis, position[axis], input_size[axis]) for axis in range(axes)]
            of_taps, of_pixels = zip(*under, strict=True)
            pixels, taps = (..., *of_pixels), (slice(None), slice(None), *of_taps, *position)
            images[pixels] += columns[taps]
        return
    columns = columns.reshape(*columns.shape[:2], math.prod(window.kernel_size), *size)
    for tap in window.taps(input_size, size):
        met = images[tap.pixels]
        met += columns[:, :, tap.number][tap.windows]


def conv_grad_bias(grad_output: Array) -> Array:
    """Return the gradient with respect to a bias (O,) that was added to y (N, O, OH, OW): db = Σ dy."""
    by_image = np.empty(grad_output.shape[:2], dtype=grad_output.dtype)
    axes = tuple(range(2, grad_output.ndim))

    def work(images: slice) -> None:
        by_image[images] = summed(grad_output[images], axes).reshape(by_image[images].shape)

    parallel(work, axis_blocks(len(grad_output), grad_output[:1].nbytes, _BLOCK_BYTES))
    return summed(by_image, (0,))[0]


def is_pointwise(window: Window) -> bool:
    """Return whether a window has one tap that meets each pixel in turn: the pixels are the columns then."""
    return max(window.kernel_size) == max(window.stride) == 1 and not any(map(any, window.padding))


def is_mostly_padding(window: Window, input_size: Size, output_size: Size) -> bool:
    """Return whether the padded images are out of all proportion to pixels, taps and outputs."""
    taps, _, padding, dilation = window
    return any(
        sum(padding[axis]) + dilation[axis] * (taps[axis] - 1)
        > _OUT_OF_PROPORTION * (input_size[axis] + output_size[axis] + taps[axis])
        for axis in range(len(taps))
    )


def _multiply(w_rows: Array, x: Array, bias: Array | None, window: Window, size: Size) -> Array:
    """Multiply weights (G, O/G, C/G·KH·KW) by the columns of x, and add the bias: y (N, O, *size)."""
    groups, outs, _ = w_rows.shape
    y = np.empty((len(x), groups * outs, *size), dtype=x.dtype)

    def work(block: Block) -> None:
        rows = _rows(block.of(y), groups)
        np.matmul(w_rows, _columns(x, size, block, window, groups), out=rows)
        if bias is not None:
            rows += bias.reshape(groups, outs, 1)

    parallel(work, _blocks(x, y.shape[1], size, window))
    return y


def _weight_rows(w: Array, groups: int) -> Array:
    """Reshape w (O, C/G, KH, KW) to (G, O/G, C/G·KH·KW)."""
    return w.reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))


def _rows(y: Array, groups: int) -> Array:
    """Reshape y (N, O, OH, OW) to (N, G, O/G, OH·OW): one row a channel, one column a window."""
    return y.reshape(y.shape[0], groups, y.shape[1] // groups, math.prod(y.shape[2:]))


def _columns(x: Array, size: Size, block: Block, window: Window, groups: int) -> Array:
    """Lower a block of the windows on x to (n, G, C/G·KH·KW, windows): one row a weight, one column a window.

    `size` is the number of all windows on an image, along each axis.
    """
    if is_pointwise(window):
        return _rows(block.of(x), groups)
    block_size = tuple(axis.stop - axis.start for axis in block.windows)
    if block_size != size:
        window = window.starting_at(*(axis.start for axis in block.windows))
        window = window.ending_after(block_size, x.shape[2:])
    images = x[block.images]
    columns = scratch("columns", (*images.shape[:2], *window.kernel_size, *block_size), x.dtype)
    if is_mostly_padding(window, x.shape[2:], block_size):
        columns[...] = 0
        by_tap = columns.reshape(*images.shape[:2], math.prod(window.kernel_size), *block_size)
        for tap in window.taps(x.shape[2:], block_size):
            by_tap[:, :, tap.number][tap.windows] = images[tap.pixels]
    else:
        np.copyto(columns, window.view(pad(images, window.padding), block_size))
    rows = x.shape[1] // groups * math.prod(window.kernel_size)
    return columns.reshape(len(columns), groups, rows, math.prod(block_size))


def _blocks(x: Array, outs: int, size: Size, window: Window, product_bytes: int = 0) -> list[Block]:
    """Cut the work on x, with windows of such a number along each axis, into blocks.

    What counts is the outputs, of `outs` channels, and what is copied: the columns, and the pixels where they
    are padded; and a product for each image.
    """
    windows = math.prod(size)
    image_bytes = outs * windows * x.itemsize
    if not is_pointwise(window):
        columns = x.shape[1] * math.prod(window.kernel_size) * windows
        image_bytes = max(image_bytes, columns * x.itemsize, x[:1].nbytes)
    batch = axis_blocks(len(x), max(image_bytes, product_bytes, x[:1].nbytes), _BLOCK_BYTES)
    by_windows = plane_blocks(size, image_bytes, _BLOCK_BYTES)
    return [Block(images, windows) for windows in by_windows for images in batch]
