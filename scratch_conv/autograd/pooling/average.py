"""Average pooling as Functions: linear maps in pairs, each the other's transpose and so its derivative.

Every operator takes the values, the size (H, W) of its result and whether that is channels_last; for windows
of one size also what they are: count_include_pad, divisor_override, kernel_size (2), stride (2), padding (4:
top, bottom, left, right). Tensors are batched: input (N, C, H, W), output (N, C, OH, OW).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import call, operator, register_derivatives, window_of
from scratch_conv.autograd.tensors import empty, memory_format, to_array, to_tensor

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d"]


@operator
def avg_pool2d(
    input: Tensor,
    output_size: Sequence[int],
    channels_last: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    window, size = window_of(kernel_size, stride, padding, (1, 1)), (output_size[0], output_size[1])
    output = kernels.avg_pool2d(to_array(input), size, window, count_include_pad, divisor_override)
    return to_tensor(output, input, memory_format(channels_last))


@operator
def avg_pool2d_grad_input(
    grad_output: Tensor,
    input_size: Sequence[int],
    channels_last: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    window, size = window_of(kernel_size, stride, padding, (1, 1)), (input_size[0], input_size[1])
    arguments = (size, window, count_include_pad, divisor_override)
    grad_input = kernels.avg_pool2d_grad_input(to_array(grad_output), *arguments)
    return to_tensor(grad_input, grad_output, memory_format(channels_last))


@operator
def adaptive_avg_pool2d(input: Tensor, output_size: Sequence[int], channels_last: bool) -> Tensor:
    output = kernels.adaptive_avg_pool2d(to_array(input), (output_size[0], output_size[1]))
    return to_tensor(output, input, memory_format(channels_last))


@operator
def adaptive_avg_pool2d_grad_input(
    grad_output: Tensor, input_size: Sequence[int], channels_last: bool
) -> Tensor:
    size = (input_size[0], input_size[1])
    grad_input = kernels.adaptive_avg_pool2d_grad_input(to_array(grad_output), size)
    return to_tensor(grad_input, grad_output, memory_format(channels_last))


def _of_that_size(values: Any, size: Any, channels_last: bool, *window: Any) -> Tensor:
    return empty(values, (*values.shape[:2], *size), memory_format(channels_last))


for _operator in (avg_pool2d, avg_pool2d_grad_input, adaptive_avg_pool2d, adaptive_avg_pool2d_grad_input):
    _operator.register_fake(_of_that_size)


class _Linear(Function):
    """A map that is linear in its values, with a result of a given size; `transpose` is its transpose."""

    transpose: type[Function]

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        values, _, *ctx.window = inputs
        ctx.input_size, ctx.output_size = values.shape[2:], output.shape[2:]

    @classmethod
    def backward(cls, ctx: Any, grad: Tensor) -> Any:
        grad_values = call(cls.transpose, grad, ctx.input_size, *ctx.window)
        return grad_values, None, *(None for _ in ctx.window)

    @classmethod
    def jvp(cls, ctx: Any, values_t: Tensor, *_: Any) -> Any:
        return call(cls, values_t, ctx.output_size, *ctx.window)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, values: Tensor, *rest: Any) -> Any:
        return unfold(call(cls, fold(values, in_dims[0], 0, info.batch_size), *rest), 0, info.batch_size), 0


class AvgPool2d(_Linear):
    """y = Σ x / divisor under each window."""

    forward = staticmethod(torch.ops.scratch_conv.avg_pool2d.default)


class AvgPool2dGradInput(_Linear):
    """dx = Σ dy / divisor over the windows that a pixel lies under."""

    forward = staticmethod(torch.ops.scratch_conv.avg_pool2d_grad_input.default)


class AdaptiveAvgPool2d(_Linear):
    """y = Σ x / area in each bin."""

    forward = staticmethod(torch.ops.scratch_conv.adaptive_avg_pool2d.default)

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        super().setup_context(ctx, inputs, output)
        if tuple(ctx.output_size) == (1, 1):
            ctx.window = [False]  # to torch this is a mean, whose gradient is contiguous


class AdaptiveAvgPool2dGradInput(_Linear):
    """dx = Σ dy / area over the bins that a pixel lies in."""

    forward = staticmethod(torch.ops.scratch_conv.adaptive_avg_pool2d_grad_input.default)


for _one, _other in ((AvgPool2d, AvgPool2dGradInput), (AdaptiveAvgPool2d, AdaptiveAvgPool2dGradInput)):
    _one.transpose, _other.transpose = _other, _one
    register_derivatives(_one)
    register_derivatives(_other)
