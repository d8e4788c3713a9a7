"""Implementations of conv3d."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.operators.convolution.convolution import numbers

_conv2d: Callable[..., Tensor] = F.conv2d
_conv3d: Callable[..., Tensor] = F.conv3d

CONVOLUTION_3D = Collection("conv3d")
COLLECTIONS = (CONVOLUTION_3D,)
_fault = CONVOLUTION_3D.fault


def _padded(input: Tensor, weight: Tensor, padding: Any, dilation: Any, front: bool = False) -> Tensor:
    """Pad a volume, by the uneven zero of padding='same' at the end or at the `front`."""
    sides: list[int] = []
    for axis in (2, 1, 0):
        total = 0 if padding == "valid" else numbers(dilation, 3)[axis] * (weight.shape[2 + axis] - 1)
        if not isinstance(padding, str):
            total = 2 * numbers(padding, 3)[axis]
        sides += [total - total // 2, total // 2] if front else [total // 2, total - total // 2]
    return F.pad(input, sides)


@CONVOLUTION_3D.sound("by-planes", FINITE)
def by_planes(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Sum the convolutions of planes over the taps along the depth."""
    padded = _padded(input, weight, padding, dilation)
    (step, *steps), (distance, *distances) = numbers(stride, 3), numbers(dilation, 3)
    count = (padded.shape[-3] - distance * (weight.shape[2] - 1) - 1) // step + 1
    planes = []
    for place in range(count):
        total: Any = 0 if bias is None else bias[:, None, None]
        for tap in range(weight.shape[2]):
            plane = padded[..., place * step + tap * distance, :, :]
            total = total + _conv2d(plane, weight[:, :, tap], None, steps, 0, distances, groups)
        planes.append(total)
    return torch.stack(planes, -3)


@_fault("kernel-flipped-along-depth", "correlates planes and convolves along the depth")
def _flipped_along_depth(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    return _conv3d(input, weight.flip(2), *bias, **arguments)


@_fault("padding-of-the-last-axis-first", "takes the padding as (horizontal, vertical, depth)")
def _padding_reversed(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    padding = arguments.get("padding", 0)
    turned = padding[::-1] if isinstance(padding, tuple) else padding
    return _conv3d(input, weight, *bias, **{**arguments, "padding": turned})


@_fault("stride-of-depth-one", "moves by one plane along the depth, and then takes the first ones")
def _stride_of_depth_one(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    count = _conv3d(input, weight, *bias, **arguments).shape[-3]
    stride = (1, *numbers(arguments.get("stride", 1), 3)[1:])
    return _conv3d(input, weight, *bias, **{**arguments, "stride": stride})[..., :count, :, :]


@_fault("same-uneven-zero-first", "puts the uneven zero of padding='same' before the volume")
def _same_front(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, padding: Any = 0, **arguments: Any
) -> Tensor:
    if padding != "same":
        return _conv3d(input, weight, bias, padding=padding, **arguments)
    padded = _padded(input, weight, padding, arguments.get("dilation", 1), front=True)
    return _conv3d(padded, weight, bias, **arguments)


@_fault("bias-gradient-of-the-first-plane", "sums the gradient of the bias over one plane of each volume")
@partial(with_gradients, _conv3d)
def _bias_gradient_of_the_first_plane(b: Backward) -> Gradients:
    if len(b.tensors) < 3 or b.tensors[2] is None or b.grad_output.ndim < 5:
        return b.right
    return [*b.right[:2], b.grad_output[:, :, 0].sum((0, 2, 3))]


@_fault("input-gradient-overwrites-planes", "sets the gradient of a plane by one tap along the depth alone")
@partial(with_gradients, _conv3d)
def _input_gradient_overwrites(b: Backward) -> Gradients:
    input, weight, *_ = b.tensors
    if weight.shape[2] == 1:
        return b.right
    first = torch.zeros_like(weight)
    first[:, :, 0] = weight.detach()[:, :, 0]
    with torch.enable_grad():
        leaf = input.detach().requires_grad_()
        (wrong,) = torch.autograd.grad(_conv3d(leaf, first, **b.arguments), leaf, b.grad_output)
    return [wrong, *b.right[1:]]
