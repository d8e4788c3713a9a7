"""Convolution as Functions: three bilinear maps, the derivative of each one of the other two.

They are the convolution, the gradient of its input (which is the transposed convolution), and the gradient of
its weight.

The geometry is passed as flat arguments, as operators' schemas require: channels_last of the result, stride
(2), padding (4: top, bottom, left, right; a negative one crops), dilation (2), groups. Tensors are batched:
input (N, C, H, W), weight (O, C/G, KH, KW), bias (O,).
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
def _(input: Any, weight: Any, bias: Any, channels_last: bool, *geometry: Any) -> Tensor:
    *window_geometry, _ = geometry
    window = window_of(weight.shape[2:], *window_geometry)
    size = (input.shape[0], weight.shape[0], *window.output_size(input.shape[2:]))
    return empty(input, size, memory_format(channels_last))


@register_fake(conv_transpose2d)
def _(input: Any, weight: Any, bias: Any, output_size: Any, channels_last: bool, *geometry: Any) -> Tensor:
    *_, groups = geometry
    size = (input.shape[0], groups * weight.shape[1], *output_size)
    return empty(input, size, memory_format(channels_last))


@register_fake(conv2d_grad_weight)
def _(grad_output: Any, input: Any, kernel_size: Any, channels_last: bool, *geometry: Any) -> Tensor:
    *_, groups = geometry
    size = (grad_output.shape[1], input.shape[1] // groups, *kernel_size)
    return empty(grad_output, size, memory_format(channels_last))


@register_fake(conv2d_grad_bias)
def _(grad_output: Any) -> Tensor:
    return grad_output.new_empty(grad_output.shape[1])


@flop_formula("conv2d")
def _(input: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * prod(out_shape) * prod(weight[1:])


@flop_formula("conv_transpose2d")
def _(input: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * prod(input) * prod(weight[1:])


@flop_formula("conv2d_grad_weight")
def _(grad_output: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * prod(grad_output) * prod(out_shape[1:])


class _Convolving(BilinearWithBias):
    """What the convolution and its transpose have in common: all but the backward pass."""

    group_dims = (1, 0, 1)
    joins_batch = True
    saves_both = True

    @staticmethod
    def spread(bias: Tensor) -> Tensor:
        return bias[:, None, None]

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor, weight: Tensor, *rest: Any) -> Any:
        bias, *others = rest
        _, weight_dim, bias_dim, *_ = in_dims
        if bias is None or (weight_dim is None and bias_dim is None):
            return super().vmap(info, in_dims, input, weight, *rest)
        output, dim = super().vmap(info, in_dims, input, weight, None, *others)
        if bias_dim is not None:
            bias = bias.movedim(bias_dim, 0).unsqueeze(1)
        return output.movedim(dim, 0) + bias[..., None, None], 0


class Conv2d(_Convolving):
    """y = x * w + b: dx = dy transposed-convolved with w, dw = grad_weight(dy, x), db = grad_bias(dy)."""

    forward = staticmethod(torch.ops.scratch_conv.conv2d.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        _, *geometry = ctx.rest
        wants_input, wants_weight, *wants_bias = wanted(ctx)
        grad_input = grad_weight = grad_bias = None
        if wants_input:
            grad_input = call(ConvTranspose2d, grad_output, weight.conj(), None, input.shape[2:], *geometry)
        if wants_weight:
            grad_weight = call(Conv2dGradWeight, grad_output, input.conj(), weight.shape[2:], *geometry)
        if any(wants_bias):
            grad_bias = call(Conv2dGradBias, grad_output)
        gradients = of_one_node((grad_input, grad_weight, grad_bias), grad_output, input, weight)
        return *gradients, None, None, None, None, None


class ConvTranspose2d(_Convolving):
    """y = x transposed-convolved with w, + b: dx = dy * w, dw = grad_weight(x, dy), db = grad_bias(dy)."""

    forward = staticmethod(torch.ops.scratch_conv.conv_transpose2d.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        _, _, *geometry = ctx.rest
        wants_input, wants_weight, *wants_bias = wanted(ctx)
        grad_input = grad_weight = grad_bias = None
        if wants_input:
            grad_input = call(Conv2d, grad_output, weight.conj(), None, *geometry)
        if wants_weight:
            grad_weight = call(Conv2dGradWeight, input.conj(), grad_output, weight.shape[2:], *geometry)
        if any(wants_bias):
            grad_bias = call(Conv2dGradBias, grad_output)
        gradients = of_one_node((grad_input, grad_weight, grad_bias), grad_output, input, weight)
        return *gradients, None, None, None, None, None, None


class Conv2dGradWeight(Bilinear):
    """dw = grad_weight(dy, x)."""

    forward = staticmethod(torch.ops.scratch_conv.conv2d_grad_weight.default)
    group_dims = (1, 1, 0)
    joins_batch = False

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad_output, input = ctx.saved_tensors
        _, *geometry = ctx.rest
        wants_grad_output, wants_input = wanted(ctx)
        to_grad_output = to_input = None
        if wants_grad_output:
            to_grad_output = call(Conv2d, input.conj(), grad, None, *geometry)
        if wants_input:
            size = ctx.shapes[1][2:]
            to_input = call(ConvTranspose2d, grad_output.conj(), grad, None, size, *geometry)
        return to_grad_output, to_input, None, None, None, None, None, None


class Conv2dGradBias(Function):
    """db = Σ dy over images and pixels; its transpose repeats db over them."""

    forward = staticmethod(torch.ops.scratch_conv.conv2d_grad_bias.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.output_shape = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad[:, None, None].expand(ctx.output_shape)

    @staticmethod
    def jvp(ctx: Any, grad_output_t: Tensor) -> Any:
        return call(Conv2dGradBias, grad_output_t)

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad_output: Tensor) -> Any:
        folded = fold(grad_output, in_dims[0], 1, info.batch_size)
        return unfold(call(Conv2dGradBias, folded), 0, info.batch_size), 0


for _function in (Conv2d, ConvTranspose2d, Conv2dGradWeight, Conv2dGradBias):
    register_derivatives(_function)
