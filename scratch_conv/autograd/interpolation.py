"""Interpolation as two Functions: linear maps, each the other's transpose and so its derivative.

As in torch, they save nothing: neither depends on the values of its operand.

Both operators take the values, the size of their result and whether that is channels_last, and how images are
interpolated, the fields of `kernels.Resizing`. Tensors are (N, C, *sizes), with one to three axes after C.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake
from scratch_conv.autograd.tensors import empty, suggests_channels_last, to_array, to_tensor
from scratch_conv.kernels.windows import Array

__all__ = ["Interpolate"]

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@operator
def interpolate(
    input: Tensor,
    output_size: Sequence[int],
    channels_last: bool,
    mode: str,
    align_corners: bool,
    antialias: bool,
    scales: Sequence[float],
    in_float32: bool,
) -> Tensor:
    resizing = _resizing(mode, align_corners, antialias, scales, in_float32)
    output = kernels.interpolate(_images(input, channels_last), tuple(output_size), resizing)
    return _of_images(output, input, channels_last)


@operator
def interpolate_grad_input(
    grad_output: Tensor,
    input_size: Sequence[int],
    channels_last: bool,
    mode: str,
    align_corners: bool,
    antialias: bool,
    scales: Sequence[float],
    in_float32: bool,
) -> Tensor:
    resizing = _resizing(mode, align_corners, antialias, scales, in_float32)
    images = _images(grad_output, channels_last)
    return _of_images(
        kernels.interpolate_grad_input(images, tuple(input_size), resizing), grad_output, channels_last
    )


def _resizing(
    mode: Any, align_corners: bool, antialias: bool, scales: Sequence[float], in_float32: bool
) -> kernels.Resizing:
    return kernels.Resizing(mode, align_corners, antialias, tuple(scales), in_float32)


def _images(tensor: Tensor, channels_last: bool) -> Array:
    """Return (N, *sizes, C) without a copy where that is the order in memory, else (N·C, *sizes, 1)."""
    array = to_array(tensor)
    if channels_last:
        return np.moveaxis(array, 1, -1)
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:], 1)


def _of_images(images: Array, like: Tensor, channels_last: bool) -> Tensor:
    """Wrap images as a tensor (N, C, *sizes) with the batch and the channels of another."""
    if not channels_last:
        return to_tensor(images.reshape(*like.shape[:2], *images.shape[1:-1]), like)
    tensor = torch.from_numpy(np.moveaxis(images, -1, 1))
    return tensor.to(like.dtype, memory_format=_CHANNELS_LAST[tensor.dim()])


def _of_that_size(values: Tensor, size: Sequence[int], channels_last: bool, *rest: Any) -> Tensor:
    format = _CHANNELS_LAST[values.dim()] if channels_last else torch.contiguous_format
    return empty(values, (*values.shape[:2], *size), format)


for _operator in (interpolate, interpolate_grad_input):
    register_fake(_operator)(_of_that_size)


def _gradients_are_channels_last(grad_output: Tensor, mode: str) -> bool:
    """Return whether torch's gradient is: by the layout of the incoming one, where it looks at that."""
    looked_at = ("linear", "nearest", "nearest-exact") if grad_output.dim() == 4 else ("linear",)
    return mode in looked_at and suggests_channels_last(grad_output)


class Interpolate(Function):
    """y = W x along each axis."""

    forward = staticmethod(torch.ops.scratch_conv.interpolate.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, ctx.output_size, _, *ctx.resizing = inputs
        ctx.input_size = input.shape[2:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        channels_last = _gradients_are_channels_last(grad, ctx.resizing[0])
        grad_input = call(InterpolateGradInput, grad, ctx.input_size, channels_last, *ctx.resizing)
        return grad_input, *[None] * 7

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        return call(Interpolate, input_t, ctx.output_size, suggests_channels_last(input_t), *ctx.resizing)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, images: Tensor, *rest: Any) -> Any:
        return unfold(call(cls, fold(images, in_dims[0], 0, info.batch_size), *rest), 0, info.batch_size), 0


class InterpolateGradInput(Function):
    """dx = Wᵀ dy along each axis: linear in dy."""

    forward = staticmethod(torch.ops.scratch_conv.interpolate_grad_input.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        grad_output, ctx.input_size, ctx.channels_last, *ctx.resizing = inputs
        ctx.output_size = grad_output.shape[2:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        output = call(Interpolate, grad, ctx.output_size, suggests_channels_last(grad), *ctx.resizing)
        return output, *[None] * 7

    @staticmethod
    def jvp(ctx: Any, grad_output_t: Tensor, *_: Any) -> Any:
        return call(InterpolateGradInput, grad_output_t, ctx.input_size, ctx.channels_last, *ctx.resizing)

    vmap = Interpolate.__dict__["vmap"]


for _function in (Interpolate, InterpolateGradInput):
    register_derivatives(_function)
