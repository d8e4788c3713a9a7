"""Each kernel as a `torch.autograd.Function` on an opaque custom operator. Thin: all arithmetic is NumPy."""

from scratch_conv.autograd.average_pooling import AdaptiveAvgPool2d, AvgPool2d
from scratch_conv.autograd.convolution import Conv2d, ConvTranspose2d
from scratch_conv.autograd.max_pooling import MaxPool2d, max_pool2d_indices
from scratch_conv.autograd.operators import call
from scratch_conv.autograd.tensors import is_channels_last

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "Conv2d",
    "ConvTranspose2d",
    "MaxPool2d",
    "call",
    "is_channels_last",
    "max_pool2d_indices",
]
