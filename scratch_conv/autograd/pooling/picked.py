"""Max pooling of volumes and adaptive max pooling as Functions: a scatter and a gather by the same indices.

Each of these two is the other's derivative. They know indices alone, and so serve any number of axes.

Tensors are batched: input (N, C, H, W) or (N, C, D, H, W), output and indices (N, C, OH, OW) or (N, C, OD,
OH, OW). An index is that into the flattened image or volume, in int32; see `kernels.scatter_picked`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, fold_into_batch, unfold
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake, window_of
from scratch_conv.autograd.tensors import (
    empty,
    is_channels_last,
    memory_format,
    to_array,
    to_tensor,
)

__all__ = ["AdaptiveMaxPool", "MaxPool3d", "picked_indices"]


@operator
def max_pool3d(
    input: Tensor,
    channels_last: bool,
    gradient_channels_last: bool,
    ceil_mode: bool,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Tensor, Tensor]:
    window = window_of(kernel_size, stride, padding, dilation)
    output, indices = kernels.max_pool3d(to_array(input), window, ceil_mode)
    format = memory_format(channels_last, 5)
    return to_tensor(output, input, format), to_tensor(indices, None, format)


@operator
def adaptive_max_pool(
    input: Tensor, output_size: Sequence[int], channels_last: bool
) -> tuple[Tensor, Tensor]:
    pool: Any = kernels.adaptive_max_pool2d if input.dim() == 4 else kernels.adaptive_max_pool3d
    output, indices = pool(to_array(input), tuple(output_size))
    format = memory_format(channels_last, input.dim())
    return to_tensor(output, input, format), to_tensor(indices, None, format)


@operator
def scatter_picked(
    values: Tensor,
    indices: Tensor,
    input: Tensor | None,
    input_size: Sequence[int],
    channels_last: bool,
    non_overlapping: bool,
) -> Tensor:
    if 0 in values.shape[2:]:
        raise RuntimeError(
            "max pooling: Expected grad_output to have non-zero size for non-batch dimensions, "
            f"but got {tuple(values.shape[2:])}"
        )
    pixels = kernels.scatter_picked(to_array(values), to_array(indices), tuple(input_size), non_overlapping)
    return to_tensor(pixels, values, memory_format(channels_last, values.dim()))


@operator
def gather_picked(input: Tensor, indices: Tensor, non_overlapping: bool) -> Tensor:
    if 0 in input.shape[2:] and indices.numel():
        raise RuntimeError(f"max unpooling: an output of size {tuple(input.shape[2:])} has no gradient")
    return to_tensor(kernels.gather_picked(to_array(input), to_array(indices)), input)


@operator
def picked_indices(indices: Tensor, channels_last: bool) -> Tensor:
    format = memory_format(channels_last, indices.dim())
    return to_tensor(kernels.picked_indices(to_array(indices)), None, format)


@register_fake(max_pool3d)
def _(
    input: Any,
    channels_last: bool,
    gradient_channels_last: bool,
    ceil_mode: bool,
    *window: Any,
) -> tuple[Tensor, Tensor]:
    return _pair(input, window_of(*window).output_size(input.shape[2:], ceil_mode), channels_last)


@register_fake(adaptive_max_pool)
def _(input: Any, output_size: Any, channels_last: bool) -> tuple[Tensor, Tensor]:
    return _pair(input, output_size, channels_last)


def _pair(input: Any, output_size: Any, channels_last: bool) -> tuple[Tensor, Tensor]:
    size, format = (*input.shape[:2], *output_size), memory_format(channels_last, input.dim())
    return empty(input, size, format), empty(input, size, format, torch.int32)


@register_fake(scatter_picked)
def _(
    values: Any, indices: Any, input: Any, input_size: Any, channels_last: bool, non_overlapping: bool
) -> Tensor:
    return empty(values, (*values.shape[:2], *input_size), memory_format(channels_last, values.dim()))


@register_fake(gather_picked)
def _(input: Any, indices: Any, non_overlapping: bool) -> Tensor:
    return input.new_empty(indices.shape)


@register_fake(picked_indices)
def _(indices: Any, channels_last: bool) -> Tensor:
    return empty(indices, indices.shape, memory_format(channels_last, indices.dim()), torch.int64)


@picked_indices.register_vmap
def _(info: Any, in_dims: Any, indices: Tensor, channels_last: bool) -> Any:
    folded = fold(indices, in_dims[0], 0, info.batch_size)
    widened = torch.ops.scratch_conv.picked_indices(folded, channels_last)
    return unfold(widened, 0, info.batch_size), 0


class _Maximum(Function):
    """y = max: dx = scatter(dy) to the indices of the maxima."""

    @staticmethod
    def scattering(input: Tensor, rest: Sequence[Any]) -> tuple[bool, bool]:
        """Return whether the gradient is channels_last, and whether no pixel lies under two windows."""
        raise NotImplementedError

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        input, *rest = inputs
        _, indices = output
        ctx.input_size, ctx.scattering, ctx.others = input.shape[2:], cls.scattering(input, rest), len(rest)
        ctx.mark_non_differentiable(indices)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(input, indices)
        ctx.save_for_forward(indices)

    @classmethod
    def backward(cls, ctx: Any, grad_output: Tensor, _: Any) -> Any:
        input, indices = ctx.saved_tensors
        grad_input = call(ScatterPicked, grad_output, indices, input, ctx.input_size, *ctx.scattering)
        return grad_input, *[None] * ctx.others

    @classmethod
    def jvp(cls, ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return call(GatherPicked, input_t, indices, ctx.scattering[1]), None

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor, *rest: Any) -> Any:
        output, indices = call(cls, fold(input, in_dims[0], 0, info.batch_size), *rest)
        return (unfold(output, 0, info.batch_size), unfold(indices, 0, info.batch_size)), (0, 0)


class MaxPool3d(_Maximum):
    """y = max under each window."""

    forward = staticmethod(torch.ops.scratch_conv.max_pool3d.default)

    @staticmethod
    def scattering(input: Tensor, rest: Sequence[Any]) -> tuple[bool, bool]:
        _, gradient_channels_last, _, *window = rest
        return gradient_channels_last, window_of(*window).is_non_overlapping()


class AdaptiveMaxPool(_Maximum):
    """y = max in each bin."""

    forward = staticmethod(torch.ops.scratch_conv.adaptive_max_pool.default)

    @staticmethod
    def scattering(input: Tensor, rest: Sequence[Any]) -> tuple[bool, bool]:
        output_size, channels_last = rest
        if torch.compiler.is_compiling():  # a compiler would compile again for other remainders
            return channels_last, False
        sizes = zip(input.shape[2:], output_size, strict=True)
        return channels_last, all(bool(count) and size % count == 0 for size, count in sizes)


class ScatterPicked(Function):
    """dx[index] += dy: linear in dy; its transpose is the gather.

    The input is an operand too, as in torch, although dx does not depend on it: its derivative is zeros.
    """

    forward = staticmethod(torch.ops.scratch_conv.scatter_picked.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, indices, input, *ctx.rest = inputs
        ctx.input_shape = None if input is None else input.shape
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        to_input = grad.new_zeros(ctx.input_shape) if ctx.needs_input_grad[2] else None
        return call(GatherPicked, grad, indices, ctx.rest[2]), None, to_input, None, None, None

    @staticmethod
    def jvp(ctx: Any, values_t: Tensor | None, *_: Any) -> Any:
        indices, output = ctx.saved_tensors
        if values_t is None:
            return torch.zeros_like(output)
        return call(ScatterPicked, values_t, indices, None, *ctx.rest)

    @staticmethod
    def vmap(info: Any, in_dims: Any, values: Tensor, indices: Tensor, *rest: Any) -> Any:
        folded = fold_into_batch(info, in_dims, values, indices)
        return unfold(call(ScatterPicked, *folded, *rest), 0, info.batch_size), 0


class GatherPicked(Function):
    """y = x[index]: linear in x; its transpose is the scatter."""

    forward = staticmethod(torch.ops.scratch_conv.gather_picked.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, indices, non_overlapping = inputs
        ctx.rest = input.shape[2:], is_channels_last(input), non_overlapping
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        return call(ScatterPicked, grad, indices, None, *ctx.rest), None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return call(GatherPicked, input_t, indices, ctx.rest[2])

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, indices: Tensor, non_overlapping: bool) -> Any:
        folded = fold_into_batch(info, in_dims, input, indices)
        return unfold(call(GatherPicked, *folded, non_overlapping), 0, info.batch_size), 0


for _function in (MaxPool3d, AdaptiveMaxPool, ScatterPicked, GatherPicked):
    register_derivatives(_function)
