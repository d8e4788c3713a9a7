"""Convolution at stride 1 by one product for all tap rows: kn2row (Vasudevan, Anderson and Gregg, 2017).

Columns are lowered as `mec` does, rows are not: each row h of an image is multiplied by the weights of all
tap rows, which stand below each other, and what tap row i makes of it belongs to the outputs of another row:

    lowered[c, j, h, q] = x[c, h, q + j·dilation]                              (x padded at left and right)
    product[i, o, h, q] = Σ_{c, j} w[o, c, i, j] · lowered[c, j, h, q]
    y[o, p, q] = Σ_i product[i, o, p + i·dilation - padding, q]                over the rows inside the image

The BLAS copies both operands of a product into an order of its own. With a product for each tap row, as in
`mec`, it copies the pixels KH times, to multiply them by a few rows of weights each time. Images lie inside
the channels here, so that several are multiplied together. The gradient with respect to the input is such a
convolution again, with the flipped kernel; that with respect to the weights multiplies the lowered pixels by
the gradients of the outputs, a copy for each tap row, moved as far.

Rows beyond the image are left out, where `im2col` multiplies zeros by weights, or by gradients, of which an
infinite one makes NaN: then `mec` computes it. Shapes and terms are those of `im2col`.
"""

import numpy as np

from scratch_conv.kernels.convolution import mec
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.sums import sum_of_threads
from scratch_conv.kernels.threads import get_num_threads, num_threads_for, parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks

__all__ = ["accepts", "conv", "conv_grad_input", "conv_grad_weight"]

_BLOCK_BYTES = 2**21
"""A block, lowered, with its products, takes about this much, or as much as the weights if that is more."""

_MOST_BYTES = 2**23
"""An image that takes more is not accepted."""


def accepts(shapes: Shapes) -> bool:
    """Return whether this algorithm computes such a convolution, and an image of it fits into memory."""
    if shapes.window.stride != (1, 1) or not np.issubdtype(shapes.dtype, np.inexact):
        return False
    channels, outs, window = shapes.channels, shapes.out_channels, shapes.window
    (height, width), (rows, columns) = shapes.input_size, shapes.output_size
    forwards = _numbers(channels, outs, window, height, columns)
    backwards = _numbers(outs, channels, window, rows, width)
    return max(forwards, backwards) * shapes.dtype.itemsize <= _MOST_BYTES


def conv(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW)."""
    if not np.isfinite(w).all():
        return mec.conv(x, w, bias, window, groups)
    outs, channels, height, width = w.shape
    size = window.output_size((x.shape[2], x.shape[3]))
    y = np.empty((len(x), outs, *size), dtype=x.dtype)
    by_row = w.reshape(groups, outs // groups, channels, height, width).transpose(0, 3, 1, 2, 4)
    weights = mec.in_order(by_row, 2).reshape(groups, height * outs // groups, channels * width)
    start = 0 if bias is None else bias.reshape(groups, outs // groups, 1, 1, 1)
    tap_rows = [window.inside(0, tap, x.shape[2], size[0]) for tap in range(height)]

    def work(images: slice) -> None:
        lowered = _lower(x[images], window, size[1], groups)
        products = _empty_products(x[images], groups, outs, height, size[1])
        np.matmul(weights, lowered, out=products.reshape(groups, weights.shape[1], lowered.shape[2]))
        outputs = _by_channel(y[images], groups)
        outputs[...] = start
        for tap, (met, pixels) in enumerate(tap_rows):
            part = outputs[..., met, :]
            part += products[:, tap, ..., pixels, :]

    parallel(work, _blocks(x, outs, window, w.nbytes, size[1]))
    return y


def conv_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient with respect to w (O, C/G, KH, KW)."""
    outs, rows, columns = grad_output.shape[1:]
    channels, (height, width) = x.shape[1] // groups, window.kernel_size
    tap_rows = [window.inside(0, tap, x.shape[2], rows) for tap in range(height)]
    beside = [each for met, _ in tap_rows for each in (slice(met.start), slice(met.stop, None))]
    if not all(np.isfinite(grad_output[:, :, each]).all() for each in beside):
        return mec.conv_grad_weight(grad_output, x, window, groups)
    sum_shape = (groups, height * outs // groups, channels * width)
    sum_bytes = outs * channels * height * width * x.itemsize
    blocks = _blocks(x, outs, window, sum_bytes, columns)
    threads = min(get_num_threads(), len(blocks))
    sums = np.zeros((threads, *sum_shape), dtype=x.dtype)

    def work(thread: int) -> None:
        for images in blocks[thread::threads]:
            lowered = _lower(x[images], window, columns, groups)
            grads = _by_channel(grad_output[images], groups)
            moved = _empty_products(x[images], groups, outs, height, columns)
            for tap, (met, pixels) in enumerate(tap_rows):
                moved[:, tap, ..., pixels, :] = grads[..., met, :]
                moved[:, tap, ..., : pixels.start, :] = 0
                moved[:, tap, ..., pixels.stop :, :] = 0
            flat = moved.reshape(groups, sum_shape[1], lowered.shape[2])
            sums[thread] += np.matmul(flat, lowered.swapaxes(1, 2), out=scratch("sum", sum_shape, x.dtype))

    parallel(work, range(threads))
    total = sum_of_threads(sums).reshape(groups, height, outs // groups, channels, width)
    if not np.isfinite(total).all():
        return mec.conv_grad_weight(grad_output, x, window, groups)
    return mec.in_order(total.transpose(0, 2, 3, 1, 4), 2).reshape(outs, channels, height, width)


def conv_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Return the gradient with respect to x (N, C, H, W): a convolution with the flipped kernel."""
    if not np.isfinite(w).all():
        return mec.conv_grad_input(grad_output, w, input_size, window, groups)
    backwards = window.backwards(input_size, (grad_output.shape[2], grad_output.shape[3]))
    return conv(grad_output, mec.flipped(w, groups), None, backwards, groups)


def _numbers(channels: int, outs: int, window: Window, rows: int, columns: int) -> int:
    """Count the numbers of an image, lowered to so many rows and columns, and in its products."""
    height, width = window.kernel_size
    return (channels * width + outs * height) * rows * columns


def _blocks(x: Array, outs: int, window: Window, weights_bytes: int, columns: int) -> list[slice]:
    """Cut the images of x (N, C, H, W) into blocks: as many of the same size for each thread."""
    n, channels, rows, _ = x.shape
    image_bytes = max(1, _numbers(channels, outs, window, rows, columns) * x.itemsize)
    threads = num_threads_for(n * image_bytes)
    many = max(1, max(_BLOCK_BYTES, weights_bytes) // image_bytes)
    turns = -(-n // (many * threads))
    return axis_blocks(n, 1, -(-n // (turns * threads)))


def _lower(x: Array, window: Window, columns: int, groups: int) -> Array:
    """Lower x (m, C, H, W) along its columns: (G, C/G·KW, m·H·OW)."""
    m, channels, height, width = x.shape
    taps, (left, _) = window.kernel_size[1], window.padding[1]
    lowered = scratch("lowered", (channels, taps, m, height, columns), x.dtype)
    in_chunks = columns == width and x.flags.c_contiguous
    images, chunk = x.swapaxes(0, 1), (channels, m, height * columns)
    for tap in range(taps):
        met, pixels = window.inside(1, tap, width, columns)
        if in_chunks:  # the rows of an image as one, moved: what goes beyond the end of a row is padding
            shift = tap * window.dilation[1] - left
            mec.move(images.reshape(chunk), shift, lowered[:, tap].reshape(chunk))
        else:
            lowered[:, tap, ..., met] = images[..., pixels]
        lowered[:, tap, ..., : met.start] = 0
        lowered[:, tap, ..., met.stop :] = 0
    return lowered.reshape(groups, channels // groups * taps, m * height * columns)


def _empty_products(x: Array, groups: int, outs: int, taps: int, columns: int) -> Array:
    """Return scratch memory (G, KH, O/G, m, H, OW), for images x (m, C, H, W)."""
    return scratch("products", (groups, taps, outs // groups, len(x), x.shape[2], columns), x.dtype)


def _by_channel(y: Array, groups: int) -> Array:
    """View y (m, O, OH, OW) as (G, O/G, m, OH, OW)."""
    m, outs, *size = y.shape
    return y.reshape(m, groups, outs // groups, *size).transpose(1, 2, 0, 3, 4)
