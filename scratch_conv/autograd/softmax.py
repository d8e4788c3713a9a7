"""Softmax and log-softmax as Functions, along the middle of three dimensions (A, K, B).

The backward passes are kernels of their own. Where their results may be differentiated again, they are
composed of products with the results of the forward passes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import (
    call,
    call_constant,
    may_be_differentiated,
    operator,
    register_derivatives,
)
from scratch_conv.autograd.products import product, total, widened
from scratch_conv.autograd.tensors import to_array, to_tensor, to_tensor_like

__all__ = ["LogSoftmax", "Softmax"]


@operator
def softmax(input: Tensor) -> Tensor:
    return to_tensor(kernels.softmax(to_array(input)), input)


@operator
def softmax_grad(grad_output: Tensor, output: Tensor) -> Tensor:
    return to_tensor(kernels.softmax_grad(to_array(grad_output), to_array(output)), output)


@operator
def log_softmax(input: Tensor) -> Tensor:
    return to_tensor(kernels.log_softmax(to_array(input)), input)


@operator
def log_softmax_grad(grad_output: Tensor, output: Tensor) -> Tensor:
    return to_tensor(kernels.log_softmax_grad(to_array(grad_output), to_array(output)), output)


@operator
def exponential(input: Tensor) -> Tensor:
    return to_tensor_like(kernels.exponential(to_array(input)), input)


@softmax.register_fake
@log_softmax.register_fake
def _(input: Any) -> Tensor:
    return input.new_empty(input.shape)


@softmax_grad.register_fake
@log_softmax_grad.register_fake
def _(grad_output: Any, output: Any) -> Tensor:
    return output.new_empty(output.shape)


@exponential.register_fake
def _(input: Any) -> Tensor:
    return torch.empty_like(input)


class _AlongClasses(Function):
    """A function of one tensor (A, K, B) that saves its result; vmap merges the batch into A."""

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor) -> Any:
        return unfold(call(cls, fold(input, in_dims[0], 0, info.batch_size)), 0, info.batch_size), 0


class Softmax(_AlongClasses):
    """p = softmax(x): dx = p · (dp - Σ p · dp), and tangents go by the same map, which is symmetric."""

    forward = staticmethod(torch.ops.scratch_conv.softmax.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        if not may_be_differentiated():
            return call_constant(softmax_grad, grad_output, output)
        return _softmax_map(widened(grad_output), widened(output))

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        return _softmax_map(widened(input_t), widened(output)).to(output.dtype)


def _softmax_map(g: Tensor, p: Tensor) -> Tensor:
    """Return p · (g - Σ p · g)."""
    weighted = product(p, g, p.shape)
    return weighted - product(p, total(weighted), p.shape)


class LogSoftmax(_AlongClasses):
    """l = log softmax(x): dx = dl - exp(l) · Σ dl, and the tangent of l is x' - Σ exp(l) · x'."""

    forward = staticmethod(torch.ops.scratch_conv.log_softmax.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        if not may_be_differentiated():
            return call_constant(log_softmax_grad, grad_output, output)
        grad_output = widened(grad_output)
        weights = call(Exponential, widened(output))
        return grad_output - product(weights, total(grad_output), output.shape)

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        return input_t - total(input_t, call(Exponential, output))


class Exponential(_AlongClasses):
    """y = exp(x): dx = dy · y."""

    forward = staticmethod(torch.ops.scratch_conv.exponential.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        return product(grad_output, output, output.shape)

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        return product(input_t, output, output.shape)


for _function in (Softmax, LogSoftmax, Exponential):
    register_derivatives(_function)
