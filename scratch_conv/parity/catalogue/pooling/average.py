"""Implementations of avg_pool2d and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.drawing.strategies import as_pair

_avg_pool2d: Callable[..., Tensor] = F.avg_pool2d

AVERAGE_POOLING = Collection("avg_pool2d")
COLLECTIONS = (AVERAGE_POOLING,)
_fault = AVERAGE_POOLING.fault
_backward = partial(with_gradients, _avg_pool2d)


@AVERAGE_POOLING.sound("average-by-convolution")
def average_by_convolution(input: Tensor, kernel_size: Any, stride: Any = None, **arguments: Any) -> Tensor:
    """Average by a convolution with a kernel of reciprocals."""
    height, width = as_pair(kernel_size)
    plain = {"padding", "ceil_mode"}.isdisjoint(name for name, value in arguments.items() if value)
    if not plain or input.shape[0] == 0:
        return F.avg_pool2d(input, kernel_size, stride, **arguments)
    area = arguments.get("divisor_override") or height * width
    kernel = torch.full((1, 1, height, width), 1 / area, dtype=input.dtype)
    flat = input.reshape(-1, 1, *input.shape[-2:])
    output = F.conv2d(flat, kernel, stride=kernel_size if stride is None else stride)
    return output.reshape(*input.shape[:-2], *output.shape[-2:])


@_fault("padding-not-counted", "divides by what lies inside in every mode", "apache/tvm/issues/1144")
def _padding_not_counted(input: Tensor, **arguments: Any) -> Tensor:
    return _avg_pool2d(input, **{**arguments, "count_include_pad": False})


@_fault("padding-counted", "divides by the whole window in every mode")
def _padding_counted(input: Tensor, **arguments: Any) -> Tensor:
    return _avg_pool2d(input, **{**arguments, "count_include_pad": True})


@_fault(
    "overhang-counted",
    "divides by the whole window where ceil_mode lets it hang over the padding",
    "apple/coremltools/pull/2844",
)
def _overhang_counted(input: Tensor, **arguments: Any) -> Tensor:
    height, width = as_pair(arguments["kernel_size"])
    if arguments.get("count_include_pad", True) and "divisor_override" not in arguments:
        arguments["divisor_override"] = height * width
    return _avg_pool2d(input, **arguments)


@_fault(
    "divisor-override-ignored",
    "ignores divisor_override where the padding is not counted",
    "pytorch/executorch/pull/18616",
)
def _divisor_override_ignored(input: Tensor, **arguments: Any) -> Tensor:
    if not arguments.get("count_include_pad", True):
        arguments["divisor_override"] = None
    return _avg_pool2d(input, **arguments)


@_fault("gradient-undivided", "passes the whole gradient to each pixel of the window")
@_backward
def _gradient_undivided(b: Backward) -> Gradients:
    height, width = as_pair(b.arguments["kernel_size"])
    return [b.right[0] * (height * width)]


@_fault("reciprocal-in-float16", "rounds the reciprocal of the divisor to float16")
def _divided_coarsely(input: Tensor, **arguments: Any) -> Tensor:
    height, width = as_pair(arguments["kernel_size"])
    area = arguments.get("divisor_override", height * width)
    coarse = float(torch.tensor(1 / area, dtype=torch.float16)) * area
    return _avg_pool2d(input, **arguments) * coarse
