"""Each kernel as a `torch.autograd.Function` on an opaque custom operator. Thin: all arithmetic is NumPy."""

from scratch_conv.autograd import flops  # noqa: F401  # registers its formulas
from scratch_conv.autograd._torch_internals import (
    builtins_of,
    in_torch_func,
    preserved_version,
    reshaped,
    suggested_memory_format,
)
from scratch_conv.autograd.activation import ReLU, ReLUInPlace
from scratch_conv.autograd.convolution import Conv2d, ConvTranspose2d
from scratch_conv.autograd.cross_entropy import Nll, SmoothLabels, inverse_total_weight
from scratch_conv.autograd.dropout import Drop
from scratch_conv.autograd.linear import Linear
from scratch_conv.autograd.normalization import BatchNorm, BatchNormInference, update_running
from scratch_conv.autograd.operators import call, call_constant
from scratch_conv.autograd.pooling.average import AdaptiveAvgPool2d, AvgPool2d
from scratch_conv.autograd.pooling.maximum import MaxPool2d, max_pool2d_indices
from scratch_conv.autograd.products import product
from scratch_conv.autograd.softmax import LogSoftmax, Softmax
from scratch_conv.autograd.tensors import is_channels_last

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm",
    "BatchNormInference",
    "Conv2d",
    "ConvTranspose2d",
    "Drop",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Nll",
    "ReLU",
    "ReLUInPlace",
    "SmoothLabels",
    "Softmax",
    "builtins_of",
    "call",
    "call_constant",
    "in_torch_func",
    "inverse_total_weight",
    "is_channels_last",
    "max_pool2d_indices",
    "preserved_version",
    "product",
    "reshaped",
    "suggested_memory_format",
    "update_running",
]
