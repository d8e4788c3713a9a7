"""The operations and their derivatives in NumPy, one file an operation. Nothing here knows torch."""

from scratch_conv.kernels.activation import relu, relu_gate
from scratch_conv.kernels.convolution import (
    conv,
    conv2d,
    conv2d_grad_input,
    conv2d_grad_weight,
    conv_grad_bias,
    conv_grad_input,
    conv_grad_weight,
    conv_transpose2d,
    convolution_algorithm,
    enable_winograd,
    using_winograd,
    winograd_enabled,
)
from scratch_conv.kernels.cross_entropy import (
    Classes,
    inverse_total_weight,
    nll,
    nll_grad,
    smooth_labels,
)
from scratch_conv.kernels.dropout import drop
from scratch_conv.kernels.linear import linear, matrix_product
from scratch_conv.kernels.normalization import (
    batch_norm,
    batch_norm_grad,
    batch_norm_inference,
    inverse_deviation,
    running_average,
)
from scratch_conv.kernels.pooling.average import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_grad_input,
    avg_pool2d,
    avg_pool2d_grad_input,
)
from scratch_conv.kernels.pooling.maximum import (
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_indices,
    max_pool2d_scatter,
)
from scratch_conv.kernels.products import summed_product
from scratch_conv.kernels.scratch_memory import free_scratch
from scratch_conv.kernels.softmax import (
    exponential,
    log_softmax,
    log_softmax_grad,
    softmax,
    softmax_grad,
)
from scratch_conv.kernels.threads import get_num_threads, set_num_threads, using_num_threads
from scratch_conv.kernels.windows import Window

__all__ = [
    "Classes",
    "Window",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad_input",
    "avg_pool2d",
    "avg_pool2d_grad_input",
    "batch_norm",
    "batch_norm_grad",
    "batch_norm_inference",
    "conv",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv_grad_bias",
    "conv_grad_input",
    "conv_grad_weight",
    "conv_transpose2d",
    "convolution_algorithm",
    "drop",
    "enable_winograd",
    "exponential",
    "free_scratch",
    "get_num_threads",
    "inverse_deviation",
    "inverse_total_weight",
    "linear",
    "log_softmax",
    "log_softmax_grad",
    "matrix_product",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_indices",
    "max_pool2d_scatter",
    "nll",
    "nll_grad",
    "relu",
    "relu_gate",
    "running_average",
    "set_num_threads",
    "smooth_labels",
    "softmax",
    "softmax_grad",
    "summed_product",
    "using_num_threads",
    "using_winograd",
    "winograd_enabled",
]
