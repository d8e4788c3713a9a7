"""Convolution of 1x1 at stride 1, without padding: one matrix product a picture, and no copy.

Every output pixel is a linear map of the channels at its place:

    y[n] = w · x[n]      dx[n] = wᵀ · dy[n]      dw = Σ_n dy[n] · x[n]ᵀ

with x[n] as (C, H·W) and y[n] as (O, H·W), for each group. Shapes and terms are those of `im2col`.
"""

import numpy as np

from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import get_num_threads, parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks

_BLOCK_BYTES = 2**20
"""So much of the output is computed at a time, which is in cache still when the bias is added."""


def accepts(shapes: Shapes) -> bool:
    """Tell whether this algorithm computes such a convolution."""
    window = shapes.window
    return window.kernel_size == window.stride == (1, 1) and window.padding == ((0, 0), (0, 0))


def conv2d(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, 1, 1) into y (N, O, H, W): y = w · x + bias."""
    return _mapped(_weight_rows(w, groups), x, bias)


def conv2d_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, H, W) back to x (N, C, H, W): dx = wᵀ · dy."""
    return _mapped(_weight_rows(w, groups).swapaxes(1, 2), grad_output, None)


def conv2d_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, H, W) back to w (O, C/G, 1, 1): dw = Σ_n dy · xᵀ."""
    outs, channels = grad_output.shape[1] // groups, x.shape[1] // groups
    batch = axis_blocks(len(x), groups * outs * channels * x.itemsize, _BLOCK_BYTES)
    threads = min(get_num_threads(), len(batch))
    shares = np.zeros((threads, groups, outs, channels), dtype=x.dtype)

    def work(share: int) -> None:
        for block in batch[share::threads]:
            columns = _rows(x[block], groups).swapaxes(2, 3)
            shape = (len(columns), *shares.shape[1:])
            products = np.matmul(
                _rows(grad_output[block], groups), columns, out=scratch("product", shape, x.dtype)
            )
            shares[share] += products.sum(axis=0, dtype=x.dtype)

    parallel(work, range(threads))
    return shares.sum(axis=0, dtype=x.dtype).reshape(groups * outs, channels, 1, 1)


def _mapped(matrices: Array, x: Array, bias: Array | None) -> Array:
    """Multiply the pixels of x (N, G·I, H, W) by matrices (G, J, I), giving (N, G·J, H, W)."""
    groups, outs, _ = matrices.shape
    n, _, height, width = x.shape
    y = np.empty((n, groups, outs, height * width), dtype=x.dtype)
    pixel_bytes = groups * outs * x.itemsize
    batch = axis_blocks(n, pixel_bytes * height * width, _BLOCK_BYTES)
    columns = axis_blocks(height * width, pixel_bytes, _BLOCK_BYTES)

    def work(block: tuple[slice, slice]) -> None:
        pictures, pixels = block
        outputs = y[pictures, :, :, pixels]
        np.matmul(matrices, _rows(x[pictures], groups)[..., pixels], out=outputs)
        if bias is not None:
            outputs += bias.reshape(groups, outs, 1)

    parallel(work, [(pictures, pixels) for pictures in batch for pixels in columns])
    return y.reshape(n, groups * outs, height, width)


def _weight_rows(w: Array, groups: int) -> Array:
    """Reshape w (O, C/G, 1, 1) to (G, O/G, C/G)."""
    return w.reshape(groups, w.shape[0] // groups, w.shape[1])


def _rows(x: Array, groups: int) -> Array:
    """Reshape (n, C, H, W) to (n, G, C/G, H·W)."""
    n, channels, height, width = x.shape
    return x.reshape(n, groups, channels // groups, height * width)
