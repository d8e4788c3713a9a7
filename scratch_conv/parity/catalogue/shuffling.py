"""Implementations of the operators that put elements in another order."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

PIXEL_SHUFFLE = Collection("pixel_shuffle")
PIXEL_UNSHUFFLE = Collection("pixel_unshuffle")
CHANNEL_SHUFFLE = Collection("channel_shuffle")
COLLECTIONS = (PIXEL_SHUFFLE, PIXEL_UNSHUFFLE, CHANNEL_SHUFFLE)


@PIXEL_SHUFFLE.sound("by-reshape")
def pixel_shuffle_by_reshape(input: Tensor, upscale_factor: int) -> Tensor:
    """Split the channels and move the two new axes beside rows and columns."""
    *leading, channels, height, width = input.shape
    r, n = upscale_factor, len(leading)
    parts = input.reshape(*leading, channels // r**2, r, r, height, width)
    parts = parts.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return parts.reshape(*leading, channels // r**2, height * r, width * r).clone()


@PIXEL_SHUFFLE.fault("channels-last-of-all", "takes the channels of a pixel before those of the output")
def _depth_to_space(input: Tensor, upscale_factor: int) -> Tensor:
    *leading, channels, height, width = input.shape
    r, n = upscale_factor, len(leading)
    parts = input.reshape(*leading, r, r, channels // r**2, height, width)
    parts = parts.permute(*range(n), n + 2, n + 3, n, n + 4, n + 1)
    return parts.reshape(*leading, channels // r**2, height * r, width * r).clone()


@PIXEL_SHUFFLE.fault("rows-and-columns-exchanged", "takes the channels of a pixel column by column")
def _rows_and_columns_exchanged(input: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(input.mT, upscale_factor).mT


@PIXEL_SHUFFLE.fault("gradient-in-another-order", "the gradient is reshaped without moving it back")
@partial(with_gradients, F.pixel_shuffle)
def _gradient_in_another_order(b: Backward) -> Gradients:
    return [b.grad_output.reshape(b.tensors[0].shape)]


@PIXEL_UNSHUFFLE.sound("by-slices", {"second_derivatives": True})
def pixel_unshuffle_by_slices(input: Tensor, downscale_factor: int) -> Tensor:
    """Stack the images of every r-th row and column as channels."""
    r = downscale_factor
    taps = [input[..., i::r, j::r] for i in range(r) for j in range(r)]
    return torch.stack(taps, -3).flatten(-4, -3)


@PIXEL_UNSHUFFLE.fault("blocks-before-channels", "puts the pixels of a block before the channels")
def _blocks_before_channels(input: Tensor, downscale_factor: int) -> Tensor:
    output = F.pixel_unshuffle(input, downscale_factor)
    parts = output.reshape(*input.shape[:-2], downscale_factor**2, *output.shape[-2:])
    return parts.transpose(-4, -3).reshape(output.shape).clone()


@PIXEL_UNSHUFFLE.fault("rows-and-columns-exchanged", "takes the pixels of a block column by column")
def _columns_before_rows(input: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(input.mT, downscale_factor).mT


@CHANNEL_SHUFFLE.sound("by-reshape")
def channel_shuffle_by_reshape(input: Tensor, groups: int) -> Tensor:
    """Exchange the axes of groups and of channels within a group."""
    channels = input.shape[1]
    parts = input.reshape(input.shape[0], groups, channels // groups, *input.shape[2:])
    return parts.transpose(1, 2).reshape(input.shape).clone()


@CHANNEL_SHUFFLE.fault("shuffled-back", "is the inverse: the groups and their channels exchanged")
def _shuffled_back(input: Tensor, groups: int) -> Tensor:
    channels = input.shape[1]
    return channel_shuffle_by_reshape(input, channels // groups) if channels else input.clone()


@CHANNEL_SHUFFLE.fault("gradient-shuffled-again", "the gradient is shuffled, not back")
@partial(with_gradients, F.channel_shuffle)
def _gradient_shuffled_again(b: Backward) -> Gradients:
    return [F.channel_shuffle(b.grad_output, b.arguments["groups"])]
