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
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import get_num_threads, parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks, pad, plane_blocks

_BLOCK_BYTES = 2**21
"""Columns are made for so many pictures at a time that they are still in cache when they are multiplied.

If those of one picture are more, it is lowered in parts.
"""

Part = tuple[slice, ...]
"""Rows and columns of the outputs."""


def accepts(shapes: Shapes) -> bool:
    """Tell whether this algorithm computes such a convolution: any."""
    return True


def conv2d(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW): y = w · columns(x) + bias."""
    size = window.output_size((x.shape[2], x.shape[3]))
    return _mapped(_weight_rows(w, groups), x, bias, size, window)


def _mapped(w_rows: Array, x: Array, bias: Array | None, size: Pair, window: Window) -> Array:
    """Multiply the columns of x (N, C, H, W) by weights (G, O/G, K), giving (N, O, OH, OW)."""
    groups, outs, _ = w_rows.shape
    y = np.empty((x.shape[0], groups * outs, *size), dtype=x.dtype)
    batch, cut = _cut(x, y.shape[1], size, window)

    def work(block: tuple[slice, ...]) -> None:
        pictures, rows, columns = block
        outputs = y[pictures, :, rows, columns]
        pixels = _columns(x[pictures], size, (rows, columns), window, groups)
        np.matmul(w_rows, pixels, out=_rows(outputs, groups))
        if bias is not None:
            outputs += bias[:, None, None]

    parallel(work, [(pictures, *part) for part in cut for pictures in batch])
    return y


def conv2d_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to w (O, C/G, KH, KW): dw = Σ_n dy · columns(x)ᵀ."""
    shape = (grad_output.shape[1], x.shape[1] // groups, *window.kernel_size)
    size = (grad_output.shape[2], grad_output.shape[3])
    weight_bytes = math.prod(shape) * x.itemsize
    batch, cut = _cut(x, 0, size, window, weight_bytes)
    todo = [(pictures, part) for part in cut for pictures in batch]
    threads = max(1, min(get_num_threads(), len(todo)))
    shares = np.zeros((threads, groups, shape[0] // groups, math.prod(shape[1:])), dtype=x.dtype)

    def work(share: int) -> None:
        for pictures, part in todo[share::threads]:
            columns = _columns(x[pictures], size, part, window, groups)
            grads = _rows(grad_output[pictures, :, part[0], part[1]], groups)
            product = scratch("product", (len(grads), *shares.shape[1:]), x.dtype)
            np.matmul(grads, columns.swapaxes(2, 3), out=product)
            shares[share] += product.sum(axis=0, dtype=x.dtype)

    parallel(work, range(threads))
    return shares.sum(axis=0, dtype=x.dtype).reshape(shape)


def conv2d_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to x (N, C, H, W): dx = columnsᵀ(wᵀ · dy).

    The transpose of making columns is adding each row of them, which belongs to one tap of the kernel, back
    to the pixels that the tap met. This is also the transposed convolution ("deconvolution"), with
    `input_size` (H, W) the size of its output.
    """
    w_columns = _weight_rows(w, groups).swapaxes(1, 2)
    if is_pointwise(window):
        return _mapped(w_columns, grad_output, None, input_size, window)
    n, output_size = len(grad_output), (grad_output.shape[2], grad_output.shape[3])
    channels = groups * w.shape[1]
    grad_input = np.zeros((n, channels, *input_size), dtype=w.dtype)
    batch, cut = _cut(grad_input, 0, output_size, window)

    def work(pictures: slice) -> None:
        for rows, cols in cut:
            grads = grad_output[pictures, :, rows, cols]
            part_size = grads.shape[2], grads.shape[3]
            shape = (len(grads), groups, w_columns.shape[1], part_size[0] * part_size[1])
            columns = np.matmul(w_columns, _rows(grads, groups), out=scratch("columns", shape, w.dtype))
            columns = columns.reshape(len(grads), channels, math.prod(window.kernel_size), *part_size)
            for tap in window.starting_at(rows.start, cols.start).taps(input_size, part_size):
                pixels = grad_input[pictures][tap.pixels]
                pixels += columns[:, :, tap.number][tap.windows]

    parallel(work, batch)
    return grad_input


def conv2d_grad_bias(grad_output: Array) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to a bias (O,) that was added to it: db = Σ dy."""
    by_picture = np.empty(grad_output.shape[:2], dtype=grad_output.dtype)

    def work(block: slice) -> None:
        grad_output[block].sum(axis=(2, 3), out=by_picture[block])

    parallel(work, axis_blocks(len(grad_output), grad_output[:1].nbytes, _BLOCK_BYTES))
    return by_picture.sum(axis=0, dtype=grad_output.dtype)


def is_pointwise(window: Window) -> bool:
    """Return whether a window has one tap that meets each pixel in turn: the pixels are the columns then."""
    return window.kernel_size == window.stride == (1, 1) and window.padding == ((0, 0), (0, 0))


def _weight_rows(w: Array, groups: int) -> Array:
    """Reshape w (O, C/G, KH, KW) to (G, O/G, C/G·KH·KW)."""
    return w.reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))


def _rows(y: Array, groups: int) -> Array:
    """Reshape (N, O, OH, OW) to (N, G, O/G, OH·OW): one row a channel, one column a window."""
    n, channels, height, width = y.shape
    return y.reshape(n, groups, channels // groups, height * width)


def _columns(x: Array, size: Pair, part: Part, window: Window, groups: int) -> Array:
    """Lower a part of the windows on pictures to (n, G, C/G·KH·KW, windows).

    That is one row for each weight, one column for each window.
    """
    if is_pointwise(window):
        return _rows(x[:, :, part[0], part[1]], groups)
    part_size = part[0].stop - part[0].start, part[1].stop - part[1].start
    if part_size != size:
        window = window.starting_at(part[0].start, part[1].start)
        window = window.ending_after(part_size, (x.shape[2], x.shape[3]))
    view = window.view(pad(x, window.padding), part_size)
    columns = scratch("columns", view.shape, x.dtype)
    np.copyto(columns, view)
    rows = x.shape[1] // groups * window.kernel_size[0] * window.kernel_size[1]
    return columns.reshape(x.shape[0], groups, rows, part_size[0] * part_size[1])


def _cut(
    x: Array, outs: int, size: Pair, window: Window, product_bytes: int = 0
) -> tuple[list[slice], list[Part]]:
    """Cut the batch, and the outputs of a picture, into what is computed at a time.

    That is by the outputs (of `outs` channels) and by what is copied: the columns, and pixels that are
    padded. There may be a product for each picture besides.
    """
    picture_bytes = outs * size[0] * size[1] * x.itemsize
    if not is_pointwise(window):
        columns = x.shape[1] * window.kernel_size[0] * window.kernel_size[1]
        picture_bytes = max(picture_bytes, columns * size[0] * size[1] * x.itemsize, x[:1].nbytes)
    batch = axis_blocks(x.shape[0], max(picture_bytes, product_bytes, x[:1].nbytes), _BLOCK_BYTES)
    return batch, plane_blocks(size, picture_bytes, _BLOCK_BYTES)
