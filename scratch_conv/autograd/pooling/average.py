"""Average pooling as Functions: linear maps in pairs, each the other's transpose and so its derivative.

As torch does, they save the input, although only its size is needed: it is an operand of the gradient, which
does not depend on it, so that its derivative is zeros rather than missing.

Every operator takes the values, the size (H, W) of its result and whether that is channels_last; for windows
of one size also what they are: count_include_pad, divisor_override, kernel_size (2), stride (2), padding (4:
top, bottom, left, right). Tensors are batched: input (N, C, H, W), output (N, C, OH, OW). Those of volumes
have a depth before the height.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake, window_of
from scratch_conv.autograd.tensors import empty, memory_format, to_array, to_tensor

__all__ = ["AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AvgPool2d", "AvgPool3d"]


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
    input: Tensor | None,
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
    grad_output: Tensor, input: Tensor | None, input_size: Sequence[int], channels_last: bool
) -> Tensor:
    _refuse_empty("adaptive_avg_pool2d", grad_output)
    size = (input_size[0], input_size[1])
    grad_input = kernels.adaptive_avg_pool2d_grad_input(to_array(grad_output), size)
    return to_tensor(grad_input, grad_output, memory_format(channels_last))


@operator
def avg_pool3d(
    input: Tensor,
    output_size: Sequence[int],
    channels_last: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    window = window_of(kernel_size, stride, padding, (1, 1, 1))
    arguments = (tuple(output_size), window, count_include_pad, divisor_override)
    return to_tensor(kernels.avg_pool3d(to_array(input), *arguments), input, memory_format(channels_last, 5))


@operator
def avg_pool3d_grad_input(
    grad_output: Tensor,
    input: Tensor | None,
    input_size: Sequence[int],
    channels_last: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    window = window_of(kernel_size, stride, padding, (1, 1, 1))
    arguments = (tuple(input_size), window, count_include_pad, divisor_override)
    grad_input = kernels.avg_pool3d_grad_input(to_array(grad_output), *arguments)
    return to_tensor(grad_input, grad_output, memory_format(channels_last, 5))


@operator
def adaptive_avg_pool3d(input: Tensor, output_size: Sequence[int], channels_last: bool) -> Tensor:
    output = kernels.adaptive_avg_pool3d(to_array(input), tuple(output_size))
    return to_tensor(output, input, memory_format(channels_last, 5))


@operator
def adaptive_avg_pool3d_grad_input(
    grad_output: Tensor, input: Tensor | None, input_size: Sequence[int], channels_last: bool
) -> Tensor:
    _refuse_empty("adaptive_avg_pool3d", grad_output)
    grad_input = kernels.adaptive_avg_pool3d_grad_input(to_array(grad_output), tuple(input_size))
    return to_tensor(grad_input, grad_output, memory_format(channels_last, 5))


def _refuse_empty(function: str, grad_output: Tensor) -> None:
    if 0 in grad_output.shape[2:]:
        raise RuntimeError(
            f"{function}: Expected grad_output to have non-zero size for non-batch dimensions, "
            f"but got {tuple(grad_output.shape[2:])}"
        )


def _of_that_size(values: Any, size: Any, channels_last: bool, *window: Any) -> Tensor:
    return empty(values, (*values.shape[:2], *size), memory_format(channels_last, values.dim()))


def _of_input_size(grad_output: Any, input: Any, *rest: Any) -> Tensor:
    return _of_that_size(grad_output, *rest)


for _operator, _result in (
    (avg_pool2d, _of_that_size),
    (avg_pool2d_grad_input, _of_input_size),
    (adaptive_avg_pool2d, _of_that_size),
    (adaptive_avg_pool2d_grad_input, _of_input_size),
    (avg_pool3d, _of_that_size),
    (avg_pool3d_grad_input, _of_input_size),
    (adaptive_avg_pool3d, _of_that_size),
    (adaptive_avg_pool3d_grad_input, _of_input_size),
):
    register_fake(_operator)(_result)


class _Average(Function):
    """A map to averages; `grad_input` is its transpose."""

    grad_input: type[Function]

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        input, ctx.output_size, *ctx.window = inputs
        ctx.input_size, ctx.is_mean = input.shape[2:], False
        ctx.save_for_backward(input)

    @classmethod
    def backward(cls, ctx: Any, grad: Tensor) -> Any:
        input = None if ctx.is_mean else ctx.saved_tensors[0]
        grad_input = call(cls.grad_input, grad, input, ctx.input_size, *ctx.window)
        return grad_input, None, *(None for _ in ctx.window)

    @classmethod
    def jvp(cls, ctx: Any, input_t: Tensor, *_: Any) -> Any:
        return call(cls, input_t, ctx.output_size, *ctx.window)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor, *rest: Any) -> Any:
        return unfold(call(cls, fold(input, in_dims[0], 0, info.batch_size), *rest), 0, info.batch_size), 0


class _GradInput(Function):
    """The gradient of averages with respect to the input: linear in the one that comes in."""

    average: type[Function]

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        grad_output, input, ctx.input_size, *ctx.window = inputs
        ctx.output_size, ctx.input_shape = grad_output.shape[2:], None if input is None else input.shape
        ctx.save_for_forward(output)

    @classmethod
    def backward(cls, ctx: Any, grad: Tensor) -> Any:
        to_grad_output = call(cls.average, grad, ctx.output_size, *ctx.window)
        to_input = grad.new_zeros(ctx.input_shape) if ctx.needs_input_grad[1] else None
        return to_grad_output, to_input, None, *(None for _ in ctx.window)

    @classmethod
    def jvp(cls, ctx: Any, grad_output_t: Tensor | None, *_: Any) -> Any:
        if grad_output_t is None:
            return torch.zeros_like(ctx.saved_tensors[0])
        return call(cls, grad_output_t, None, ctx.input_size, *ctx.window)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, grad_output: Tensor, input: Tensor | None, *rest: Any) -> Any:
        folded = fold(grad_output, in_dims[0], 0, info.batch_size)
        return unfold(call(cls, folded, input, *rest), 0, info.batch_size), 0


class AvgPool2d(_Average):
    """y = Σ x / divisor under each window."""

    forward = staticmethod(torch.ops.scratch_conv.avg_pool2d.default)


class AvgPool2dGradInput(_GradInput):
    """dx = Σ dy / divisor over the windows that a pixel lies under."""

    forward = staticmethod(torch.ops.scratch_conv.avg_pool2d_grad_input.default)


class _AdaptiveAverage(_Average):
    """A map to the averages of bins."""

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        if any(size != 1 for size in output.shape[2:]):
            super().setup_context(ctx, inputs, output)
            return
        # To torch this is a mean, which saves no input and whose gradient is contiguous.
        input, ctx.output_size, *_ = inputs
        ctx.input_size, ctx.is_mean, ctx.window = input.shape[2:], True, [False]


class AdaptiveAvgPool2d(_AdaptiveAverage):
    """y = Σ x / area in each bin."""

    forward = staticmethod(torch.ops.scratch_conv.adaptive_avg_pool2d.default)


class AdaptiveAvgPool2dGradInput(_GradInput):
    """dx = Σ dy / area over the bins that a pixel lies in."""

    forward = staticmethod(torch.ops.scratch_conv.adaptive_avg_pool2d_grad_input.default)


class AvgPool3d(_Average):
    """y = Σ x / divisor under each window."""

    forward = staticmethod(torch.ops.scratch_conv.avg_pool3d.default)


class AvgPool3dGradInput(_GradInput):
    """dx = Σ dy / divisor over the windows that a pixel lies under."""

    forward = staticmethod(torch.ops.scratch_conv.avg_pool3d_grad_input.default)


class AdaptiveAvgPool3d(_AdaptiveAverage):
    """y = Σ x / volume in each bin."""

    forward = staticmethod(torch.ops.scratch_conv.adaptive_avg_pool3d.default)


class AdaptiveAvgPool3dGradInput(_GradInput):
    """dx = Σ dy / volume over the bins that a pixel lies in."""

    forward = staticmethod(torch.ops.scratch_conv.adaptive_avg_pool3d_grad_input.default)


for _average, _grad_input in (
    (AvgPool2d, AvgPool2dGradInput),
    (AdaptiveAvgPool2d, AdaptiveAvgPool2dGradInput),
    (AvgPool3d, AvgPool3dGradInput),
    (AdaptiveAvgPool3d, AdaptiveAvgPool3dGradInput),
):
    _average.grad_input, _grad_input.average = _grad_input, _average
    register_derivatives(_average)
    register_derivatives(_grad_input)
