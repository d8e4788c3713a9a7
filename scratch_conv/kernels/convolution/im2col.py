"""Two-dimensional convolution (cross-correlation, as in deep learning) and its derivatives.

A convolution is bilinear: linear in the input x for a fixed weight w, and linear in w for a fixed x,

    y[n, o, p, q] = Σ_{c, i, j} w[o, c, i, j] · x[n, c, p·stride + i·dilation, q·stride + j·dilation]

(x already padded; c runs over the channels of the group that o belongs to). So is the map that carries the
gradient of y back to x, and the one that carries it back to w; the derivative of each of the three is one
of the other two, and these three functions are enough for derivatives of every order.

All three lower the convolution to matrix products: the pixels under each window become one column (im2col;
Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006).

Shapes, for G groups: x (N, C, H, W), w (O, C/G, KH, KW), y (N, O, OH, OW). Arrays may be strided in any way
and are never written to; both operands have the same dtype, and the result has it too.
"""

import math

import numpy as np

from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.geometry import Array, Pair, Window, pad, pieces
from scratch_conv.kernels.threads import parallel, scratch

_PIECE_BYTES = 2**21
"""Columns are made for so many pictures at a time that they are still in cache when they are multiplied."""


def accepts(shapes: Shapes) -> bool:
    """Tell whether this algorithm computes such a convolution: any."""
    return True


def conv2d(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW): y = w · columns(x) + bias."""
    size = window.output_size((x.shape[2], x.shape[3]))
    y = np.empty((x.shape[0], w.shape[0], *size), dtype=x.dtype)
    w_rows = w.reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))
    y_rows = _rows(y, groups)

    def work(piece: slice) -> None:
        np.matmul(w_rows, _columns(x[piece], size, window, groups), out=y_rows[piece])
        if bias is not None:
            y[piece] += bias[:, None, None]

    parallel(work, _pieces(x, size, window))
    return y


def conv2d_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to w (O, C/G, KH, KW): dw = Σ_n dy · columns(x)ᵀ."""
    shape = (grad_output.shape[1], x.shape[1] // groups, *window.kernel_size)
    size = (grad_output.shape[2], grad_output.shape[3])
    grad_rows = _rows(grad_output, groups)
    batch = _pieces(x, size, window)
    parts = np.empty((len(batch), groups, grad_rows.shape[2], math.prod(shape[1:])), dtype=x.dtype)

    def work(number: int) -> None:
        piece = batch[number]
        columns = _columns(x[piece], size, window, groups)
        np.matmul(grad_rows[piece], columns.swapaxes(2, 3)).sum(axis=0, out=parts[number])

    parallel(work, range(len(batch)))
    # Added up in the order of the pieces, so that the same call gives the same bits on any threads.
    return parts.sum(axis=0).reshape(shape)


def conv2d_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to x (N, C, H, W): dx = columnsᵀ(wᵀ · dy).

    The transpose of making columns is adding each row of them, which belongs to one tap of the kernel, back
    to the pixels that the tap met. This is also the transposed convolution ("deconvolution"), with
    `input_size` (H, W) the size of its output.
    """
    n, _, *size = grad_output.shape
    channels = groups * w.shape[1]
    grad_input = np.zeros((n, channels, *input_size), dtype=w.dtype)
    w_columns = w.reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:])).swapaxes(-1, -2)
    grad_rows = _rows(grad_output, groups)

    def work(piece: slice) -> None:
        shape = (piece.stop - piece.start, groups, w_columns.shape[1], size[0] * size[1])
        columns = np.matmul(w_columns, grad_rows[piece], out=scratch("columns", shape, w.dtype))
        columns = columns.reshape(shape[0], channels, window.kernel_size[0] * window.kernel_size[1], *size)
        for tap in window.taps(input_size, (size[0], size[1])):
            pixels = grad_input[piece][tap.pixels]
            pixels += columns[:, :, tap.number][tap.windows]

    parallel(work, _pieces(grad_input, (size[0], size[1]), window))
    return grad_input


def conv2d_grad_bias(grad_output: Array) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to a bias (O,) that was added to it: db = Σ dy."""
    by_picture = np.empty(grad_output.shape[:2], dtype=grad_output.dtype)

    def work(piece: slice) -> None:
        grad_output[piece].sum(axis=(2, 3), out=by_picture[piece])

    parallel(work, pieces(len(grad_output), grad_output[:1].nbytes, _PIECE_BYTES))
    return by_picture.sum(axis=0)


def _rows(y: Array, groups: int) -> Array:
    """Reshape (N, O, OH, OW) to (N, G, O/G, OH·OW): one row a channel, one column a window."""
    n, channels, height, width = y.shape
    return y.reshape(n, groups, channels // groups, height * width)


def _columns(x: Array, size: Pair, window: Window, groups: int) -> Array:
    """Lower pictures to (n, G, C/G·KH·KW, OH·OW): one row for each weight, one column for each window."""
    view = window.view(pad(x, window.padding), size)
    columns = scratch("columns", view.shape, x.dtype)
    np.copyto(columns, view)
    rows = x.shape[1] // groups * window.kernel_size[0] * window.kernel_size[1]
    return columns.reshape(x.shape[0], groups, rows, size[0] * size[1])


def _pieces(x: Array, size: Pair, window: Window) -> list[slice]:
    taps = window.kernel_size[0] * window.kernel_size[1]
    bytes_each = x.shape[1] * taps * size[0] * size[1] * x.itemsize
    return pieces(x.shape[0], bytes_each, _PIECE_BYTES)
