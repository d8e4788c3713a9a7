"""Softmax and log-softmax as Functions, along the middle of three dimensions (A, K, B).

The first derivatives are kernels of their own; the further ones are products of what is there.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.operators import call, fold, operator, register_derivatives, unfold, wanted
from scratch_conv.autograd.products import product, total
from scratch_conv.autograd.tensors import to_array, to_tensor, to_tensor_like


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
    """What the functions of one tensor (A, K, B) share: they save their result, and batches join A."""

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor) -> Any:
        return unfold(call(cls, fold(input, in_dims[0], 0, info.batch_size)), 0, info.batch_size), 0


class _GradAlongClasses(Function):
    """What the derivatives share: they depend on a gradient and on the result that was differentiated."""

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *operands: Tensor) -> Any:
        size = info.batch_size
        folded = (fold(operand, dim, 0, size) for operand, dim in zip(operands, in_dims, strict=True))
        return unfold(call(cls, *folded), 0, size), 0


class Softmax(_AlongClasses):
    """p = softmax(x): dx = softmax_grad(dp, p), and tangents go by the same map, which is symmetric."""

    forward = staticmethod(torch.ops.scratch_conv.softmax.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return call(SoftmaxGrad, grad_output, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor) -> Any:
        return call(SoftmaxGrad, input_t, *ctx.saved_tensors)


class SoftmaxGrad(_GradAlongClasses):
    """dx = p · (g - Σ p·g): symmetric in g, quadratic in p."""

    forward = staticmethod(torch.ops.scratch_conv.softmax_grad.default)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad_output, output = ctx.saved_tensors
        wants_grad_output, wants_output = wanted(ctx)
        to_grad_output = call(SoftmaxGrad, grad, output) if wants_grad_output else None
        if not wants_output:
            return to_grad_output, None
        shape = output.shape
        to_output = product(grad, grad_output, shape)
        to_output = to_output - product(grad, total(grad_output, output), shape)
        return to_grad_output, to_output - product(grad_output, total(grad, output), shape)

    @staticmethod
    def jvp(ctx: Any, grad_output_t: Tensor | None, output_t: Tensor | None) -> Any:
        grad_output, output = ctx.saved_tensors
        by_grad = None if grad_output_t is None else call(SoftmaxGrad, grad_output_t, output)
        if output_t is None:
            return by_grad
        shape = output.shape
        by_output = product(output_t, grad_output, shape)
        by_output = by_output - product(output_t, total(grad_output, output), shape)
        by_output = by_output - product(output, total(grad_output, output_t), shape)
        return by_output if by_grad is None else by_grad + by_output


class LogSoftmax(_AlongClasses):
    """l = log softmax(x): dx = log_softmax_grad(dl, l); tangents lose their mean by softmax."""

    forward = staticmethod(torch.ops.scratch_conv.log_softmax.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return call(LogSoftmaxGrad, grad_output, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        return input_t - total(input_t, call(Exponential, output))


class LogSoftmaxGrad(_GradAlongClasses):
    """dx = g - exp(l) · Σ g: linear in g."""

    forward = staticmethod(torch.ops.scratch_conv.log_softmax_grad.default)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad_output, output = ctx.saved_tensors
        wants_grad_output, wants_output = wanted(ctx)
        weighted = product(grad, call(Exponential, output), output.shape)
        to_grad_output = grad - total(weighted) if wants_grad_output else None
        to_output = product(weighted, total(grad_output), output.shape, -1.0) if wants_output else None
        return to_grad_output, to_output

    @staticmethod
    def jvp(ctx: Any, grad_output_t: Tensor | None, output_t: Tensor | None) -> Any:
        grad_output, output = ctx.saved_tensors
        by_grad = None if grad_output_t is None else call(LogSoftmaxGrad, grad_output_t, output)
        if output_t is None:
            return by_grad
        weighted = product(output_t, call(Exponential, output), output.shape)
        by_output = product(weighted, total(grad_output), output.shape, -1.0)
        return by_output if by_grad is None else by_grad + by_output


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


for _function in (Softmax, SoftmaxGrad, LogSoftmax, LogSoftmaxGrad, Exponential):
    register_derivatives(_function)
