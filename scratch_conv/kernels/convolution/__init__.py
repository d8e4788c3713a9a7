"""Convolution: one file an algorithm, `im2col` the plain one, and `choosing` that takes the fastest."""

from scratch_conv.kernels.convolution import choosing, transposed
from scratch_conv.kernels.convolution.choosing import *
from scratch_conv.kernels.convolution.im2col import conv, conv_grad_bias, conv_grad_input, conv_grad_weight
from scratch_conv.kernels.convolution.transposed import *

__all__ = ["conv", "conv_grad_bias", "conv_grad_input", "conv_grad_weight"]
__all__ += choosing.__all__
__all__ += transposed.__all__
