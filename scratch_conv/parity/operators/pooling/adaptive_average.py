"""adaptive_avg_pool2d: how its cases are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.strategies import IMAGES, Drawing
from scratch_conv.parity.operators.pooling.average import Pooling


class AdaptiveAvgPool2d(Pooling):
    """torch.nn.functional.adaptive_avg_pool2d: sums, each divided once.

    Output i of n averages the pixels from floor(i H / n) to ceil((i + 1) H / n). A pixel lies in at most
    ceil(n / H) + 1 such windows of an axis.
    """

    name = "adaptive_avg_pool2d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.AdaptiveAvgPool2d
    arguments: ClassVar[tuple[str, ...]] = ()
    dtypes: ClassVar[tuple[str, ...]] = FLOATS
    linear = frozenset({"input"})
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"output_size": bad} for bad in (-1, (1, -2), (1, 2, 3), (2,), 2.5, "small")
    )

    def draw_case(self, draw: Drawing) -> Case:
        shape = (*draw.batch(), draw.integer(1, 3), draw.integer(1, 8), draw.integer(1, 8))
        shapes = {"input": draw.lengthen(shape, IMAGES)}
        size: Any = draw.integer(0 if draw.supports.empty else 1, 7)
        if draw.fixed("output_size") is not None:
            size = draw.fixed("output_size")
        elif draw.supports.rectangular and draw.boolean():
            size = tuple(draw.choice((1, 2, 3, 5, None)) for _ in range(2))
        case = self.complete(draw, shapes, {"output_size": size})
        # Torch 2.14 refuses to differentiate an empty output.
        return replace(case, wanted=(), order=1) if size == 0 else case

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        *same, empty = super().invalid_changes(draw, case)
        return [*same, empty.changed(output_size=2), case.retyped("input", "int64")]

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return the number of terms, less one for the additions, and one more than there are axes, for the
        divisions by height and width or their reciprocals.
        """
        return (count > 0) * (self._greatest_sum(result, case) + float(self.axes))

    def greatest_divisor(self, result: str, case: Case) -> float:
        """Return the pixels of the greatest window."""
        return float(self._greatest_sum("output", case))

    def divides(self, case: Case) -> bool:
        """Return whether some window's height or width may be no power of two."""
        return True

    def _greatest_sum(self, result: str, case: Case) -> int:
        """Return the pixels of the greatest window, or the windows of a pixel in the input's gradient."""
        size = case.keywords["output_size"]
        outputs = size if isinstance(size, tuple) else (size,) * self.axes
        most = 1
        for length, output in zip(case.tensors["input"].shape[-self.axes :], outputs, strict=True):
            n = length if output is None else output
            windows, pixels = -(-n // length) + 1, -(-length // max(1, n)) + 1
            most *= windows if result in ("grad_input", "second_input") else pixels
        return most


OPERATORS = (AdaptiveAvgPool2d(),)
