"""conv1d: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.drawing.strategies import (
    Draw,
    draw_batch,
    draw_dtype,
    draw_length,
    some_tap_meets,
)
from scratch_conv.parity.operators.convolution.convolution import Conv2d, as_int, draw_call, draw_padding


class Conv1d(Conv2d):
    """torch.nn.functional.conv1d, judged as a sum of products."""

    name = "conv1d"
    module = torch.nn.Conv1d
    batched_axes = 3

    def draw_case(self, draw: Draw, supports: Supports) -> Case:
        dtype = draw_dtype(draw, supports, self.dtypes)
        groups = draw(st.integers(1, 3)) if supports.takes("groups") else 1
        in_channels, out_channels = (groups * draw(st.integers(1, 3)) for _ in range(2))
        kernel_size = draw(st.integers(1, 5))
        dilation = _draw_number(draw, 1, 3) if supports.takes("dilation") else 1
        padding = draw_padding(draw, supports, lambda: _draw_number(draw, 0, 4))
        stride = _draw_number(draw, 1, 4) if supports.takes("stride") and padding != "same" else 1
        window = as_int(dilation) * (kernel_size - 1) + 1
        margin = {"same": window, "valid": 0}[padding] if isinstance(padding, str) else as_int(padding)
        length = draw_length(draw, window - 2 * margin)
        # As in conv2d, by which torch computes it.
        assume(some_tap_meets(length, as_int(stride), margin, as_int(dilation), kernel_size))
        shapes: dict[str, tuple[int, ...]] = {"input": (*draw_batch(draw, supports), in_channels, length)}
        shapes["weight"] = (out_channels, in_channels // groups, kernel_size)
        arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return draw_call(draw, supports, "conv1d", dtype, shapes, out_channels, arguments)

    def draw_invalid_case(self, draw: Draw, supports: Supports) -> Case:
        """Draw a call that differs from an accepted one in one argument."""
        case = self.draw_case(draw, supports)
        shapes = {name: array.shape for name, array in case.arrays}
        changes: list[Case] = [case.changed(**bad) for bad in _BAD_ARGUMENTS]
        more = (*shapes["input"][:-2], shapes["input"][-2] + 1, shapes["input"][-1])
        changes += [
            case.reshaped("input", (1, 1, *shapes["input"])),
            case.reshaped("input", shapes["input"][-1:]),
            case.reshaped("input", more),
            case.reshaped("input", (*shapes["input"][:-1], 0)),
            case.reshaped("weight", shapes["weight"][1:]),
            case.reshaped("weight", (*shapes["weight"][:2], 99)),
            case.retyped("weight", "float64" if case.dtype == "float32" else "float32"),
        ]
        if "bias" in shapes:
            changes += [
                case.reshaped("bias", (shapes["bias"][0] + 1,)),
                case.reshaped("bias", (1, *shapes["bias"])),
            ]
        invalid: Case = draw(st.sampled_from(changes))
        # Where the batch is empty, and there only, torch 2.14 takes a dilation of zero or less.
        assume(0 not in shapes["input"][:-2] or invalid.keywords.get("dilation") not in (0,))
        return invalid


def _draw_number(draw: Draw, low: int, high: int) -> int | tuple[int]:
    """Draw an argument for the one axis: an int or a tuple of one."""
    value: int = draw(st.integers(low, high))
    return (value,) if draw(st.integers(0, 3)) == 3 else value


_BAD_ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"stride": 0},
    {"stride": -1},
    {"stride": (1, 1)},
    {"padding": -1},
    {"padding": (1, 2)},
    {"padding": "sames"},
    {"padding": "same", "stride": 2},
    {"dilation": 0},
    {"groups": 0},
    {"groups": -1},
    {"groups": 7},
    {"stride": 1.5},
    {"padding": 0.5},
)


OPERATORS = (Conv1d(),)
