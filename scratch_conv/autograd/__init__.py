"""Each kernel as a `torch.autograd.Function` on an opaque custom operator. Thin: all arithmetic is NumPy."""

from scratch_conv.autograd.convolution import conv2d
from scratch_conv.autograd.max_pooling import max_pool2d

__all__ = ["conv2d", "max_pool2d"]
