"""Local response normalization as a Function.

The backward pass is a kernel of its own. Where its result may be differentiated again, it is composed of
products, powers and sums over neighbouring channels, of which each has a next derivative.

Tensors: input (N, C, *); arrays are (N, C, L).
"""

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold, vmap_elementwise
from scratch_conv.autograd.operators import (
    call,
    call_constant,
    may_be_differentiated,
    operator,
    register_derivatives,
    register_fake,
)
from scratch_conv.autograd.products import product, widened
from scratch_conv.autograd.tensors import to_array, to_tensor_like
from scratch_conv.kernels.windows import Array

__all__ = ["LocalResponseNorm"]


@operator
def local_response_norm(input: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    output = kernels.local_response_norm(_pixels(input), size, alpha, beta, k)
    return to_tensor_like(output.reshape(input.shape), input)


@operator
def local_response_norm_grad(
    grad_output: Tensor, input: Tensor, size: int, alpha: float, beta: float, k: float
) -> Tensor:
    arrays = _pixels(grad_output), _pixels(input)
    grad_input = kernels.local_response_norm_grad(*arrays, size, alpha, beta, k)
    return to_tensor_like(grad_input.reshape(input.shape), input)


@operator
def box_sum(input: Tensor, before: int, after: int) -> Tensor:
    return to_tensor_like(kernels.box_sum(_pixels(input), before, after).reshape(input.shape), input)


@operator
def power(input: Tensor, exponent: float) -> Tensor:
    return to_tensor_like(kernels.power(to_array(input), exponent), input)


def _pixels(input: Tensor) -> Array:
    """Return an array (N, C, L)."""
    return to_array(input).reshape(*input.shape[:2], prod(input.shape[2:]))


@register_fake(local_response_norm)
@register_fake(box_sum)
@register_fake(power)
def _(input: Any, *rest: Any) -> Tensor:
    return torch.empty_like(input)


@register_fake(local_response_norm_grad)
def _(grad_output: Any, input: Any, *rest: Any) -> Tensor:
    return torch.empty_like(input)


class LocalResponseNorm(Function):
    """y = x · D^(-β), with D = k + (α / n) · S(x²) and S a sum over n neighbouring channels."""

    forward = staticmethod(torch.ops.scratch_conv.local_response_norm.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, *ctx.numbers = inputs
        ctx.save_for_backward(input, input.new_empty(0))  # the last as dropout's
        ctx.save_for_forward(input)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        input, _ = ctx.saved_tensors
        nothing = (None,) * 4
        if not may_be_differentiated():
            return call_constant(local_response_norm_grad, grad_output, input, *ctx.numbers), *nothing
        size, alpha, beta, _ = ctx.numbers
        g, x = widened(grad_output), widened(input)
        scale, slope = _powers(x, *ctx.numbers)
        inner = product(product(g, x, x.shape), slope, x.shape)
        through = call(BoxSum, inner, (size - 1) // 2, size // 2)
        by_divisor = product(x, through, x.shape, 2 * alpha * beta / size)
        return product(g, scale, x.shape) - by_divisor, *nothing

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (input,) = ctx.saved_tensors
        size, alpha, beta, _ = ctx.numbers
        along, x = widened(input_t), widened(input)
        scale, slope = _powers(x, *ctx.numbers)
        through = call(BoxSum, product(x, along, x.shape), size // 2, (size - 1) // 2)
        by_divisor = product(product(x, slope, x.shape), through, x.shape, 2 * alpha * beta / size)
        return (product(along, scale, x.shape) - by_divisor).to(input.dtype)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor, *numbers: Any) -> Any:
        return unfold(call(cls, fold(input, in_dims[0], 0, info.batch_size), *numbers), 0, info.batch_size), 0


def _powers(x: Tensor, size: int, alpha: float, beta: float, k: float) -> tuple[Tensor, Tensor]:
    """Return D^(-β) and D^(-β-1)."""
    sums = call(BoxSum, product(x, x, x.shape, alpha / size), size // 2, (size - 1) // 2)
    return call(Power, sums + k, -beta), call(Power, sums + k, -beta - 1)


class BoxSum(Function):
    """The sum of each channel with its neighbours: linear, its transpose has before and after exchanged."""

    forward = staticmethod(torch.ops.scratch_conv.box_sum.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.before, ctx.after = inputs

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return call(BoxSum, grad_output, ctx.after, ctx.before), None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        return call(BoxSum, input_t, ctx.before, ctx.after)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor, *numbers: Any) -> Any:
        return unfold(call(cls, fold(input, in_dims[0], 0, info.batch_size), *numbers), 0, info.batch_size), 0


class Power(Function):
    """y = x^e: dy = e · x^(e-1) · dx."""

    forward = staticmethod(torch.ops.scratch_conv.power.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, ctx.exponent = inputs
        ctx.save_for_backward(input)
        ctx.save_for_forward(input)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return Power.jvp(ctx, grad_output), None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (input,) = ctx.saved_tensors
        return product(input_t, call(Power, input, ctx.exponent - 1), input.shape, ctx.exponent)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *operands: Any) -> Any:
        return vmap_elementwise(Power, info, in_dims, *operands)


for _function in (LocalResponseNorm, BoxSum, Power):
    register_derivatives(_function)
