"""Batch normalization as Functions: in training by the batch's statistics, and by given ones.

The backward pass is a kernel of its own. Where its result may be differentiated again, it is composed of
products, summed over channels, with the results of `Normalize`: the gradient of x is B(γ dy), with the map B
of `standardization.py`.

Tensors: input (N, C, *), as the caller has it: so autograd sees writes to what is saved. A channel's numbers
are (C,), and (1, C, 1, ...) in the products. Arrays are (N, C, L).
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scratch_conv import kernels
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
from scratch_conv.autograd.standardization import (
    ByChannel,
    Normalize,
    as_input,
    beside,
    centred,
    channel_sum,
    empty_like,
    of_channels_like,
    pixels,
    spread,
    weighted,
)
from scratch_conv.autograd.tensors import to_array, to_array_if_any, to_tensor

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
        pixels(input), to_array_if_any(weight), to_array_if_any(bias), eps
    )
    return as_input(output, input), torch.from_numpy(mean), torch.from_numpy(variance)


@operator
def batch_norm_grad(
    grad_output: Tensor, input: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    arrays = pixels(grad_output), pixels(input), to_array(mean), to_array(variance)
    grad_input, grad_weight, grad_bias = kernels.batch_norm_grad(*arrays, to_array_if_any(weight), eps)
    of_channels = mean if weight is None else weight
    return (
        as_input(grad_input, input),
        to_tensor(grad_weight, of_channels),
        to_tensor(grad_bias, of_channels),
    )


@operator
def batch_norm_inference(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> Tensor:
    statistics = to_array(mean), to_array(variance)
    output = kernels.batch_norm_inference(
        pixels(input), *statistics, to_array_if_any(weight), to_array_if_any(bias), eps
    )
    return as_input(output, input)


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
    return empty_like(input), of_channels_like(input), of_channels_like(input)


@register_fake(batch_norm_grad)
def _(grad_output: Any, input: Any, mean: Any, variance: Any, weight: Any, eps: float) -> Any:
    like = mean if weight is None else weight
    return empty_like(input), like.new_empty(mean.shape), like.new_empty(mean.shape)


@register_fake(batch_norm_inference)
def _(input: Any, *rest: Any) -> Tensor:
    return empty_like(input)


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


class BatchNorm(ByChannel):
    """y = γ · x̂ + β by the batch's own statistics; these are results too, without derivatives."""

    forward = staticmethod(torch.ops.scratch_conv.batch_norm.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, weight, _, *running, ctx.eps = inputs
        _, mean, variance = output
        ctx.set_materialize_grads(False)
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
                grad_input = centred(weighted(grad_output, weight), normal, beside(inverse, normal))
        elif needs_weight:
            arguments = widened(input), None, None, mean, variance, ctx.eps
            normal = call_constant(batch_norm_inference, *arguments)
        if needs_weight:
            grad_weight = channel_sum(grad_output, normal).reshape(input.shape[1])
        if needs_bias:
            grad_bias = channel_sum(grad_output).reshape(input.shape[1])
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
        output_t = spread(bias_t, normal)
        if weight_t is not None:
            output_t = output_t + product(normal, beside(weight_t, normal), normal.shape)
        if input_t is not None:
            output_t = output_t + weighted(centred(input_t, normal, beside(inverse, normal)), weight)
        return output_t, None, None


class BatchNormInference(ByChannel):
    """y = γ · (x - μ) · s + β by given statistics, which are constants: dx = γ · s · dy, without the mean."""

    forward = staticmethod(torch.ops.scratch_conv.batch_norm_inference.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, weight, _, mean, variance, ctx.eps = inputs
        ctx.set_materialize_grads(False)
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
            grad_weight = channel_sum(widened(grad_output), normal).reshape(input.shape[1])
        if needs_bias:
            grad_bias = channel_sum(widened(grad_output)).reshape(input.shape[1])
        grads = of_one_node((grad_input, grad_weight, grad_bias), grad_output, input, weight)
        return *grads, None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor | None, weight_t: Tensor | None, bias_t: Tensor | None, *_: Any) -> Any:
        input, weight, mean, variance = ctx.saved_tensors
        output_t = spread(bias_t, input)
        if input_t is not None:
            rest = torch.zeros_like(mean), variance, ctx.eps
            output_t = output_t + call(BatchNormInference, input_t, weight, None, *rest)
        if weight_t is not None:
            output_t = output_t + call(BatchNormInference, input, weight_t, None, mean, variance, ctx.eps)
        return output_t


for _function in (BatchNorm, BatchNormInference):
    register_derivatives(_function)
