"""Layer, group and instance normalization as Functions.

All are one kernel on (N, C, L) with groups of channels: a layer is one group, of as many channels as it has
elements, and an instance is a group of one channel. The backward pass is a kernel too. Where its result may
be differentiated again, it is composed of products with the results of `Normalize`, to which every group of
every sample is a channel.

Tensors: input (N, C, *) or (*, normalized shape), as the caller has it: so autograd sees writes to what is
saved. The parameters have C elements, or the normalized shape. Means and variances are (N, G), or have the
input's shape but for the normalized axes, of size 1.
"""

import math
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd._torch_internals import suggested_memory_format
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import (
    beside_zeros,
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
from scratch_conv.autograd.standardization import Normalize, beside, centred, channel_sum, spread, weighted
from scratch_conv.autograd.tensors import empty, to_array, to_tensor
from scratch_conv.kernels.windows import Array

__all__ = ["GroupNorm", "InstanceNorm", "LayerNorm", "mean_of_samples"]


@operator
def layer_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, axes: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize over the last `axes` axes."""
    x = to_array(input).reshape(_of_layers(input, axes))
    output, *statistics = kernels.group_norm(x, 1, _flat(weight), _flat(bias), eps)
    mean, variance = (torch.from_numpy(each.reshape(_outer(input, axes))) for each in statistics)
    return to_tensor(output.reshape(input.shape), input), mean, variance


@operator
def group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _by_groups(input, weight, bias, groups, eps, suggested_memory_format(input))


@operator
def instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _by_groups(input, weight, bias, input.shape[1], eps, torch.contiguous_format)


def _by_groups(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    groups: int,
    eps: float,
    memory_format: torch.memory_format,
) -> tuple[Tensor, Tensor, Tensor]:
    x = to_array(input).reshape(_of_channels(input))
    output, mean, variance = kernels.group_norm(x, groups, _flat(weight), _flat(bias), eps)
    result = to_tensor(output.reshape(input.shape), input, memory_format)
    return result, torch.from_numpy(mean), torch.from_numpy(variance)


@operator
def group_norm_grad(
    grad_output: Tensor,
    input: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    shape: Sequence[int],
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of each of them, viewed as (N, C, L); of the parameters, as vectors."""
    dy, x = (to_array(each).reshape(*shape) for each in (grad_output, input))
    mu, sigma2 = (to_array(each).reshape(-1, groups) for each in (mean, variance))
    grad_input, *grads = kernels.group_norm_grad(dy, x, mu, sigma2, _flat(weight), eps)
    like = mean if weight is None else weight
    grad_weight, grad_bias = (to_tensor(each, like) for each in grads)
    return to_tensor(grad_input.reshape(input.shape), input), grad_weight, grad_bias


def _of_layers(input: Tensor, axes: int) -> tuple[int, int, int]:
    """Return the shape of (N, C, L) whose samples are layers, of one pixel a channel."""
    outer = input.dim() - axes
    return prod(input.shape[:outer]), prod(input.shape[outer:]), 1


def _of_channels(input: Tensor) -> tuple[int, int, int]:
    return input.shape[0], input.shape[1], prod(input.shape[2:])


def _outer(input: Tensor, axes: int) -> tuple[int, ...]:
    return (*input.shape[: input.dim() - axes], *[1] * axes)


def _flat(parameter: Tensor | None) -> Array | None:
    return None if parameter is None else to_array(parameter).reshape(-1)


@register_fake(layer_norm)
def _(input: Any, weight: Any, bias: Any, axes: int, eps: float) -> tuple[Tensor, ...]:
    return input.new_empty(input.shape), *_statistics_like(input, _outer(input, axes))


@register_fake(group_norm)
def _(input: Any, weight: Any, bias: Any, groups: int, eps: float) -> tuple[Tensor, ...]:
    output = empty(input, input.shape, suggested_memory_format(input))
    return output, *_statistics_like(input, (input.shape[0], groups))


@register_fake(instance_norm)
def _(input: Any, weight: Any, bias: Any, eps: float) -> tuple[Tensor, ...]:
    return input.new_empty(input.shape), *_statistics_like(input, input.shape[:2])


def _statistics_like(input: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return uninitialized means and variances, in float32 at least."""
    dtype = torch.promote_types(input.dtype, torch.float32)
    return input.new_empty(shape, dtype=dtype), input.new_empty(shape, dtype=dtype)


@register_fake(group_norm_grad)
def _(grad_output: Any, input: Any, mean: Any, variance: Any, weight: Any, shape: Any, *_: Any) -> Any:
    like = mean if weight is None else weight
    return input.new_empty(input.shape), like.new_empty(shape[1]), like.new_empty(shape[1])


class _ByGroup(Function):
    """y = γ · x̂ + β by each group's own statistics; these are results too, without derivatives.

    A context has the shape (N, C, L) of `channels`, the number of `groups`, `eps`, and the shape of the
    `affine` parameters; that of group norm, whose gradients are not of one node with torch, has the `bias`.
    """

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, *_: Any) -> Any:
        input, mean, variance, weight, *others, _ = ctx.saved_tensors
        if may_be_differentiated():
            gradients = _gradients(ctx, widened(grad_output), input, weight)
        else:
            how = ctx.channels, ctx.groups, ctx.eps
            gradients = call_constant(group_norm_grad, grad_output, input, mean, variance, weight, *how)
        shapes = input.shape, ctx.affine, ctx.affine
        shaped = (
            gradient.reshape(shape) if needs and gradient is not None else None
            for gradient, shape, needs in zip(gradients, shapes, ctx.needs_input_grad, strict=False)
        )
        gradients = tuple(shaped)
        if hasattr(ctx, "bias"):
            gradients = *(beside_zeros(each, weight, ctx.bias) for each in gradients[:2]), gradients[2]
        else:
            gradients = of_one_node(gradients, grad_output, input, weight, *others)
        return *gradients, *[None] * (len(ctx.needs_input_grad) - 3)

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor | None, weight_t: Tensor | None, bias_t: Tensor | None, *_: Any) -> Any:
        input, weight = ctx.saved_tensors
        normal, by_group, inverse = _normalized(ctx, input)
        output_t = spread(bias_t, normal)
        if weight_t is not None:
            output_t = output_t + product(normal, beside(weight_t, normal), normal.shape)
        if input_t is not None:
            along = widened(input_t).reshape(by_group.shape)
            output_t = output_t + weighted(centred(along, by_group, inverse).reshape(normal.shape), weight)
        return output_t.reshape(input.shape).to(input.dtype), None, None


def _normalized(ctx: Any, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x̂ by channel (N, C, L), and by group (1, N · G, K · L), and s (1, N · G, 1)."""
    samples, channels, pixels = ctx.channels
    shape = 1, samples * ctx.groups, channels // ctx.groups * pixels
    normal, inverse = call(Normalize, widened(input).reshape(shape), ctx.eps)
    return normal.reshape(ctx.channels), normal, beside(inverse, normal)


def _gradients(ctx: Any, grad_output: Tensor, input: Tensor, weight: Tensor | None) -> Any:
    """Return the gradients as differentiable functions."""
    _, needs_weight, needs_bias, *_ = ctx.needs_input_grad
    grad_output = grad_output.reshape(ctx.channels)
    normal, by_group, inverse = _normalized(ctx, input)
    grad_input = None
    if wanted(ctx)[0]:
        grad_input = centred(weighted(grad_output, weight).reshape(by_group.shape), by_group, inverse)
    grad_weight = channel_sum(grad_output, normal) if needs_weight else None
    return grad_input, grad_weight, channel_sum(grad_output) if needs_bias else None


class LayerNorm(_ByGroup):
    """y = γ · x̂ + β over the last axes."""

    forward = staticmethod(torch.ops.scratch_conv.layer_norm.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, weight, bias, axes, ctx.eps = inputs
        ctx.channels, ctx.groups = _of_layers(input, axes), 1
        ctx.affine = input.shape[input.dim() - axes :]
        _save(ctx, input, output, weight, bias)  # the bias because torch saves it

    @staticmethod
    def vmap(info: Any, in_dims: Any, *operands: Any) -> Any:
        input, weight, bias, axes, eps = operands
        size = info.batch_size
        if in_dims[1:3] == (None, None):
            return call(LayerNorm, input.movedim(in_dims[0], 0), weight, bias, axes, eps), (0, 0, 0)
        input, weight, bias = (
            _in_front(operand, dim, size)
            for operand, dim in zip((input, weight, bias), in_dims, strict=False)
        )
        assert input is not None
        layers, elements, _ = _of_layers(input[0], axes)
        rows = input.reshape(size, layers, elements).transpose(0, 1).reshape(layers, size * elements)
        affine = (each if each is None else each.reshape(size * elements) for each in (weight, bias))
        output, *statistics = call(GroupNorm, rows, *affine, size, eps)
        output = output.reshape(layers, size, elements).transpose(0, 1).reshape(input.shape)
        mean, variance = (each.mT.reshape(size, *_outer(input[0], axes)) for each in statistics)
        return (output, mean, variance), (0, 0, 0)


class GroupNorm(_ByGroup):
    """y = γ · x̂ + β over groups of channels of a sample."""

    forward = staticmethod(torch.ops.scratch_conv.group_norm.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, weight, ctx.bias, ctx.groups, ctx.eps = inputs  # the bias is not saved, as torch does not
        ctx.channels, ctx.affine = _of_channels(input), input.shape[1:2]
        _save(ctx, input, output, weight)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *operands: Any) -> Any:
        *tensors, groups, eps = operands
        merged, dim = _merged(info.batch_size, in_dims, tensors)
        outputs = call(GroupNorm, *merged, groups * info.batch_size if dim else groups, eps)
        return tuple(unfold(each, dim, info.batch_size) for each in outputs), (dim,) * 3


class InstanceNorm(_ByGroup):
    """y = γ · x̂ + β over each channel of a sample."""

    forward = staticmethod(torch.ops.scratch_conv.instance_norm.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, weight, _, ctx.eps = inputs
        ctx.channels, ctx.affine, ctx.groups = _of_channels(input), input.shape[1:2], input.shape[1]
        _save(ctx, input, output, weight)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *operands: Any) -> Any:
        *tensors, eps = operands
        merged, dim = _merged(info.batch_size, in_dims, tensors)
        outputs = call(InstanceNorm, *merged, eps)
        output, mean, variance = (unfold(each, dim, info.batch_size) for each in outputs)
        if in_dims[0] is not None:
            return (output, mean, variance), (dim,) * 3
        # Of one input, whose statistics are all the same.
        return (output, mean.select(dim, 0), variance.select(dim, 0)), (dim, None, None)


def _merged(size: int, in_dims: Any, tensors: Any) -> tuple[list[Tensor | None], int]:
    """Merge the vmapped dimension into the samples, or, where a parameter has one, into the channels.

    Returns:
        The input and the parameters, and the dimension into which the input's was merged.
    """
    dims, dim = in_dims[:3], int(in_dims[1:3] != (None, None))
    input, *affine = tensors
    if dim:
        pairs = zip(affine, dims[1:], strict=True)
        affine = [each if each is None else fold(each, vmapped, 0, size) for each, vmapped in pairs]
    return [fold(input, dims[0], dim, size), *affine], dim


def _save(ctx: Any, input: Tensor, output: Any, weight: Tensor | None, *others: Tensor | None) -> None:
    _, mean, variance = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(mean, variance)
    # The last is for checkpoints that torch recomputes, as dropout's.
    ctx.save_for_backward(input, mean, variance, weight, *others, input.new_empty(0))
    ctx.save_for_forward(input, weight)


def mean_of_samples(statistic: Tensor) -> Tensor:
    """Return the mean (G,) of a statistic (N, G); NaN where there are no samples."""
    samples, groups = statistic.shape
    factor = 1.0 if samples else math.nan
    ones = statistic.new_ones(1, 1)
    return product(statistic, ones, (1, groups), factor, max(samples, 1)).reshape(groups)


def _in_front(tensor: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    """Move the vmapped dimension to the front; a tensor without one is repeated."""
    if tensor is None:
        return None
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


for _function in (LayerNorm, GroupNorm, InstanceNorm):
    register_derivatives(_function)
