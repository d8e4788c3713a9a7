"""Batch normalization as Functions: in training by the batch's statistics, and by given ones.

The backward pass is a kernel of its own. Where its result may be differentiated again, it is composed of
products, summed over channels, with x̂ and s as differentiable results of `Normalize`: with n elements a
channel and the map

    B(g) = s · (g - Σ g / n - x̂ · Σ g x̂ / n),

the gradient of x is B(γ dy). B is its own transpose, and the derivatives of x̂ and s along x' are B(x') and
-s² · Σ x̂ x' / n.

Tensors: input (N, C, *), as the caller has it: so autograd sees writes to what is saved. A channel's numbers
are (C,), and (1, C, 1, ...) in the products. Arrays are (N, C, L).
"""

from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd._torch_internals import suggested_memory_format
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import (
    call,
    call_constant,
    may_be_differentiated,
    of_one_node,
    operator,
    register_derivatives,
    register_fake,
    wanted,
)
from scratch_conv.autograd.products import product, widened
from scratch_conv.autograd.tensors import empty, to_array, to_array_if_any, to_tensor
from scratch_conv.kernels.windows import Array

__all__ = ["BatchNorm", "BatchNormInference", "update_running"]


@operator
def batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize by the batch's statistics; the running ones are only saved, as torch saves them."""
    output, mean, variance = kernels.batch_norm(
        _pixels(input), to_array_if_any(weight), to_array_if_any(bias), eps
    )
    return _as_input(output, input), torch.from_numpy(mean), torch.from_numpy(variance)


@operator
def batch_norm_grad(
    grad_output: Tensor, input: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    arrays = _pixels(grad_output), _pixels(input), to_array(mean), to_array(variance)
    grad_input, grad_weight, grad_bias = kernels.batch_norm_grad(*arrays, to_array_if_any(weight), eps)
    of_channels = mean if weight is None else weight
    return (
        _as_input(grad_input, input),
        to_tensor(grad_weight, of_channels),
        to_tensor(grad_bias, of_channels),
    )


@operator
def batch_norm_inference(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> Tensor:
    statistics = to_array(mean), to_array(variance)
    output = kernels.batch_norm_inference(
        _pixels(input), *statistics, to_array_if_any(weight), to_array_if_any(bias), eps
    )
    return _as_input(output, input)


@operator
def normalize(input: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    output, _, variance = kernels.batch_norm(_pixels(input), None, None, eps)
    inverse = kernels.inverse_deviation(variance, eps)
    return _as_input(output, input), torch.from_numpy(inverse)


def _pixels(input: Tensor) -> Array:
    """Return an array (N, C, L)."""
    return to_array(input).reshape(*input.shape[:2], prod(input.shape[2:]))


def _as_input(pixels: Array, input: Tensor) -> Tensor:
    """Return an array (N, C, L) as a tensor of the input's shape and memory format."""
    return to_tensor(pixels.reshape(input.shape), input, _format(input))


def _format(input: Tensor) -> torch.memory_format:
    return torch.contiguous_format if input.is_contiguous() else suggested_memory_format(input)


@partial(operator, mutates_args=("running",))
def update_running(running: Tensor, batch: Tensor, momentum: float, count: int) -> None:
    """Move a running mean towards that of a batch; or a running variance, made unbiased, over `count` values.

    For a mean, `count` is 0. (A compiler treats integers as dynamic, but compiles again for another float.)

    The one operator that mutates: `torch.func` refuses a `copy_` onto a tensor from outside of the transform
    and, as with torch's own batch norm, lets an operator write to it.
    """
    unbiased = count / (count - 1) if count else 1.0
    # Channels that are the same number in memory learn one after another, as torch's do.
    parts = range(len(running)) if 0 in running.stride() else [slice(None)]
    for part in parts:
        one = kernels.running_average(to_array(running)[part], to_array(batch)[part], momentum, unbiased)
        running[part].copy_(torch.from_numpy(np.asarray(one)))


@register_fake(batch_norm)
def _(input: Any, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _empty(input), _of_channels(input), _of_channels(input)


@register_fake(batch_norm_grad)
def _(grad_output: Any, input: Any, mean: Any, variance: Any, weight: Any, eps: float) -> Any:
    like = mean if weight is None else weight
    return _empty(input), like.new_empty(mean.shape), like.new_empty(mean.shape)


@register_fake(batch_norm_inference)
def _(input: Any, *rest: Any) -> Tensor:
    return _empty(input)


@register_fake(normalize)
def _(input: Any, eps: float) -> tuple[Tensor, Tensor]:
    return _empty(input), _of_channels(input)


@register_fake(update_running)
def _(*arguments: Any) -> None:
    return None


@update_running.register_vmap
def _(info: Any, in_dims: Any, running: Tensor, batch: Tensor, *numbers: Any) -> Any:
    running_dim, batch_dim, *_ = in_dims
    if running_dim is None:
        raise RuntimeError(
            "batch_norm: got a batched tensor as input while the running_mean or running_var, which will be "
            "updated in place, were not batched"
        )
    batch = batch.expand(info.batch_size, -1) if batch_dim is None else batch.movedim(batch_dim, 0)
    update_running(running.movedim(running_dim, 0), batch, *numbers)
    return None, None


def _empty(input: Tensor) -> Tensor:
    return empty(input, input.shape, _format(input))


def _of_channels(input: Tensor) -> Tensor:
    """Return an uninitialized tensor of one number a channel, in float32 at least."""
    dtype = torch.promote_types(input.dtype, torch.float32)
    return input.new_empty(input.shape[1], dtype=dtype)


class _ByChannel(Function):
    """A function that treats each channel alone: vmap merges the batch of calls into the channels."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *operands: Any) -> Any:
        size = info.batch_size
        folded = [
            operand
            if not isinstance(operand, Tensor)
            else fold(operand, dim, 1 if operand.dim() - (dim is not None) > 1 else 0, size)
            for operand, dim in zip(operands, in_dims, strict=True)
        ]
        outputs = call(cls, *folded)
        if isinstance(outputs, Tensor):
            return unfold(outputs, 1, size), 1
        dims = tuple(1 if output.dim() > 1 else 0 for output in outputs)
        return tuple(unfold(output, dim, size) for output, dim in zip(outputs, dims, strict=True)), dims


class Normalize(_ByChannel):
    """x̂ and s, of a batch: dx = B(dx̂) - s² · x̂ · ds / n."""

    forward = staticmethod(torch.ops.scratch_conv.normalize.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, grad_normal: Tensor, grad_inverse: Tensor) -> Any:
        normal, inverse = ctx.saved_tensors
        inverse, grad_inverse = _beside(inverse, normal), _beside(grad_inverse, normal)
        through_inverse = product(_square(inverse), grad_inverse, inverse.shape, -1 / _count(normal))
        by_inverse = product(normal, through_inverse, normal.shape)
        return _centred(grad_normal, normal, inverse) + by_inverse, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, _: Any) -> Any:
        normal, inverse = ctx.saved_tensors
        inverse = _beside(inverse, normal)
        along = _sum(input_t, normal, -1 / _count(normal))
        inverse_t = product(_square(inverse), along, inverse.shape)
        return _centred(input_t, normal, inverse), inverse_t.reshape(normal.shape[1])


class BatchNorm(_ByChannel):
    """y = γ · x̂ + β by the batch's own statistics; these are results too, without derivatives."""

    forward = staticmethod(torch.ops.scratch_conv.batch_norm.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, weight, _, *running, ctx.eps = inputs
        _, mean, variance = output
        ctx.mark_non_differentiable(mean, variance)
        # The last is for checkpoints that torch recomputes, as dropout's.
        ctx.save_for_backward(input, mean, variance, weight, *running, input.new_empty(0))
        ctx.save_for_forward(input, weight)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, *_: Any) -> Any:
        input, mean, variance, weight, *_ = ctx.saved_tensors
        _, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        wants_input, nothing = wanted(ctx)[0], (None, None, None)
        if wants_input and not may_be_differentiated():
            arguments = grad_output, input, mean, variance, weight, ctx.eps
            grad_input, grad_weight, grad_bias = call_constant(batch_norm_grad, *arguments)
            grads = grad_input, grad_weight if needs_weight else None, grad_bias if needs_bias else None
            return *grads, *nothing
        grad_output = widened(grad_output)
        grad_input = grad_weight = grad_bias = None
        if may_be_differentiated():
            normal, inverse = call(Normalize, widened(input), ctx.eps)
            if wants_input:
                grad_input = _centred(_weighted(grad_output, weight), normal, _beside(inverse, normal))
        elif needs_weight:
            arguments = widened(input), None, None, mean, variance, ctx.eps
            normal = call_constant(batch_norm_inference, *arguments)
        if needs_weight:
            grad_weight = _sum(grad_output, normal).reshape(input.shape[1])
        if needs_bias:
            grad_bias = _sum(grad_output).reshape(input.shape[1])
        gradients = of_one_node((grad_input, grad_weight, grad_bias), grad_output, input, weight)
        return *gradients, *nothing

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *operands: Any) -> Any:
        outputs, dims = super().vmap(info, in_dims, *operands)
        if in_dims[0] is not None:
            return outputs, dims
        output, mean, variance = outputs  # of one batch, whose statistics are all the same
        return (output, mean.select(0, 0), variance.select(0, 0)), (1, None, None)

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor | None, weight_t: Tensor | None, bias_t: Tensor | None, *_: Any) -> Any:
        input, weight = ctx.saved_tensors
        normal, inverse = call(Normalize, input, ctx.eps)
        output_t = _spread(bias_t, normal)
        if weight_t is not None:
            output_t = output_t + product(normal, _beside(weight_t, normal), normal.shape)
        if input_t is not None:
            output_t = output_t + _weighted(_centred(input_t, normal, _beside(inverse, normal)), weight)
        return output_t, None, None


class BatchNormInference(_ByChannel):
    """y = γ · (x - μ) · s + β by given statistics, which are constants: dx = γ · s · dy, without the mean."""

    forward = staticmethod(torch.ops.scratch_conv.batch_norm_inference.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, weight, _, mean, variance, ctx.eps = inputs
        ctx.save_for_backward(input, weight, mean, variance)
        ctx.save_for_forward(input, weight, mean, variance)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        input, weight, mean, variance = ctx.saved_tensors
        _, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        grad_input = grad_weight = grad_bias = None
        if wanted(ctx)[0]:
            rest = torch.zeros_like(mean), variance, ctx.eps
            grad_input = call(BatchNormInference, grad_output, weight, None, *rest)
        if needs_weight:
            normal = call(BatchNormInference, widened(input), None, None, mean, variance, ctx.eps)
            grad_weight = _sum(widened(grad_output), normal).reshape(input.shape[1])
        if needs_bias:
            grad_bias = _sum(widened(grad_output)).reshape(input.shape[1])
        grads = of_one_node((grad_input, grad_weight, grad_bias), grad_output, input, weight)
        return *grads, None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor | None, weight_t: Tensor | None, bias_t: Tensor | None, *_: Any) -> Any:
        input, weight, mean, variance = ctx.saved_tensors
        output_t = _spread(bias_t, input)
        if input_t is not None:
            rest = torch.zeros_like(mean), variance, ctx.eps
            output_t = output_t + call(BatchNormInference, input_t, weight, None, *rest)
        if weight_t is not None:
            output_t = output_t + call(BatchNormInference, input, weight_t, None, mean, variance, ctx.eps)
        return output_t


def _centred(g: Tensor, normal: Tensor, inverse: Tensor) -> Tensor:
    """Return B(g), see the module's docstring."""
    return product(_uncorrelated(g, normal), inverse, normal.shape)


def _uncorrelated(g: Tensor, normal: Tensor) -> Tensor:
    """Subtract from g its mean and its projection on x̂: g - Σ g / n - x̂ · Σ g x̂ / n."""
    factor = 1 / _count(normal)
    return g - _sum(g, factor=factor) - product(normal, _sum(g, normal, factor), normal.shape)


def _sum(a: Tensor, b: Tensor | None = None, factor: float = 1.0) -> Tensor:
    """Return Σ factor · a · b for each channel, (1, C, 1, ...)."""
    ones = (1,) * a.dim()
    return product(a, a.new_ones(ones) if b is None else b, (1, a.shape[1], *ones[2:]), factor)


def _square(inverse: Tensor) -> Tensor:
    return product(inverse, inverse, inverse.shape)


def _weighted(g: Tensor, weight: Tensor | None) -> Tensor:
    return g if weight is None else product(g, _beside(weight, g), g.shape)


def _spread(of_channels: Tensor | None, like: Tensor) -> Tensor:
    """Repeat a channel's numbers (C,) for all pixels; zeros where there are none."""
    return torch.zeros_like(like) if of_channels is None else _beside(of_channels, like).expand(like.shape)


def _beside(of_channels: Tensor, like: Tensor) -> Tensor:
    """View (C,) as (1, C, 1, ...), with as many dimensions as another tensor."""
    return of_channels.reshape(1, like.shape[1], *[1] * (like.dim() - 2))


def _count(input: Tensor) -> int:
    """Return n, the elements of a channel."""
    return max(1, input.shape[0] * prod(input.shape[2:]))


for _function in (Normalize, BatchNorm, BatchNormInference):
    register_derivatives(_function)
