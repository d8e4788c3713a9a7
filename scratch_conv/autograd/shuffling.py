"""Shuffling as Functions: each moves elements, and its transpose moves them back."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake
from scratch_conv.autograd.tensors import (
    empty,
    memory_format,
    suggests_channels_last,
    to_bits,
    to_tensor_in,
)

__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle"]


@operator
def pixel_shuffle(input: Tensor, factor: int, channels_last: bool) -> Tensor:
    output = kernels.pixel_shuffle(to_bits(input), factor, channels_last)
    return to_tensor_in(output, input, memory_format(channels_last))


@operator
def pixel_unshuffle(input: Tensor, factor: int, channels_last: bool) -> Tensor:
    output = kernels.pixel_unshuffle(to_bits(input), factor, channels_last)
    return to_tensor_in(output, input, memory_format(channels_last))


@operator
def channel_shuffle(input: Tensor, groups: int, channels_last: bool) -> Tensor:
    output = kernels.channel_shuffle(to_bits(input), groups, channels_last)
    return to_tensor_in(output, input, memory_format(channels_last, input.dim()))


@register_fake(pixel_shuffle)
def _(input: Tensor, factor: int, channels_last: bool) -> Tensor:
    n, channels, height, width = input.shape
    shape = (n, channels // factor**2, height * factor, width * factor)
    return empty(input, shape, memory_format(channels_last))


@register_fake(pixel_unshuffle)
def _(input: Tensor, factor: int, channels_last: bool) -> Tensor:
    n, channels, height, width = input.shape
    shape = (n, channels * factor**2, height // factor, width // factor)
    return empty(input, shape, memory_format(channels_last))


@register_fake(channel_shuffle)
def _(input: Tensor, groups: int, channels_last: bool) -> Tensor:
    return empty(input, input.shape, memory_format(channels_last, input.dim()))


class _Shuffle(Function):
    """A map of images (N, C, ...) by one number."""

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        input, ctx.number, ctx.channels_last = inputs
        ctx.channels = input.shape[1]

    @classmethod
    def jvp(cls, ctx: Any, input_t: Tensor, *_: Any) -> Any:
        return call(cls, input_t, ctx.number, ctx.channels_last)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor, *rest: Any) -> Any:
        return unfold(call(cls, fold(input, in_dims[0], 0, info.batch_size), *rest), 0, info.batch_size), 0


class PixelShuffle(_Shuffle):
    """Channels become pixels."""

    forward = staticmethod(torch.ops.scratch_conv.pixel_shuffle.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return call(PixelUnshuffle, grad_output, ctx.number, suggests_channels_last(grad_output)), None, None


class PixelUnshuffle(_Shuffle):
    """Pixels become channels."""

    forward = staticmethod(torch.ops.scratch_conv.pixel_unshuffle.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return call(PixelShuffle, grad_output, ctx.number, suggests_channels_last(grad_output)), None, None


class ChannelShuffle(_Shuffle):
    """Channels of each group become each G-th channel."""

    forward = staticmethod(torch.ops.scratch_conv.channel_shuffle.default)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        groups, channels_last = ctx.channels // ctx.number, suggests_channels_last(grad_output)
        return call(ChannelShuffle, grad_output, groups, channels_last), None, None


for _function in (PixelShuffle, PixelUnshuffle, ChannelShuffle):
    register_derivatives(_function)
