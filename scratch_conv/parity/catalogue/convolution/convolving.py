"""A convolution whose geometry can be changed: what the faults of conv2d are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.drawing.strategies import as_pair
from scratch_conv.parity.operators.calling import Call

_conv2d: Callable[..., Tensor] = F.conv2d


@dataclass(frozen=True)
class Geometry:
    """The arguments of a convolution, spelled out; pairs are (vertical, horizontal)."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    top: int
    bottom: int
    left: int
    right: int
    dilation: tuple[int, int]
    groups: int
    same: bool


def spell_out(
    weight: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Geometry:
    """Return the arguments of conv2d as a Geometry."""
    height, width = weight.shape[-2:]
    distances = as_pair(dilation)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(distances, (height, width), strict=True)]
        top, left = total[0] // 2, total[1] // 2
        bottom, right = total[0] - top, total[1] - left
    else:
        top, left = bottom, right = as_pair(0 if padding == "valid" else padding)
    strides = as_pair(stride)
    return Geometry((height, width), strides, top, bottom, left, right, distances, groups, padding == "same")


def convolve(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Convolve with an explicit padding."""
    around = (geometry.left, geometry.right, geometry.top, geometry.bottom)
    padded = F.pad(input, around)
    return _conv2d(padded, weight, bias, geometry.stride, 0, geometry.dilation, geometry.groups)


def altered(change: Callable[[Geometry], Geometry]) -> Call:
    """Return a convolution with its geometry changed."""

    def candidate(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
        return convolve(input, weight, bias, change(spell_out(weight, **arguments)))

    return candidate
