"""Each kernel as a `torch.autograd.Function` on an opaque custom operator. Thin: all arithmetic is NumPy."""

from scratch_conv.autograd.convolution import Conv2d
from scratch_conv.autograd.max_pooling import MaxPool2d, max_pool2d_indices
from scratch_conv.autograd.operators import call

__all__ = ["Conv2d", "MaxPool2d", "call", "max_pool2d_indices"]
