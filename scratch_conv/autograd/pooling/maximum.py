"""Max pooling as Functions: a scatter and a gather by the same indices, each the other's derivative.

The window is passed as flat arguments, as operators' schemas require: kernel_size (2), stride (2), padding
(4: top, bottom, left, right), dilation (2).

Tensors are batched: input (N, C, H, W), output and indices (N, C, OH, OW).
An index is row · W + column in int32, which takes half the memory of torch's int64.
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
    common_memory_format,
    empty,
    is_channels_last,
    memory_format,
    to_array,
    to_tensor,
)

__all__ = ["MaxPool2d", "max_pool2d_indices"]


@operator
def max_pool2d(
    input: Tensor,
    ceil_mode: bool,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Tensor, Tensor]:
    window = window_of(kernel_size, stride, padding, dilation)
    output, indices = kernels.max_pool2d(to_array(input), window, ceil_mode)
    format = common_memory_format(input)
    return to_tensor(output, input, format), to_tensor(indices, None, format)


@operator
def max_pool2d_scatter(
    grad_output: Tensor,
    indices: Tensor,
    input: Tensor | None,
    input_size: Sequence[int],
    channels_last: bool,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    window = window_of(kernel_size, stride, padding, dilation)
    size = (input_size[0], input_size[1])
    grad_input = kernels.max_pool2d_scatter(to_array(grad_output), to_array(indices), size, window)
    return to_tensor(grad_input, grad_output, memory_format(channels_last))


@operator
def max_pool2d_gather(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    window = window_of(kernel_size, stride, padding, dilation)
    return to_tensor(kernels.max_pool2d_gather(to_array(input), to_array(indices), window), input)


@operator
def max_pool2d_indices(indices: Tensor) -> Tensor:
    widened = kernels.max_pool2d_indices(to_array(indices))
    return to_tensor(widened, None, common_memory_format(indices))


@register_fake(max_pool2d)
def _(input: Any, ceil_mode: bool, *window: Any) -> tuple[Tensor, Tensor]:
    described = window_of(*window)
    size = (*input.shape[:2], *described.output_size(input.shape[2:], ceil_mode))
    format = common_memory_format(input)
    return empty(input, size, format), empty(input, size, format, torch.int32)


@register_fake(max_pool2d_scatter)
def _(
    grad_output: Any, indices: Any, input: Any, input_size: Any, channels_last: bool, *window: Any
) -> Tensor:
    return empty(grad_output, (*grad_output.shape[:2], *input_size), memory_format(channels_last))


@register_fake(max_pool2d_gather)
def _(input: Any, indices: Any, *window: Any) -> Tensor:
    return input.new_empty(indices.shape)


@register_fake(max_pool2d_indices)
def _(indices: Any) -> Tensor:
    return empty(indices, indices.shape, common_memory_format(indices), torch.int64)


@max_pool2d_indices.register_vmap
def _(info: Any, in_dims: Any, indices: Tensor) -> Any:
    widened = torch.ops.scratch_conv.max_pool2d_indices(fold(indices, in_dims[0], 0, info.batch_size))
    return unfold(widened, 0, info.batch_size), 0


class MaxPool2d(Function):
    """y = max under each window: dx = scatter(dy) to the indices of the maxima."""

    forward = staticmethod(torch.ops.scratch_conv.max_pool2d.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, _, *ctx.window = inputs
        _, indices = output
        ctx.input_size, ctx.channels_last = input.shape[2:], is_channels_last(input)
        ctx.mark_non_differentiable(indices)
        ctx.set_materialize_grads(False)  # zeros for the indices took a third of the backward pass
        ctx.save_for_backward(input, indices)
        ctx.save_for_forward(indices)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, _: Any) -> Any:
        input, indices = ctx.saved_tensors
        size = (ctx.input_size, ctx.channels_last)
        grad_input = call(MaxPool2dScatter, grad_output, indices, input, *size, *ctx.window)
        return grad_input, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return call(MaxPool2dGather, input_t, indices, *ctx.window), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, *rest: Any) -> Any:
        output, indices = call(MaxPool2d, fold(input, in_dims[0], 0, info.batch_size), *rest)
        return (unfold(output, 0, info.batch_size), unfold(indices, 0, info.batch_size)), (0, 0)


class MaxPool2dScatter(Function):
    """dx[index of the maximum] += dy: linear in dy; its transpose is the gather.

    The input is an operand too, as in torch, although dx does not depend on it: its derivative is zeros.
    """

    forward = staticmethod(torch.ops.scratch_conv.max_pool2d_scatter.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, indices, input, *ctx.rest = inputs
        ctx.input_shape = None if input is None else input.shape
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        _, _, *window = ctx.rest
        to_input = grad.new_zeros(ctx.input_shape) if ctx.needs_input_grad[2] else None
        nothing = (None,) * len(ctx.rest)
        return call(MaxPool2dGather, grad, indices, *window), None, to_input, *nothing

    @staticmethod
    def jvp(ctx: Any, grad_output_t: Tensor | None, *_: Any) -> Any:
        indices, output = ctx.saved_tensors
        if grad_output_t is None:
            return torch.zeros_like(output)
        return call(MaxPool2dScatter, grad_output_t, indices, None, *ctx.rest)

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad_output: Tensor, indices: Tensor, *rest: Any) -> Any:
        folded = fold_into_batch(info, in_dims, grad_output, indices)
        return unfold(call(MaxPool2dScatter, *folded, *rest), 0, info.batch_size), 0


class MaxPool2dGather(Function):
    """y = x[index of the maximum]: linear in x; its transpose is the scatter."""

    forward = staticmethod(torch.ops.scratch_conv.max_pool2d_gather.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, indices, *ctx.window = inputs
        ctx.input_size, ctx.channels_last = input.shape[2:], is_channels_last(input)
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        size = (ctx.input_size, ctx.channels_last)
        grad_input = call(MaxPool2dScatter, grad, indices, None, *size, *ctx.window)
        return grad_input, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return call(MaxPool2dGather, input_t, indices, *ctx.window)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, indices: Tensor, *window: Any) -> Any:
        folded = fold_into_batch(info, in_dims, input, indices)
        return unfold(call(MaxPool2dGather, *folded, *window), 0, info.batch_size), 0


for _function in (MaxPool2d, MaxPool2dScatter, MaxPool2dGather):
    register_derivatives(_function)
