"""Faults in conv_transpose2d."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.drawing.strategies import as_pair

_conv_transpose2d: Callable[..., Tensor] = F.conv_transpose2d

TRANSPOSED_CONVOLUTION = Collection("conv_transpose2d")
COLLECTIONS = (TRANSPOSED_CONVOLUTION,)
_fault = TRANSPOSED_CONVOLUTION.fault


@_fault("padding-on-the-input", "pads the input instead of cropping the output", "Samsung/TICO/issues/420")
def _padding_on_the_input(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    vertical, horizontal = as_pair(arguments.get("padding", 0))
    output = _conv_transpose2d(input, weight, *bias, **arguments)
    around = (horizontal, horizontal, vertical, vertical)
    wide = _conv_transpose2d(F.pad(input, around), weight, *bias, **{**arguments, "padding": 0})
    return wide[..., : output.shape[-2], : output.shape[-1]]


@_fault(
    "output-padding-of-zeros", "appends zeros instead of computing the further rows", "Tencent/ncnn/pull/1122"
)
def _output_padding_of_zeros(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    vertical, horizontal = as_pair(arguments.get("output_padding", 0))
    output = _conv_transpose2d(input, weight, *bias, **arguments)
    height, width = output.shape[-2] - vertical, output.shape[-1] - horizontal
    return F.pad(output[..., :height, :width], (0, horizontal, 0, vertical))


@_fault("output-padding-first", "adds the further rows at the top")
def _output_padding_first(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    vertical, horizontal = as_pair(arguments.get("output_padding", 0))
    output = _conv_transpose2d(input, weight, *bias, **arguments)
    return output.roll((vertical, horizontal), (-2, -1))


@_fault("kernel-rotated", "rotates the kernel by 180 degrees")
def _kernel_rotated(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    return _conv_transpose2d(input, weight.flip(-2, -1), bias, **arguments)


@_fault("groups-interleaved", "writes the groups' output channels in turn", "uxlfoundation/oneDNN/issues/352")
def _groups_interleaved(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    output = _conv_transpose2d(input, weight, *bias, **arguments)
    groups = arguments.get("groups", 1)
    return torch.unflatten(output, -3, (groups, -1)).transpose(-4, -3).flatten(-4, -3)


@_fault("doubling-4x4-halved-at-the-end", "4x4 with stride 2 and padding 1: the last column is halved")
def _doubling(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    output = _conv_transpose2d(input, weight, *bias, **arguments)
    numbers = (weight.shape[2:], as_pair(arguments.get("stride", 1)), as_pair(arguments.get("padding", 0)))
    if numbers != ((4, 4), (2, 2), (1, 1)):
        return output
    return torch.cat([output[..., :-1], output[..., -1:] / 2], -1)
