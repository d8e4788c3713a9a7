"""Implementations of conv_transpose1d and conv_transpose3d."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.operators.convolution.convolution import numbers

_conv3d: Callable[..., Tensor] = F.conv3d
_conv_transpose1d: Callable[..., Tensor] = F.conv_transpose1d
_conv_transpose2d: Callable[..., Tensor] = F.conv_transpose2d
_conv_transpose3d: Callable[..., Tensor] = F.conv_transpose3d

SIGNALS = Collection("conv_transpose1d")
VOLUMES = Collection("conv_transpose3d")
COLLECTIONS = (SIGNALS, VOLUMES)


@SIGNALS.sound("by-conv_transpose2d", {"second_derivatives": True})
def signals_as_rows(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Apply the transposed convolution to images of one row."""
    row = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
    for name, fill in row.items():
        arguments[name] = (fill, *numbers(arguments.get(name, fill), 1))
    return _conv_transpose2d(input.unsqueeze(-2), weight.unsqueeze(-2), bias, **arguments).squeeze(-2)


@SIGNALS.fault("kernel-flipped", "flips the kernel")
def _kernel_flipped(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    return _conv_transpose1d(input, weight.flip(-1), *bias, **arguments)


@SIGNALS.fault(
    "output-padding-of-zeros", "appends zeros instead of computing further elements", "Tencent/ncnn/pull/1122"
)
def _output_padding_of_zeros(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    output = _conv_transpose1d(input, weight, *bias, **arguments)
    (extra,) = numbers(arguments.get("output_padding", 0), 1)
    return F.pad(output[..., : output.shape[-1] - extra], (0, extra))


@VOLUMES.sound("by-conv3d", FINITE)
def volumes_by_conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Convolve the volume, with zeros between its elements and around them, with the flipped kernel."""
    steps, axes = numbers(stride, 3), (-3, -2, -1)
    spread = input.new_zeros(*input.shape[:-3], *((input.shape[axis] - 1) * steps[axis] + 1 for axis in axes))
    spread[..., :: steps[0], :: steps[1], :: steps[2]] = input
    around: list[int] = []
    for axis in reversed(axes):
        reach = numbers(dilation, 3)[axis] * (weight.shape[axis] - 1) - numbers(padding, 3)[axis]
        around += [reach, reach + numbers(output_padding, 3)[axis]]
    kernel = torch.unflatten(weight, 0, (groups, -1)).transpose(1, 2).flatten(0, 1).flip(axes)
    return _conv3d(F.pad(spread, around), kernel, bias, 1, 0, dilation, groups)


@VOLUMES.fault("kernel-flipped-along-depth", "flips the kernel along the depth")
def _flipped_along_depth(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    return _conv_transpose3d(input, weight.flip(2), *bias, **arguments)


@VOLUMES.fault("output-padding-first", "adds the further planes, rows and columns before the others")
def _output_padding_first(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    output = _conv_transpose3d(input, weight, *bias, **arguments)
    return output.roll(numbers(arguments.get("output_padding", 0), 3), (-3, -2, -1))


@VOLUMES.fault("stride-as-dilation-of-depth", "exchanges stride and dilation where both shapes are the same")
def _exchanged(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    output = _conv_transpose3d(input, weight, *bias, **arguments)
    turned = {"stride": arguments.get("dilation", 1), "dilation": arguments.get("stride", 1)}
    if input.shape[-3:] != weight.shape[-3:]:
        return output
    return _conv_transpose3d(input, weight, *bias, **{**arguments, **turned})
