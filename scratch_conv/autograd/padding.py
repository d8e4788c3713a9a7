"""Padding as Functions. Each is linear in the input; their transposes are cropping, and sums at the edges.

The `padding` is torch's: two numbers for the last axis, two for the one before it, and so on.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake
from scratch_conv.autograd.tensors import (
    empty,
    memory_format,
    suggests_channels_last,
    to_array,
    to_bits,
    to_tensor_in,
    to_tensor_like,
)
from scratch_conv.kernels.windows import Padding

__all__ = ["Pad", "PadEdges"]

_OF_NUMPY = (torch.float32, torch.float64, torch.complex64, torch.complex128)
"""The dtypes to which NumPy rounds a number as torch does; whole ones it would refuse to cut off."""


@operator
def pad_constant(input: Tensor, padding: Sequence[int], value: float, channels_last: bool) -> Tensor:
    array, pairs = to_bits(input), _by_axis(input, padding)
    if max(padding, default=0) <= 0:
        return to_tensor_like(kernels.crop(array, pairs), _cropped(input, padding))
    exact = input.dtype in _OF_NUMPY
    filling = value if exact else to_bits(torch.tensor(value, dtype=input.dtype))[()]
    output = kernels.pad_constant(array, pairs, filling, channels_last)
    return to_tensor_in(output, input, memory_format(channels_last, input.dim()))


@operator
def pad_edges(input: Tensor, padding: Sequence[int], mode: str, channels_last: bool) -> Tensor:
    output = kernels.pad_edges(to_bits(input), _by_axis(input, padding), mode, channels_last)
    return to_tensor_in(output, input, memory_format(channels_last, input.dim()))


@operator
def pad_edges_grad(
    grad_output: Tensor,
    input: Tensor | None,
    input_size: Sequence[int],
    padding: Sequence[int],
    mode: str,
    channels_last: bool,
) -> Tensor:
    grads, pairs = to_array(grad_output), _by_axis(grad_output, padding)
    grad_input = kernels.pad_edges_grad(grads, tuple(input_size), pairs, mode, channels_last)
    return to_tensor_in(grad_input, grad_output, memory_format(channels_last, grad_output.dim()))


def _by_axis(tensor: Tensor, padding: Sequence[int]) -> Padding:
    """Return a pair for each axis, the first one's first."""
    pairs = [(padding[place], padding[place + 1]) for place in range(len(padding) - 2, -1, -2)]
    return (*((0, 0),) * (tensor.dim() - len(pairs)), *pairs)


def _cropped(input: Tensor, padding: Sequence[int]) -> Tensor:
    """Return the view of which torch's result, where nothing is padded, is a copy."""
    for axis, (before, after) in enumerate(_by_axis(input, padding)):
        if before or after:
            input = input.narrow(axis, -before, input.shape[axis] + before + after)
    return input


@register_fake(pad_constant)
def _(input: Tensor, padding: Sequence[int], value: float, channels_last: bool) -> Tensor:
    if max(padding, default=0) <= 0:
        return torch.empty_like(_cropped(input, padding))
    return empty(input, _padded(input, padding), memory_format(channels_last, input.dim()))


@register_fake(pad_edges)
def _(input: Tensor, padding: Sequence[int], mode: str, channels_last: bool) -> Tensor:
    return empty(input, _padded(input, padding), memory_format(channels_last, input.dim()))


@register_fake(pad_edges_grad)
def _(
    grad_output: Tensor,
    input: Tensor | None,
    input_size: Sequence[int],
    padding: Sequence[int],
    mode: str,
    channels_last: bool,
) -> Tensor:
    return empty(grad_output, input_size, memory_format(channels_last, grad_output.dim()))


def _padded(input: Tensor, padding: Sequence[int]) -> list[int]:
    axes = zip(input.shape, _by_axis(input, padding), strict=True)
    return [before + size + after for size, (before, after) in axes]


def _in_front(info: Any, dim: int | None, tensor: Tensor) -> Tensor:
    """Return a tensor whose vmapped dimension is the first: padding counts axes from the last."""
    if dim is None:
        return tensor.expand(info.batch_size, *tensor.shape)
    return tensor.movedim(dim, 0)


class Pad(Function):
    """y = x, and a value around it; negative padding crops, and so does the transpose of positive padding."""

    forward = staticmethod(torch.ops.scratch_conv.pad_constant.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.padding, _, ctx.channels_last = inputs

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        negated = [-each for each in ctx.padding]
        return call(Pad, grad_output, negated, 0.0, suggests_channels_last(grad_output)), None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        return call(Pad, input_t, ctx.padding, 0.0, ctx.channels_last)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, padding: Any, value: float, *_: Any) -> Any:
        return call(Pad, _in_front(info, in_dims[0], input), padding, value, False), 0


class PadEdges(Function):
    """y = x, and around it its own elements by a mode: reflect, replicate or circular."""

    forward = staticmethod(torch.ops.scratch_conv.pad_edges.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, *ctx.rest = inputs
        ctx.input_size = input.shape
        # To torch, circular padding consists of copies, which save no number; but like a graph that has saved
        # something they serve one backward pass.
        ctx.saves = ctx.rest[1] != "circular"
        ctx.save_for_backward(input if ctx.saves else input.new_empty(0))

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (input,) = ctx.saved_tensors
        input = input if ctx.saves else None
        return call(PadEdgesGrad, grad_output, input, ctx.input_size, *ctx.rest), None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        return call(PadEdges, input_t, *ctx.rest)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, padding: Any, mode: str, *_: Any) -> Any:
        return call(PadEdges, _in_front(info, in_dims[0], input), padding, mode, False), 0


class PadEdgesGrad(Function):
    """dx = Σ dy over the elements of y that are the same one of x: linear in dy."""

    forward = staticmethod(torch.ops.scratch_conv.pad_edges_grad.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, input, ctx.input_size, *ctx.rest = inputs
        ctx.input_shape = None if input is None else input.shape
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        padding, mode, _ = ctx.rest
        channels_last = mode != "circular" and suggests_channels_last(grad)
        to_grad_output = call(PadEdges, grad, padding, mode, channels_last)
        to_input = grad.new_zeros(ctx.input_shape) if ctx.needs_input_grad[1] else None
        return to_grad_output, to_input, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, grad_output_t: Tensor | None, *_: Any) -> Any:
        if grad_output_t is None:
            return torch.zeros_like(ctx.saved_tensors[0])
        return call(PadEdgesGrad, grad_output_t, None, ctx.input_size, *ctx.rest)

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad_output: Tensor, input: Any, input_size: Any, *rest: Any) -> Any:
        padding, mode, _ = rest
        grads = _in_front(info, in_dims[0], grad_output)
        if input is not None:  # whose gradient is zeros for each sample
            input = _in_front(info, in_dims[1], input)
        size = [info.batch_size, *input_size]
        return call(PadEdgesGrad, grads, input, size, padding, mode, False), 0


for _function in (Pad, PadEdges, PadEdgesGrad):
    register_derivatives(_function)
