"""The convolutional layer."""

from typing import Any

import numpy as np

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import expect_counts, expect_gradient, expect_input, expect_parameters
from scratch_conv.layers.initialization import Initialization, he_normal
from scratch_conv.layers.layer import Layer, in_one_precision
from scratch_conv.layers.sliding import Size, output_size, sliding_window

__all__ = ["Conv2D"]


class Conv2D(Layer):
    """Slides filters over images: each output is the weighted sum of the pixels under a filter, plus a bias.

        y[n, o, p, q] = Σ_{c, i, j} weight[o, c, i, j] · x[n, c, p·stride + i, q·stride + j] + bias[o]

    for x with its padding. Each product is one term of a sum, so its derivatives are sums of the same terms:

        dweight[o, c, i, j] = Σ_{n, p, q} dy[n, o, p, q] · x[n, c, p·stride + i, q·stride + j]
        dbias[o]            = Σ_{n, p, q} dy[n, o, p, q]
        dx[n, c, h, w]      = Σ_{o, i, j} dy[n, o, p, q] · weight[o, c, i, j]

    the last over all p and q with p·stride + i = h and q·stride + j = w: a convolution of dy, spread out by
    the stride, with the weight turned by 180 degrees. With dilation, i and j count multiples of it.
    `scratch_conv/kernels/convolution/naive.py` computes these sums as they stand here, `im2col.py` next to it
    as products of matrices.

    Shapes: x (N, C, H, W), y (N, O, OH, OW), weight (O, C / groups, KH, KW), bias (O,).

    Args:
        in_channels: C.
        out_channels: O, the number of filters.
        kernel_size: the size of the filters, one number or (KH, KW).
        stride: the step from one position to the next.
        padding: the number of rows and columns of zeros around the images; or "same", as many as keep
            their size; or "valid", none.
        dilation: the step from one pixel under the filter to the next.
        groups: the number of groups of channels, each with filters of its own.
        bias: whether there is one.
        init: draws the initial weights; the initial bias is zero.
        rng: the generator of random numbers, or its seed; a fresh one by default.
        dtype: of the parameters.

    Raises:
        ValueError: an argument is too small, or the groups do not divide the channels; on a call, x or a
            parameter has the wrong shape.
    """

    parameter_names = ("weight", "bias")
    bias: Array | None
    grad_weight: Array
    grad_bias: Array

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: Initialization = he_normal,
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        expect_counts(in_channels=in_channels, out_channels=out_channels)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"{groups=} must divide {in_channels=} and {out_channels=}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.window = sliding_window(kernel_size, stride, padding, dilation)
        shape = (out_channels, in_channels // groups, *self.window.kernel_size)
        self.weight: Array = init(shape, np.random.default_rng(rng)).astype(dtype)
        self.bias = np.zeros(out_channels, dtype) if bias else None

    def forward(self, x: Array) -> Array:
        """Return y (N, O, OH, OW) for x (N, C, H, W)."""
        expect_input(self, x, "N", self.in_channels, "H", "W")
        filters = (self.out_channels, self.in_channels // self.groups, *self.window.kernel_size)
        expect_parameters(self, weight=filters, bias=filters[:1])
        output_size(self, self.window, x.shape[2:])
        self.x, weight, bias = in_one_precision(x, self.weight, self.bias)
        y = kernels.conv2d(self.x, weight, bias, self.window, self.groups)
        self.output_shape = y.shape
        return y

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x; store those of weight and bias."""
        expect_gradient(self, dy)
        dy, weight = in_one_precision(dy, self.weight)
        self.grad_weight = kernels.conv2d_grad_weight(dy, self.x, self.window, self.groups)
        if self.bias is not None:
            self.grad_bias = kernels.conv_grad_bias(dy)
        return kernels.conv2d_grad_input(dy, weight, self.x.shape[2:], self.window, self.groups)
