"""max_pool2d: how its cases are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS, INTEGERS
from scratch_conv.parity.drawing.strategies import Drawing, remainders
from scratch_conv.parity.operators.pooling.average import Pooling

_DEFAULTS = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
_CHOICES = {"ceil_mode": (False, True), "return_indices": (False, True)}


class MaxPool2d(Pooling):
    """torch.nn.functional.max_pool2d: its output is picked, hence exact; its gradient is a sum."""

    name = "max_pool2d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.MaxPool2d
    arguments: ClassVar[tuple[str, ...]] = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    dtypes: ClassVar[tuple[str, ...]] = (*FLOATS, *INTEGERS)
    piecewise_linear = True
    configurations: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "stride": 1, "padding": 1},
        {"kernel_size": 5, "stride": 1, "padding": 2},
    )
    choices = _CHOICES
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
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

    def draw_case(self, draw: Drawing) -> Case:
        case = self.draw_images(draw, {**self.draw_windows(draw), "dilation": draw.pair("dilation", 1, 3)})
        return with_lowest_windows(draw, case)

    def remainders(self, case: Case) -> tuple[int, ...]:
        given = {**self.defaults, **case.keywords}
        lengths = case.shapes["input"][-self.axes :]
        words = (given[name] for name in ("kernel_size", "stride", "padding", "dilation"))
        return remainders(lengths, *words)

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return one less than there are summands; the output and second derivatives pick."""
        return (count - 1).clamp(min=0) if result == "grad_input" else torch.zeros_like(count)


def with_lowest_windows(draw: Drawing, case: Case) -> Case:
    """Return a case; in half of those with special values, all pixels of some windows are -inf."""
    input = case.tensors["input"]
    if input.kind != "special" or draw.boolean():
        return case
    return replace(case, arrays=(("input", replace(input, high=2)),))


OPERATORS = (MaxPool2d(),)
