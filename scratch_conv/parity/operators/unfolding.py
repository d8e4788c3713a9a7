"""unfold and fold: how their cases are drawn."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS
from scratch_conv.parity.drawing.strategies import Drawing, as_pair
from scratch_conv.parity.operators.calling import Values
from scratch_conv.parity.operators.operator import Bound, exact
from scratch_conv.parity.operators.sums import SumOfProducts

_DEFAULTS = {"dilation": 1, "padding": 0, "stride": 1}


class Unfold(SumOfProducts):
    """torch.nn.functional.unfold: elements are copied, hence exact; in the other direction they are summed.

    An element of a sum is rounded at each addition: once less often than there are terms.
    """

    name = "unfold"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.Unfold
    signature = ("input",)
    arguments: ClassVar[tuple[str, ...]] = ("kernel_size", *_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, *COMPLEX, "bool")
    linear = frozenset(signature)
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 0},
        {"kernel_size": (2, 2, 2)},
        {"kernel_size": 99},
        {"kernel_size": 2.5},
        {"padding": -1},
        {"stride": 0},
        {"dilation": 0},
    )
    summed: ClassVar[frozenset[str]] = frozenset({"grad_input"})
    """The names of the results that are sums."""

    def draw_case(self, draw: Drawing) -> Case:
        shape, arguments = self.draw_blocks(draw)
        return self.complete(draw, {"input": shape}, arguments)

    def draw_blocks(self, draw: Drawing) -> tuple[tuple[int, ...], dict[str, Any]]:
        """Draw the shape of images, and the arguments of `unfold`."""
        window = {
            "kernel_size": draw.pair("kernel_size", 1, 3),
            "dilation": draw.pair("dilation", 1, 2),
            "padding": draw.pair("padding", 0, 2),
            "stride": draw.pair("stride", 1, 3),
        }
        axes = zip(*(as_pair(window[each]) for each in ("kernel_size", "dilation", "padding")), strict=True)
        lengths = (max(1, d * (k - 1) + 1 - 2 * p) + draw.integer(0, 4) for k, d, p in axes)
        return (*draw.batch(), draw.integer(1, 3), *lengths), window

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape = case.shapes["input"]
        return [case.reshaped("input", bad) for bad in ((1, 1, 1, *shape), shape[-1:], (*shape[:-1], 0))]

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        return (count - 1).clamp(min=0)

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        """Return zero for what is copied, and the bounds of the sums."""
        copied = {name: exact(value) for name, value in results.items() if name not in self.summed}
        return {**super().bounds(case, values, results), **copied}


class Fold(Unfold):
    """torch.nn.functional.fold: sums of elements, whose gradients are copied."""

    name = "fold"
    module = torch.nn.Fold
    batched_axes = 3
    arguments = ("output_size", *Unfold.arguments)
    invalid_arguments = (*Unfold.invalid_arguments, {"output_size": 99}, {"output_size": (1, 2, 3)})
    summed = frozenset({"output", "second_grad_output"})

    def draw_case(self, draw: Drawing) -> Case:
        (*leading, channels, height, width), window = self.draw_blocks(draw)
        kernel_size = as_pair(window["kernel_size"])
        blocks = torch.nn.functional.unfold(torch.empty(1, 1, height, width), **window).shape[-1]
        shape = (*leading, channels * math.prod(kernel_size), blocks)
        return self.complete(draw, {"input": shape}, {"output_size": (height, width), **window})


OPERATORS = (Unfold(), Fold())
