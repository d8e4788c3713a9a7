"""Two-dimensional transposed convolution: a convolution's gradient with respect to its input.

    y[n, c, p·stride + i·dilation, q·stride + j·dilation] += Σ_o w[o, c, i, j] · x[n, o, p, q]

(y still padded). It is bilinear in x and w, and its derivatives are that convolution and its gradient with
respect to w; so only the bias is added here.
"""

import numpy as np

from scratch_conv.kernels.convolution.choosing import conv2d_grad_input
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Pair, Window

__all__ = ["conv_transpose2d"]


def conv_transpose2d(
    x: Array, w: Array, bias: Array | None, output_size: Pair, window: Window, groups: int
) -> Array:
    """Return y (N, C, H, W) of `output_size` for x (N, O, OH, OW) and w (O, C/G, KH, KW), adding bias (C,).

    The letters are those of the convolution whose transpose it is: x has the shape of its output.
    """
    y = conv2d_grad_input(x, w, output_size, window, groups)
    if bias is not None:
        columns = bias[:, None, None]
        parallel(lambda image: np.add(image, columns, out=image), y)
    return y
