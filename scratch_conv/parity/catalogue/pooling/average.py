"""Faults in avg_pool2d and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.fault import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.drawing.strategies import as_pair

_avg_pool2d: Callable[..., Tensor] = F.avg_pool2d

AVERAGE_POOLING = Collection("avg_pool2d")
_add = AVERAGE_POOLING.add
_GITHUB = "https://github.com/"
_backward = partial(with_gradients, _avg_pool2d)


@_add("padding-not-counted", "divides by what lies inside in every mode", _GITHUB + "apache/tvm/issues/1144")
def _padding_not_counted(input: Tensor, **arguments: Any) -> Tensor:
    return _avg_pool2d(input, **{**arguments, "count_include_pad": False})


@_add("padding-counted", "divides by the whole window in every mode")
def _padding_counted(input: Tensor, **arguments: Any) -> Tensor:
    return _avg_pool2d(input, **{**arguments, "count_include_pad": True})


@_add(
    "overhang-counted",
    "divides by the whole window where ceil_mode lets it hang over the padding",
    _GITHUB + "apple/coremltools/pull/2844",
)
def _overhang_counted(input: Tensor, **arguments: Any) -> Tensor:
    height, width = as_pair(arguments["kernel_size"])
    if arguments.get("count_include_pad", True) and "divisor_override" not in arguments:
        arguments["divisor_override"] = height * width
    return _avg_pool2d(input, **arguments)


@_add(
    "divisor-override-ignored",
    "ignores divisor_override where the padding is not counted",
    _GITHUB + "pytorch/executorch/pull/18616",
)
def _divisor_override_ignored(input: Tensor, **arguments: Any) -> Tensor:
    if not arguments.get("count_include_pad", True):
        arguments["divisor_override"] = None
    return _avg_pool2d(input, **arguments)


@_add("gradient-undivided", "hands the whole gradient to each pixel of the window")
@_backward
def _gradient_undivided(b: Backward) -> Gradients:
    height, width = as_pair(b.arguments["kernel_size"])
    return [b.right[0] * (height * width)]


@_add("reciprocal-in-float16", "rounds the reciprocal of the divisor to float16")
def _divided_coarsely(input: Tensor, **arguments: Any) -> Tensor:
    height, width = as_pair(arguments["kernel_size"])
    area = arguments.get("divisor_override", height * width)
    coarse = float(torch.tensor(1 / area, dtype=torch.float16)) * area
    return _avg_pool2d(input, **arguments) * coarse
