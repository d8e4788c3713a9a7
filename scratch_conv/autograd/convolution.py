"""Convolution as Functions: three bilinear maps, the derivative of each one of the other two.

They are the convolution, the gradient of its input (which is the transposed convolution), and the gradient of
its weight.

The geometry is passed as flat arguments, as operators' schemas require: channels_last of the result, stride
(2), padding (4: top, bottom, left, right; a negative one crops), dilation (2), groups. Tensors are batched:
input (N, C, H, W), weight (O, C/G, KH, KW), bias (O,). Of volumes all have an axis more: see `convolution3d`.
Gradients of complex tensors follow torch's convention: of the other operand they use the conjugate.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.bilinear import Bilinear, BilinearWithBias
from scratch_conv.autograd.operators import (
    call,
    flop_formula,
    of_one_node,
    operator,
    register_derivatives,
    register_fake,
    wanted,
    window_of,
)
from scratch_conv.autograd.tensors import empty, memory_format, to_array, to_array_if_any, to_tensor

__all__ = ["Conv2d", "ConvTranspose2d"]


@operator
def conv2d(
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
    output = kernels.conv2d(to_array(input), to_array(weight), to_array_if_any(bias), window, groups)
    return to_tensor(output, input, memory_format(channels_last))


@operator
def conv_transpose2d(
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
    size = (output_size[0], output_size[1])
    output = kernels.conv_transpose2d(
        to_array(input), to_array(weight), to_array_if_any(bias), size, window, groups
    )
    return to_tensor(output, input, memory_format(channels_last))


@operator
def conv2d_grad_weight(
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
    grad_weight = kernels.conv2d_grad_weight(to_array(grad_output), to_array(input), window, groups)
    return to_tensor(grad_weight, grad_output, memory_format(channels_last))


@operator
def conv2d_grad_bias(grad_output: Tensor) -> Tensor:
    return to_tensor(kernels.conv_grad_bias(to_array(grad_output)), grad_output)


@register_fake(conv2d)
def shape_of_convolved(input: Any, weight: Any, bias: Any, channels_last: bool, *geometry: Any) -> Tensor:
    *window_geometry, _ = geometry
    window = window_of(weight.shape[2:], *window_geometry)
    size = (input.shape[0], weight.shape[0], *window.output_size(input.shape[2:]))
    return empty(input, size, memory_format(channels_last, input.dim()))


@register_fake(conv_transpose2d)
def shape_of_transposed(
    input: Any, weight: Any, bias: Any, output_size: Any, channels_last: bool, *geometry: Any
) -> Tensor:
    *_, groups = geometry
    size = (input.shape[0], groups * weight.shape[1], *output_size)
    return empty(input, size, memory_format(channels_last, input.dim()))


@register_fake(conv2d_grad_weight)
def shape_of_grad_weight(
    grad_output: Any, input: Any, kernel_size: Any, channels_last: bool, *geometry: Any
) -> Tensor:
    *_, groups = geometry
    size = (grad_output.shape[1], input.shape[1] // groups, *kernel_size)
    return empty(grad_output, size, memory_format(channels_last, grad_output.dim()))


@register_fake(conv2d_grad_bias)
def shape_of_grad_bias(grad_output: Any) -> Tensor:
    return grad_output.new_empty(grad_output.shape[1])


def flops_of_convolved(
    input: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any
) -> int:
    return 2 * prod(out_shape) * prod(weight[1:])


def flops_of_transposed(input: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * prod(input) * prod(weight[1:])


def flops_of_grad_weight(grad_output: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * prod(grad_output) * prod(out_shape[1:])


flop_formula("conv2d")(flops_of_convolved)
flop_formula("conv_transpose2d")(flops_of_transposed)
flop_formula("conv2d_grad_weight")(flops_of_grad_weight)


class _Convolving(BilinearWithBias):
    """What the convolution and its transpose have in common: all but the backward pass.

    Attributes:
        axes: how many a window has.
        other: the transpose of this map.
        grad_weight: the gradient of the weight, of either.
        grad_bias: the gradient of the bias, of either.
    """

    group_dims = (1, 0, 1)
    joins_batch = True
    saves_both = True
    axes = 2
    other: type[Function]
    grad_weight: type[Function]
    grad_bias: type[Function]

    @classmethod
    def spread(cls, bias: Tensor) -> Tensor:
        return bias.reshape(*bias.shape, *[1] * cls.axes)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor, weight: Tensor, *rest: Any) -> Any:
        bias, *others = rest
        _, weight_dim, bias_dim, *_ = in_dims
        if bias is None or (weight_dim is None and bias_dim is None):
            return super().vmap(info, in_dims, input, weight, *rest)
        output, dim = super().vmap(info, in_dims, input, weight, None, *others)
        if bias_dim is not None:
            bias = bias.movedim(bias_dim, 0).unsqueeze(1)
        return output.movedim(dim, 0) + cls.spread(bias), 0


class Convolution(_Convolving):
    """y = x * w + b: dx = dy transposed-convolved with w, dw = grad_weight(dy, x), db = grad_bias(dy)."""

    @classmethod
    def backward(cls, ctx: Any, grad_output: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        _, *geometry = ctx.rest
        wants_input, wants_weight, *wants_bias = wanted(ctx)
        grad_input = grad_weight = grad_bias = None
        if wants_input:
            grad_input = call(cls.other, grad_output, weight.conj(), None, input.shape[2:], *geometry)
        if wants_weight:
            grad_weight = call(cls.grad_weight, grad_output, input.conj(), weight.shape[2:], *geometry)
        if any(wants_bias):
            grad_bias = call(cls.grad_bias, grad_output)
        gradients = of_one_node((grad_input, grad_weight, grad_bias), grad_output, input, weight)
        return *gradients, None, None, None, None, None


class TransposedConvolution(_Convolving):
    """y = x transposed-convolved with w, + b: dx = dy * w, dw = grad_weight(x, dy), db = grad_bias(dy)."""

    @classmethod
    def backward(cls, ctx: Any, grad_output: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        _, _, *geometry = ctx.rest
        wants_input, wants_weight, *wants_bias = wanted(ctx)
        grad_input = grad_weight = grad_bias = None
        if wants_input:
            grad_input = call(cls.other, grad_output, weight.conj(), None, *geometry)
        if wants_weight:
            grad_weight = call(cls.grad_weight, input.conj(), grad_output, weight.shape[2:], *geometry)
        if any(wants_bias):
            grad_bias = call(cls.grad_bias, grad_output)
        gradients = of_one_node((grad_input, grad_weight, grad_bias), grad_output, input, weight)
        return *gradients, None, None, None, None, None, None


class GradWeight(Bilinear):
    """dw = grad_weight(dy, x).

    Attributes:
        convolution: the convolution whose gradient it is.
    """

    group_dims = (1, 1, 0)
    joins_batch = False
    convolution: type[Convolution]

    @classmethod
    def backward(cls, ctx: Any, grad: Tensor) -> Any:
        grad_output, input = ctx.saved_tensors
        _, *geometry = ctx.rest
        wants_grad_output, wants_input = wanted(ctx)
        to_grad_output = to_input = None
        if wants_grad_output:
            to_grad_output = call(cls.convolution, input.conj(), grad, None, *geometry)
        if wants_input:
            size = ctx.shapes[1][2:]
            to_input = call(cls.convolution.other, grad_output.conj(), grad, None, size, *geometry)
        return to_grad_output, to_input, None, None, None, None, None, None


class GradBias(Function):
    """db = Σ dy over images and pixels; its transpose repeats db over them."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.output_shape = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.reshape(-1, *[1] * (len(ctx.output_shape) - 2)).expand(ctx.output_shape)

    @classmethod
    def jvp(cls, ctx: Any, grad_output_t: Tensor) -> Any:
        return call(cls, grad_output_t)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, grad_output: Tensor) -> Any:
        folded = fold(grad_output, in_dims[0], 1, info.batch_size)
        return unfold(call(cls, folded), 0, info.batch_size), 0


class Conv2d(Convolution):
    forward = staticmethod(torch.ops.scratch_conv.conv2d.default)


class ConvTranspose2d(TransposedConvolution):
    forward = staticmethod(torch.ops.scratch_conv.conv_transpose2d.default)


class Conv2dGradWeight(GradWeight):
    forward = staticmethod(torch.ops.scratch_conv.conv2d_grad_weight.default)


class Conv2dGradBias(GradBias):
    forward = staticmethod(torch.ops.scratch_conv.conv2d_grad_bias.default)


def register_convolution(
    convolution: type[Convolution],
    transposed: type[TransposedConvolution],
    grad_weight: type[GradWeight],
    grad_bias: type[GradBias],
) -> None:
    """Let the maps find each other, and register their derivatives."""
    convolution.other, transposed.other, grad_weight.convolution = transposed, convolution, convolution
    for each in (convolution, transposed):
        each.grad_weight, each.grad_bias = grad_weight, grad_bias
    for function in (convolution, transposed, grad_weight, grad_bias):
        register_derivatives(function)


register_convolution(Conv2d, ConvTranspose2d, Conv2dGradWeight, Conv2dGradBias)
