"""Convolution and its derivatives as they are defined, in plain loops: the page to read first.

Every output is a sum of products of a weight and a pixel. `products` yields them all, one after another, as
places in y, in w and in x:

    y[n, o, p, q] = Σ_{c, i, j} w[o, c, i, j] · x[n, c, p·stride + i·dilation - padding, ...] + bias[o]

where pixels outside of x are zero, and left out. The gradients follow from the same list. A product w · x
that is added to y makes the loss change by dy · x where w changes, and by dy · w where x changes:

    dw[o, c, i, j]  = Σ of dy · x, over all products with that weight
    dx[n, c, h, w]  = Σ of dy · w, over all products with that pixel

`im2col` computes the same in thousandths of the time, as a few products of matrices. Shapes are the same
there; any number of axes may stand for H and W. Nothing chooses this algorithm by itself:
`kernels.convolution_algorithm("naive")` does.
"""

from collections.abc import Iterator

import numpy as np

from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.windows import Array, Window

__all__ = ["accepts", "conv", "conv_grad_input", "conv_grad_weight"]

Place = tuple[int, ...]


def accepts(shapes: Shapes) -> bool:
    """Return that any convolution is computed."""
    return True


def conv(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Return y (N, O, OH, OW) for x (N, C, H, W) and w (O, C/G, KH, KW), with the bias (O,) added."""
    y = np.zeros((len(x), len(w), *window.output_size(x.shape[2:])), x.dtype)
    for of_y, of_w, of_x in products(y.shape, w.shape, x.shape, window, groups):
        y[of_y] += w[of_w] * x[of_x]
    return y if bias is None else y + bias.reshape(-1, *[1] * (x.ndim - 2))


def conv_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient with respect to w (O, C/G, KH, KW)."""
    grad_w = np.zeros((grad_output.shape[1], x.shape[1] // groups, *window.kernel_size), x.dtype)
    for of_y, of_w, of_x in products(grad_output.shape, grad_w.shape, x.shape, window, groups):
        grad_w[of_w] += grad_output[of_y] * x[of_x]
    return grad_w


def conv_grad_input(grad_output: Array, w: Array, input_size: Place, window: Window, groups: int) -> Array:
    """Return the gradient with respect to x (N, C, H, W), of `input_size` (H, W)."""
    grad_x = np.zeros((len(grad_output), w.shape[1] * groups, *input_size), w.dtype)
    for of_y, of_w, of_x in products(grad_output.shape, w.shape, grad_x.shape, window, groups):
        grad_x[of_x] += grad_output[of_y] * w[of_w]
    return grad_x


def products(
    y: Place, w: Place, x: Place, window: Window, groups: int
) -> Iterator[tuple[Place, Place, Place]]:
    """Yield where a weight meets a pixel: the place in y of their product, and theirs in w and x.

    Args:
        y: the shape of y.
        w: the shape of w.
        x: the shape of x.
        window: the size, stride, padding and dilation of the window.
        groups: the number of groups of channels; an output sees the channels of its own group.
    """
    channels, outs = w[1], w[0] // groups  # of a group
    for n, o, *position in np.ndindex(y):
        for c, *tap in np.ndindex(w[1:]):
            pixel = tuple(
                p * stride + t * dilation - before
                for p, t, stride, dilation, (before, _) in zip(
                    position, tap, window.stride, window.dilation, window.padding, strict=True
                )
            )
            if all(0 <= i < size for i, size in zip(pixel, x[2:], strict=True)):
                yield (n, o, *position), (o, c, *tap), (n, o // outs * channels + c, *pixel)
