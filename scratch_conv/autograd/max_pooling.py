"""Max pooling as Functions: a scatter and a gather by the same indices, each the other's derivative.

Tensors are batched: input (N, C, H, W), output and indices (N, C, OH, OW), indices int64.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.operators import call, fold, register_derivatives, unfold
from scratch_conv.autograd.tensors import to_array, to_tensor
from scratch_conv.kernels.geometry import Pair


def max_pool2d(
    input: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> tuple[Tensor, Tensor]:
    """Take the maximum under each window, differentiably: gives the output and its indices."""
    output, indices = call(MaxPool2d, input, kernel_size, stride, padding, dilation, ceil_mode)
    return output, indices


@torch.library.custom_op("scratch_conv::max_pool2d", mutates_args=())
def max_pool2d_operator(
    input: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> tuple[Tensor, Tensor]:
    window = _pair(kernel_size), _pair(stride), _pair(padding), _pair(dilation)
    output, indices = kernels.max_pool2d(to_array(input), *window, ceil_mode)
    return to_tensor(output, input.dtype), torch.from_numpy(indices)


@torch.library.custom_op("scratch_conv::max_pool2d_scatter", mutates_args=())
def max_pool2d_scatter_operator(
    grad_output: Tensor,
    indices: Tensor,
    input_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    window = _pair(kernel_size), _pair(stride), _pair(padding), _pair(dilation)
    grad_input = kernels.max_pool2d_scatter(
        to_array(grad_output), to_array(indices), _pair(input_size), *window
    )
    return to_tensor(grad_input, grad_output.dtype)


@torch.library.custom_op("scratch_conv::max_pool2d_gather", mutates_args=())
def max_pool2d_gather_operator(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    return to_tensor(kernels.max_pool2d_gather(to_array(input), to_array(indices)), input.dtype)


@max_pool2d_operator.register_fake
def _(
    input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    size = kernels.max_pool2d_output_size(input.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    output = input.new_empty(*input.shape[:2], *size)
    return output, torch.empty_like(output, dtype=torch.int64)


@max_pool2d_scatter_operator.register_fake
def _(grad_output: Any, indices: Any, input_size: Any, *window: Any) -> Tensor:
    return grad_output.new_empty(*grad_output.shape[:2], *input_size)


@max_pool2d_gather_operator.register_fake
def _(input: Any, indices: Any, *window: Any) -> Tensor:
    return input.new_empty(indices.shape)


class MaxPool2d(Function):
    """y = max under each window: dx = scatter(dy) by the indices of the maxima."""

    forward = staticmethod(torch.ops.scratch_conv.max_pool2d.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, *ctx.window, _ = inputs
        _, indices = output
        ctx.input_size = input.shape[2:]
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, _: Any) -> Any:
        (indices,) = ctx.saved_tensors
        grad_input = call(MaxPool2dScatter, grad_output, indices, ctx.input_size, *ctx.window)
        return grad_input, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return call(MaxPool2dGather, input_t, indices, *ctx.window), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, *window: Any) -> Any:
        folded = fold(input, in_dims[0], 0, info.batch_size)
        output, indices = call(MaxPool2d, folded, *window)
        return (unfold(output, 0, info.batch_size), unfold(indices, 0, info.batch_size)), (0, 0)


class MaxPool2dScatter(Function):
    """dx[index] += dy: linear in dy, its transpose is the gather."""

    forward = staticmethod(torch.ops.scratch_conv.max_pool2d_scatter.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, indices, ctx.input_size, *ctx.window = inputs
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        return call(MaxPool2dGather, grad, indices, *ctx.window), None, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, grad_output_t: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return call(MaxPool2dScatter, grad_output_t, indices, ctx.input_size, *ctx.window)

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad_output: Tensor, indices: Tensor, *rest: Any) -> Any:
        size, (grad_dim, indices_dim, *_) = info.batch_size, in_dims
        folded = fold(grad_output, grad_dim, 0, size), fold(indices, indices_dim, 0, size)
        return unfold(call(MaxPool2dScatter, *folded, *rest), 0, size), 0


class MaxPool2dGather(Function):
    """y = x[index]: linear in x, its transpose is the scatter."""

    forward = staticmethod(torch.ops.scratch_conv.max_pool2d_gather.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, indices, *ctx.window = inputs
        ctx.input_size = input.shape[2:]
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        grad_input = call(MaxPool2dScatter, grad, indices, ctx.input_size, *ctx.window)
        return grad_input, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return call(MaxPool2dGather, input_t, indices, *ctx.window)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, indices: Tensor, *window: Any) -> Any:
        size, (input_dim, indices_dim, *_) = info.batch_size, in_dims
        folded = fold(input, input_dim, 0, size), fold(indices, indices_dim, 0, size)
        return unfold(call(MaxPool2dGather, *folded, *window), 0, size), 0


def _pair(values: Sequence[int]) -> Pair:
    return values[0], values[1]


for _function in (MaxPool2d, MaxPool2dScatter, MaxPool2dGather):
    register_derivatives(_function)
