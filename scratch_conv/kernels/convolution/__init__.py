"""Convolution: one file an algorithm, `naive` its definition, and `choosing` that takes the fastest."""

from scratch_conv.kernels.convolution.choosing import *
from scratch_conv.kernels.convolution.im2col import conv as conv
from scratch_conv.kernels.convolution.im2col import conv_grad_bias as conv_grad_bias
from scratch_conv.kernels.convolution.im2col import conv_grad_input as conv_grad_input
from scratch_conv.kernels.convolution.im2col import conv_grad_weight as conv_grad_weight
from scratch_conv.kernels.convolution.three_dimensional import *
from scratch_conv.kernels.convolution.transposed import *
