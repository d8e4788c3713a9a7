"""max_pool2d: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS, INTEGERS, Supports
from scratch_conv.parity.drawing.strategies import (
    Draw,
    as_pair,
    draw_arrays,
    draw_batch,
    draw_dtype,
    draw_kind,
    draw_length,
    draw_pair,
    draw_pool_padding,
    draw_wanted,
    given_arguments,
)
from scratch_conv.parity.operators.sums import SumOfProducts

_DEFAULTS = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}


class MaxPool2d(SumOfProducts):
    """torch.nn.functional.max_pool2d: its output is picked, hence exact; its gradient is a sum."""

    name = "max_pool2d"
    module = torch.nn.MaxPool2d
    signature = ("input",)
    arguments = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, *INTEGERS)
    piecewise_linear = True

    def draw_case(self, draw: Draw, supports: Supports) -> Case:
        dtype = draw_dtype(draw, supports, self.dtypes)
        kernel_size = draw_pair(draw, supports, 1, 5)
        dilation = draw_pair(draw, supports, 1, 3) if supports.takes("dilation") else 1
        padding = draw_pool_padding(draw, supports, as_pair(kernel_size))
        stride = draw_pair(draw, supports, 1, 4) if supports.takes("stride") and draw(st.booleans()) else None
        windows = [d * (k - 1) + 1 for k, d in zip(as_pair(kernel_size), as_pair(dilation), strict=True)]
        margins = as_pair(padding)
        # A window that steps over the whole input has no maximum; torch 2.14 then writes out of bounds.
        least = [max(w - 2 * p, d) for w, p, d in zip(windows, margins, as_pair(dilation), strict=True)]
        lengths = tuple(draw_length(draw, length) for length in least)
        shapes = {"input": (*draw_batch(draw, supports), draw(st.integers(1, 3)), *lengths)}
        arrays, grad_output = draw_arrays(draw, supports, shapes, draw_kind(draw, supports, dtype))
        wanted, order = draw_wanted(draw, supports, ("input",), dtype)
        arguments: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        arguments["dilation"] = dilation
        for flag in ("ceil_mode", "return_indices"):
            arguments[flag] = supports.takes(flag) and draw(st.booleans())
        return Case(
            "max_pool2d", arrays, given_arguments(arguments, _DEFAULTS), dtype, wanted, grad_output, order
        )

    def draw_invalid_case(self, draw: Draw, supports: Supports) -> Case:
        """Draw a call that differs from an accepted one in one argument."""
        case = self.draw_case(draw, supports)
        shape = case.tensors["input"].shape
        changes = [case.changed(**bad) for bad in _BAD_ARGUMENTS]
        changes += [
            case.reshaped("input", (1, 1, *shape)),
            case.reshaped("input", shape[-2:]),
            case.reshaped("input", (*shape[:-1], 0)),
        ]
        return draw(st.sampled_from(changes))

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.MaxPool2d."""
        return arguments

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return one less than there are summands; the output and second derivatives pick."""
        return (count - 1).clamp(min=0) if result == "grad_input" else torch.zeros_like(count)


_BAD_ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"kernel_size": 0},
    {"kernel_size": -2},
    {"kernel_size": (2, 2, 2)},
    {"kernel_size": 2, "padding": 2},
    {"kernel_size": 3, "padding": (1, 2)},
    {"padding": -1},
    {"stride": 0},
    {"stride": (1, 0)},
    {"stride": -1},
    {"dilation": 0},
    {"dilation": -1},
    {"kernel_size": 99},
    {"kernel_size": 2.5},
)


OPERATORS = (MaxPool2d(),)
