"""Two-dimensional convolution: one file an algorithm, `im2col` the plain one, and one that chooses."""

from scratch_conv.kernels.convolution.choosing import (
    conv2d,
    conv2d_grad_input,
    conv2d_grad_weight,
    convolution_algorithm,
    enable_winograd,
    using_winograd,
    winograd_enabled,
)
from scratch_conv.kernels.convolution.im2col import conv2d_grad_bias
from scratch_conv.kernels.convolution.transposed import conv_transpose2d

__all__ = [
    "conv2d",
    "conv2d_grad_bias",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv_transpose2d",
    "convolution_algorithm",
    "enable_winograd",
    "using_winograd",
    "winograd_enabled",
]
