"""Convolution of volumes as Functions: the bilinear maps of `convolution`, with an axis more.

Tensors are batched: input (N, C, D, H, W), weight (O, C/G, KD, KH, KW), bias (O,). The geometry is
channels_last_3d of the result, stride (3), padding (6: front, back, top, bottom, left, right), dilation (3),
groups.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scratch_conv import kernels
from scratch_conv.autograd import convolution as maps
from scratch_conv.autograd.operators import flop_formula, operator, register_fake, window_of
from scratch_conv.autograd.tensors import memory_format, to_array, to_array_if_any, to_tensor

__all__ = ["Conv3d", "ConvTranspose3d"]


@operator
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    channels_last: bool,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    window = window_of(weight.shape[2:], stride, padding, dilation)
    output = kernels.conv3d(to_array(input), to_array(weight), to_array_if_any(bias), window, groups)
    return to_tensor(output, input, memory_format(channels_last, 5))


@operator
def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    output_size: Sequence[int],
    channels_last: bool,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    window = window_of(weight.shape[2:], stride, padding, dilation)
    output = kernels.conv_transpose3d(
        to_array(input), to_array(weight), to_array_if_any(bias), tuple(output_size), window, groups
    )
    return to_tensor(output, input, memory_format(channels_last, 5))


@operator
def conv3d_grad_weight(
    grad_output: Tensor,
    input: Tensor,
    kernel_size: Sequence[int],
    channels_last: bool,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    window = window_of(kernel_size, stride, padding, dilation)
    grad_weight = kernels.conv3d_grad_weight(to_array(grad_output), to_array(input), window, groups)
    return to_tensor(grad_weight, grad_output, memory_format(channels_last, 5))


@operator
def conv3d_grad_bias(grad_output: Tensor) -> Tensor:
    return to_tensor(kernels.conv_grad_bias(to_array(grad_output)), grad_output)


register_fake(conv3d)(maps.shape_of_convolved)
register_fake(conv_transpose3d)(maps.shape_of_transposed)
register_fake(conv3d_grad_weight)(maps.shape_of_grad_weight)
register_fake(conv3d_grad_bias)(maps.shape_of_grad_bias)

flop_formula("conv3d")(maps.flops_of_convolved)
flop_formula("conv_transpose3d")(maps.flops_of_transposed)
flop_formula("conv3d_grad_weight")(maps.flops_of_grad_weight)


class Conv3d(maps.Convolution):
    forward = staticmethod(torch.ops.scratch_conv.conv3d.default)
    axes = 3


class ConvTranspose3d(maps.TransposedConvolution):
    forward = staticmethod(torch.ops.scratch_conv.conv_transpose3d.default)
    axes = 3


class Conv3dGradWeight(maps.GradWeight):
    forward = staticmethod(torch.ops.scratch_conv.conv3d_grad_weight.default)


class Conv3dGradBias(maps.GradBias):
    forward = staticmethod(torch.ops.scratch_conv.conv3d_grad_bias.default)


maps.register_convolution(Conv3d, ConvTranspose3d, Conv3dGradWeight, Conv3dGradBias)
