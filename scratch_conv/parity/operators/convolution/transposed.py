"""conv_transpose2d: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, Supports
from scratch_conv.parity.drawing.strategies import (
    Draw,
    as_pair,
    draw_batch,
    draw_dtype,
    draw_pair,
)
from scratch_conv.parity.operators.convolution.convolution import draw_call
from scratch_conv.parity.operators.sums import SumOfProducts


class ConvTranspose2d(SumOfProducts):
    """torch.nn.functional.conv_transpose2d, judged as a sum of products."""

    name = "conv_transpose2d"
    module = torch.nn.ConvTranspose2d
    signature = ("input", "weight", "bias")
    arguments = ("bias", "stride", "padding", "output_padding", "groups", "dilation")
    dtypes = (*FLOATS, *COMPLEX, "int64")
    linear = frozenset(signature)

    def draw_case(self, draw: Draw, supports: Supports) -> Case:
        dtype = draw_dtype(draw, supports, self.dtypes)
        groups = draw(st.integers(1, 3)) if supports.takes("groups") else 1
        in_channels, out_channels = (groups * draw(st.integers(1, 3)) for _ in range(2))
        kernel_size = as_pair(draw_pair(draw, supports, 1, 4))
        dilation = draw_pair(draw, supports, 1, 3) if supports.takes("dilation") else 1
        stride = draw_pair(draw, supports, 1, 4) if supports.takes("stride") else 1
        padding = draw_pair(draw, supports, 0, 3) if supports.takes("padding") else 0
        extra = _draw_output_padding(draw, supports, stride, dilation)
        lengths = [
            1 + max(0, -((d * (k - 1) + 1 + e - 2 * p - 1) // s)) + int(draw(st.integers(0, 4)))
            for k, d, s, p, e in zip(
                kernel_size, *map(as_pair, (dilation, stride, padding, extra)), strict=True
            )
        ]
        shapes: dict[str, tuple[int, ...]] = {"input": (*draw_batch(draw, supports), in_channels, *lengths)}
        shapes["weight"] = (in_channels, out_channels // groups, *kernel_size)
        arguments = {"stride": stride, "padding": padding, "output_padding": extra}
        arguments |= {"groups": groups, "dilation": dilation}
        return draw_call(draw, supports, "conv_transpose2d", dtype, shapes, out_channels, arguments)

    def draw_invalid_case(self, draw: Draw, supports: Supports) -> Case:
        """Draw a call that differs from an accepted one in one argument."""
        case = self.draw_case(
            draw, Supports(dtypes=supports.dtypes, empty=False, unbatched=supports.unbatched)
        )
        shapes = {name: array.shape for name, array in case.arrays}
        changes = [case.changed(**bad) for bad in _BAD_ARGUMENTS]
        more = (*shapes["input"][:-3], shapes["input"][-3] + 1, *shapes["input"][-2:])
        changes += [
            case.reshaped("input", (1, 1, *shapes["input"])),
            case.reshaped("input", shapes["input"][-2:]),
            case.reshaped("input", more),
            case.reshaped("weight", shapes["weight"][1:]),
        ]
        if "bias" in shapes:
            changes.append(case.reshaped("bias", (shapes["bias"][0] + 1,)))
        return draw(st.sampled_from(changes))

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.ConvTranspose2d."""
        in_channels, out_channels, *kernel_size = tensors["weight"].shape
        sizes = {"in_channels": in_channels, "out_channels": out_channels * arguments.get("groups", 1)}
        bias = {} if "bias" in tensors else {"bias": False}
        return {**sizes, "kernel_size": tuple(kernel_size), **arguments, **bias}


def _draw_output_padding(draw: Draw, supports: Supports, stride: Any, dilation: Any) -> int | tuple[int, int]:
    """Draw how much larger the output is; torch asks for less than the stride or the dilation."""
    if not supports.takes("output_padding"):
        return 0
    most = [max(pair) - 1 for pair in zip(as_pair(stride), as_pair(dilation), strict=True)]
    if most[0] == most[1]:
        return draw_pair(draw, supports, 0, most[0])
    return draw(st.integers(0, most[0])), draw(st.integers(0, most[1]))


_BAD_ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"stride": 0},
    {"stride": -1},
    {"padding": -1},
    {"padding": 99},
    {"output_padding": 4, "stride": 1, "dilation": 1},
    {"output_padding": -1},
    {"dilation": -1},
    {"groups": 0},
    {"groups": 7},
    {"stride": (1, 1, 1)},
    {"stride": 1.5},
)


OPERATORS = (ConvTranspose2d(),)
