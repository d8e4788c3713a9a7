"""The operations and their derivatives in NumPy, one file an operation. Nothing here knows torch."""

from scratch_conv.kernels.average_pooling import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_grad_input,
    avg_pool2d,
    avg_pool2d_grad_input,
)
from scratch_conv.kernels.convolution import (
    conv2d,
    conv2d_grad_bias,
    conv2d_grad_input,
    conv2d_grad_weight,
    conv_transpose2d,
    convolution_algorithm,
)
from scratch_conv.kernels.geometry import Window
from scratch_conv.kernels.max_pooling import (
    MOST_TAPS_IN_A_BYTE,
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_indices,
    max_pool2d_scatter,
)
from scratch_conv.kernels.threads import free_scratch, get_num_threads, set_num_threads, using_num_threads

__all__ = [
    "MOST_TAPS_IN_A_BYTE",
    "Window",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad_input",
    "avg_pool2d",
    "avg_pool2d_grad_input",
    "conv2d",
    "conv2d_grad_bias",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv_transpose2d",
    "convolution_algorithm",
    "free_scratch",
    "get_num_threads",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_indices",
    "max_pool2d_scatter",
    "set_num_threads",
    "using_num_threads",
]
