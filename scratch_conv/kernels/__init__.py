"""The operations and their derivatives in NumPy, one file an operation. Nothing here knows torch."""

from scratch_conv.kernels.convolution import (
    conv2d,
    conv2d_grad_bias,
    conv2d_grad_input,
    conv2d_grad_weight,
    conv2d_output_size,
)
from scratch_conv.kernels.max_pooling import (
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_output_size,
    max_pool2d_scatter,
)

__all__ = [
    "conv2d",
    "conv2d_grad_bias",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv2d_output_size",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_output_size",
    "max_pool2d_scatter",
]
