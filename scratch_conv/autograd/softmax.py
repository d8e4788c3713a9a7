"""Softmax and log-softmax as Functions, along one dimension.

The backward passes are kernels of their own. Where their results may be differentiated again, they are
composed of products with the results of the forward passes.

The results are what is saved, so that autograd finds out if one is written to: a function takes and returns
tensors of the caller's shape, and arrays alone are reshaped to three axes, (A, K, B).
"""

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.operators import (
    call,
    call_constant,
    may_be_differentiated,
    operator,
    register_derivatives,
    register_fake,
)
from scratch_conv.autograd.products import product, total, widened
from scratch_conv.autograd.tensors import to_array, to_tensor, to_tensor_like
from scratch_conv.kernels.windows import Array

__all__ = ["LogSoftmax", "Softmax"]


@operator
def softmax(input: Tensor, dim: int) -> Tensor:
    return to_tensor(kernels.softmax(_by_classes(input, dim)).reshape(input.shape), input)


@operator
def softmax_grad(grad_output: Tensor, output: Tensor, dim: int) -> Tensor:
    grad_input = kernels.softmax_grad(_by_classes(grad_output, dim), _by_classes(output, dim))
    return to_tensor(grad_input.reshape(output.shape), output)


@operator
def log_softmax(input: Tensor, dim: int) -> Tensor:
    return to_tensor(kernels.log_softmax(_by_classes(input, dim)).reshape(input.shape), input)


@operator
def log_softmax_grad(grad_output: Tensor, output: Tensor, dim: int) -> Tensor:
    grad_input = kernels.log_softmax_grad(_by_classes(grad_output, dim), _by_classes(output, dim))
    return to_tensor(grad_input.reshape(output.shape), output)


def _by_classes(tensor: Tensor, dim: int) -> Array:
    """Return an array (A, K, B), where K is the size of the dimension `dim`; of a number, (1, 1, 1).

    Of no elements, but any number of rows, (0, 1, 1).
    """
    if not tensor.numel():
        return to_array(tensor).reshape(0, 1, 1)
    shape = tensor.shape or (1,)
    return to_array(tensor).reshape(prod(shape[:dim]), shape[dim], prod(shape[dim + 1 :]))


@operator
def exponential(input: Tensor) -> Tensor:
    return to_tensor_like(kernels.exponential(to_array(input)), input)


@register_fake(softmax)
@register_fake(log_softmax)
def _(input: Any, dim: int) -> Tensor:
    return input.new_empty(input.shape)


@register_fake(softmax_grad)
@register_fake(log_softmax_grad)
def _(grad_output: Any, output: Any, dim: int) -> Tensor:
    return output.new_empty(output.shape)


@register_fake(exponential)
def _(input: Any) -> Tensor:
    return torch.empty_like(input)


class _AlongClasses(Function):
    """A function of a tensor and a dimension that saves its result."""

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.dim = inputs
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor, dim: int) -> Any:
        if input.dim() == 1:  # of numbers, each a class alone
            return call(cls, input.unsqueeze(1), 1).squeeze(1), 0
        return call(cls, input.movedim(in_dims[0], 0), dim + 1), 0


class Softmax(_AlongClasses):
    """p = softmax(x): dx = p · (dp - Σ p · dp), and tangents go by the same map, which is symmetric."""

    forward = staticmethod(torch.ops.scratch_conv.softmax.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        if not may_be_differentiated():
            return call_constant(softmax_grad, grad_output, output, ctx.dim), None
        return _softmax_map(widened(grad_output), widened(output), ctx.dim), None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, _: Any) -> Any:
        (output,) = ctx.saved_tensors
        return _softmax_map(widened(input_t), widened(output), ctx.dim).to(output.dtype)


def _softmax_map(g: Tensor, p: Tensor, dim: int) -> Tensor:
    """Return p · (g - Σ p · g)."""
    weighted = product(p, g, p.shape)
    return weighted - product(p, total(weighted, dim), p.shape)


class LogSoftmax(_AlongClasses):
    """l = log softmax(x): dx = dl - exp(l) · Σ dl, and the tangent of l is x' - Σ exp(l) · x'."""

    forward = staticmethod(torch.ops.scratch_conv.log_softmax.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        if not may_be_differentiated():
            return call_constant(log_softmax_grad, grad_output, output, ctx.dim), None
        grad_output = widened(grad_output)
        weights = call(Exponential, widened(output))
        return grad_output - product(weights, total(grad_output, ctx.dim), output.shape), None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, _: Any) -> Any:
        (output,) = ctx.saved_tensors
        return input_t - total(input_t, ctx.dim, call(Exponential, output))


class Exponential(Function):
    """y = exp(x): dx = dy · y."""

    forward = staticmethod(torch.ops.scratch_conv.exponential.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        return product(grad_output, output, output.shape)

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        return product(input_t, output, output.shape)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor) -> Any:
        return call(Exponential, input), in_dims[0]


for _function in (Softmax, LogSoftmax, Exponential):
    register_derivatives(_function)
