"""Two-dimensional convolution (cross-correlation, as in deep learning) and its derivatives.

A convolution is bilinear: linear in the input x for a fixed weight w, and linear in w for a fixed x,

    y[n, o, p, q] = Σ_{c, i, j} w[o, c, i, j] · x[n, c, p·stride + i·dilation, q·stride + j·dilation]

(x already padded; c runs over the channels of the group that o belongs to). So is the map that carries the
gradient of y back to x, and the one that carries it back to w; the derivative of each of the three is one
of the other two, and these three functions are enough for derivatives of every order.

All three lower the convolution to matrix products: the pixels under each window become one column (im2col;
Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006).

Shapes, for groups G: x (N, C, H, W), w (O, C/G, KH, KW), y (N, O, OH, OW). Arrays may be strided in any way
and are never written to; both operands have the same dtype, and the result has it too.
"""

from collections.abc import Iterator

import numpy as np

from scratch_conv.kernels.geometry import Array, Padding, Pair, output_size, pad, unpadded, windows

_PIECE_BYTES = 4 * 2**20
"""Columns are made for as many pictures at a time as fit here, so that they are still in cache when used."""


def conv2d(
    x: Array,
    w: Array,
    bias: Array | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW): y = w · columns(x) + bias."""
    size = conv2d_output_size((x.shape[2], x.shape[3]), w.shape[2:], stride, padding, dilation)
    y = np.empty((x.shape[0], w.shape[0], *size), dtype=x.dtype)
    w_rows = w.reshape(groups, w.shape[0] // groups, -1)
    y_rows = _rows(y, groups)
    for piece, columns in _columns(x, w.shape[2:], stride, padding, dilation, groups, size):
        np.matmul(w_rows, columns, out=y_rows[piece])
        if bias is not None:
            y[piece] += bias[:, None, None]
    return y


def conv2d_grad_weight(
    grad_output: Array,
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to w (O, C/G, KH, KW): dw = Σ_n dy · columns(x)ᵀ."""
    out_channels = grad_output.shape[1]
    grad_rows = _rows(grad_output, groups)
    channels = x.shape[1] // groups
    grad_weight = np.zeros(
        (groups, out_channels // groups, channels * kernel_size[0] * kernel_size[1]), dtype=x.dtype
    )
    size = (grad_output.shape[2], grad_output.shape[3])
    for piece, columns in _columns(x, kernel_size, stride, padding, dilation, groups, size):
        grad_weight += np.matmul(grad_rows[piece], columns.swapaxes(-1, -2)).sum(axis=0)
    return grad_weight.reshape(out_channels, channels, *kernel_size)


def conv2d_grad_input(
    grad_output: Array,
    w: Array,
    input_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to x (N, C, H, W): dx = columnsᵀ(wᵀ · dy).

    The transpose of making columns is adding each column back to the pixels that it was read from. This is
    also the transposed convolution ("deconvolution"), with `input_size` the size of its output.
    """
    n, _, *size = grad_output.shape
    (top, bottom), (left, right) = padding
    channels = groups * w.shape[1]
    padded = np.zeros(
        (n, channels, top + input_size[0] + bottom, left + input_size[1] + right), dtype=w.dtype
    )
    w_columns = w.reshape(groups, w.shape[0] // groups, -1).swapaxes(-1, -2)
    grad_rows = _rows(grad_output, groups)
    taps = windows(padded, w.shape[2:], stride, dilation, (size[0], size[1]))
    for piece in _pieces(n, channels * w.shape[2] * w.shape[3] * size[0] * size[1] * w.itemsize):
        columns = np.matmul(w_columns, grad_rows[piece])
        columns = columns.reshape(-1, *taps.shape[1:])
        for i, j in np.ndindex(*w.shape[2:]):
            taps[piece, :, i, j] += columns[:, :, i, j]
    return unpadded(padded, padding, input_size)


def conv2d_grad_bias(grad_output: Array) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to a bias (O,) that was added to it: db = Σ dy."""
    return grad_output.sum(axis=(0, 2, 3))


def conv2d_output_size(
    input_size: Pair, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Pair:
    """Give (OH, OW) for pictures of `input_size` (H, W)."""
    height, width = (
        output_size(input_size[axis], kernel_size[axis], stride[axis], padding[axis], dilation[axis])
        for axis in (0, 1)
    )
    return height, width


def _rows(y: Array, groups: int) -> Array:
    """Reshape (N, O, OH, OW) to (N, G, O/G, OH·OW): one row an output channel, one column a window."""
    n, channels, height, width = y.shape
    return y.reshape(n, groups, channels // groups, height * width)


def _columns(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    size: Pair,
) -> Iterator[tuple[slice, Array]]:
    """Lower the pictures a piece at a time: yields slices of the batch, and their columns.

    The columns of a piece are (n, G, C/G·KH·KW, OH·OW): one row a weight, one column a window.
    """
    n, channels, *_ = x.shape
    taps = kernel_size[0] * kernel_size[1]
    rows = channels // groups * taps
    for piece in _pieces(n, channels * taps * size[0] * size[1] * x.itemsize):
        view = windows(pad(x[piece], padding), kernel_size, stride, dilation, size)
        yield piece, view.reshape(view.shape[0], groups, rows, size[0] * size[1])


def _pieces(n: int, bytes_per_picture: int) -> Iterator[slice]:
    """Cut a batch of n pictures into slices whose columns fit in `_PIECE_BYTES` (at least one picture)."""
    step = max(1, _PIECE_BYTES // max(1, bytes_per_picture))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
