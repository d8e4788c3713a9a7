"""adaptive_avg_pool2d: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS, Supports
from scratch_conv.parity.drawing.strategies import (
    Draw,
    draw_arrays,
    draw_batch,
    draw_dtype,
    draw_kind,
    draw_wanted,
)
from scratch_conv.parity.operators.sums import SumOfProducts


class AdaptiveAvgPool2d(SumOfProducts):
    """torch.nn.functional.adaptive_avg_pool2d: sums, each divided once.

    Output i of n averages the pixels from floor(i H / n) to ceil((i + 1) H / n). A pixel lies in at most
    ceil(n / H) + 1 such windows of an axis.
    """

    name = "adaptive_avg_pool2d"
    module = torch.nn.AdaptiveAvgPool2d
    signature = ("input",)
    arguments = ()
    dtypes = FLOATS
    linear = frozenset(signature)

    def draw_case(self, draw: Draw, supports: Supports) -> Case:
        dtype = draw_dtype(draw, supports, FLOATS)
        lengths = draw(st.integers(1, 8)), draw(st.integers(1, 8))
        shape = (*draw_batch(draw, supports), draw(st.integers(1, 3)), *lengths)
        smallest = 0 if supports.empty else 1
        size: Any = draw(st.integers(smallest, 6))
        if supports.rectangular and draw(st.booleans()):
            size = tuple(draw(st.sampled_from((1, 2, 3, 5, None))) for _ in range(2))
        arrays, grad_output = draw_arrays(draw, supports, {"input": shape}, draw_kind(draw, supports, dtype))
        wanted, order = draw_wanted(draw, supports, ("input",))
        if size == 0:
            wanted, order = (), 1  # torch 2.14 refuses to differentiate an empty output
        return Case(
            "adaptive_avg_pool2d", arrays, (("output_size", size),), dtype, wanted, grad_output, order
        )

    def draw_invalid_case(self, draw: Draw, supports: Supports) -> Case:
        """Draw a call that differs from an accepted one in one argument."""
        case = self.draw_case(draw, supports)
        shape = case.tensors["input"].shape
        changes = [case.changed(output_size=bad) for bad in (-1, (1, -2), (1, 2, 3), (2,), 2.5, "small")]
        changes += [
            case.reshaped("input", (1, 1, *shape)),
            case.reshaped("input", shape[-2:]),
            case.reshaped("input", (*shape[:-1], 0)).changed(output_size=2),
            case.retyped("input", "int64"),
        ]
        return draw(st.sampled_from(changes))

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.AdaptiveAvgPool2d."""
        return arguments

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return the number of terms, less one for the additions, and three, for the divisions by height and
        width or their reciprocals.
        """
        return (count > 0) * (self._greatest_sum(result, case) + 2.0)

    def greatest_divisor(self, result: str, case: Case) -> float:
        """Return the pixels of the greatest window."""
        return float(self._greatest_sum("output", case))

    def divides(self, case: Case) -> bool:
        """Return whether some window's height or width may be no power of two."""
        return True

    def _greatest_sum(self, result: str, case: Case) -> int:
        """Return the pixels of the greatest window, or the windows of a pixel in the input's gradient."""
        size = case.keywords["output_size"]
        outputs = size if isinstance(size, tuple) else (size, size)
        most = 1
        for length, output in zip(case.tensors["input"].shape[-2:], outputs, strict=True):
            n = length if output is None else output
            windows, pixels = -(-n // length) + 1, -(-length // max(1, n)) + 1
            most *= windows if result in ("grad_input", "second_input") else pixels
        return most


OPERATORS = (AdaptiveAvgPool2d(),)
