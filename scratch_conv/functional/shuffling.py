"""Functions that put elements in another order."""

import math
from typing import Any

import torch
from torch import Tensor

from scratch_conv.autograd import (
    ChannelShuffle,
    PixelShuffle,
    PixelUnshuffle,
    call,
    reshaped,
    suggests_channels_last,
)
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, size_of

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


@replaces(torch.pixel_shuffle)
@overridable
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Make pixels of channels, as `torch.nn.functional.pixel_shuffle` does.

    Args:
        input: (*, C·r², H, W), of any dtype.
        upscale_factor: r.

    Returns:
        (*, C, H·r, W·r): pixel (p r + i, q r + j) of channel c is pixel (p, q) of channel (c r + i) r + j.
        It is channels_last where an input of four dimensions is.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the square of the factor is beyond 64 bits.
        RuntimeError: shapes or numbers do not fit, or the input is not on the CPU, or is a channels_last
            volume.
    """
    arguments.tensors("pixel_shuffle", input=input)
    factor = _factor("pixel_shuffle", "upscale_factor", input, upscale_factor)
    if factor**2 >= 2**63:
        raise ValueError(
            f"pixel_shuffle: upscale factor is too large, its square overflowed: {upscale_factor=}"
        )
    if input.shape[-3] % factor**2:
        raise RuntimeError(
            f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
            f"upscale_factor, but input.size(-3)={input.shape[-3]} is not divisible by {factor**2}"
        )
    return _images("pixel_shuffle", PixelShuffle, input, factor)


@replaces(torch.pixel_unshuffle)
@overridable
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Make channels of pixels: the inverse of `pixel_shuffle`, as torch's function of that name.

    Args:
        input: (*, C, H·r, W·r), of any dtype.
        downscale_factor: r.

    Returns:
        (*, C·r², H, W), channels_last where an input of four dimensions is. (Torch 2.14 returns an empty
        input in its own shape.)

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the factor is beyond 64 bits.
        RuntimeError: shapes or numbers do not fit, or the input is not on the CPU, or is a channels_last
            volume.
    """
    arguments.tensors("pixel_unshuffle", input=input)
    factor = _factor("pixel_unshuffle", "downscale_factor", input, downscale_factor)
    for axis, name in ((-2, "height"), (-1, "width")):
        if input.shape[axis] % factor:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, "
                f"but input.size({axis})={input.shape[axis]} is not divisible by {factor}"
            )
    return _images("pixel_unshuffle", PixelUnshuffle, input, factor)


@replaces(torch.channel_shuffle)
@overridable
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Deal out the channels of each group among all groups, as `torch.nn.functional.channel_shuffle` does.

    Args:
        input: (N, C, *) of three or more dimensions, of any dtype.
        groups: G.

    Returns:
        A new tensor of the input's shape and memory format, whose channel k G + g is channel g C/G + k of
        the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the number of groups is beyond 64 bits.
        RuntimeError: shapes or numbers do not fit, or the input is not on the CPU.
    """
    arguments.tensors("channel_shuffle", input=input)
    groups = arguments.integer("channel_shuffle", "groups", groups)
    if input.dim() < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got sizes {size_of(input)}")
    if groups <= 0:
        raise RuntimeError(
            f"channel_shuffle: Number of groups to divide channels in must be positive, but got {groups=}"
        )
    channels = input.shape[1]
    if channels % groups:
        raise RuntimeError(
            f"channel_shuffle: Number of channels must be divisible by groups. Got {channels} channels and "
            f"{groups} groups."
        )
    if input.numel() == 0:
        return input.clone()
    if input.dim() > arguments.MOST_DIMENSIONS - 1:
        rows = call(ChannelShuffle, input.reshape(*input.shape[:2], -1), groups, False)
        return reshaped(rows, input.shape)
    output: Tensor = call(ChannelShuffle, input, groups, suggests_channels_last(input))
    return output


def _factor(function: str, name: str, input: Tensor, value: Any) -> int:
    factor = arguments.integer(function, name, value, strict=True)
    if input.dim() < 3:
        raise RuntimeError(
            f"{function} expects input to have at least 3 dimensions, "
            f"but got input with {input.dim()} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"{function} expects a positive {name}, but got {factor}")
    return factor


def _images(name: str, function: Any, input: Tensor, factor: int) -> Tensor:
    """Call a Function of images (N, C, H, W) with those of any leading shape."""
    if name == "pixel_shuffle":
        arguments.output_size(name, *(size or 1 for size in input.shape), factor, factor)
    channels_last = suggests_channels_last(input)
    if input.dim() == 4:
        images: Tensor = call(function, input, factor, channels_last)
        return images
    if channels_last and input.numel():
        raise RuntimeError(f"{name}: Unsupported memory format. Supports only ChannelsLast, Contiguous")
    leading = input.shape[:-3]
    output = call(function, input.reshape(math.prod(leading), *input.shape[-3:]), factor, False)
    return reshaped(output, (*leading, *output.shape[1:]))
