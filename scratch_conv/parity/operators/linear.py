"""linear: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, INTEGERS
from scratch_conv.parity.drawing.sizes import FEATURES, LENGTHS
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.sums import SumOfProducts


class Linear(SumOfProducts):
    """torch.nn.functional.linear, judged as a sum of products."""

    name = "linear"
    module = torch.nn.Linear
    batched_axes = 2
    signature = ("input", "weight", "bias")
    arguments = ("bias",)
    dtypes = (*FLOATS, *COMPLEX, *INTEGERS)
    linear = frozenset(signature)

    def draw_case(self, draw: Drawing) -> Case:
        in_features, out_features = draw.size("in_features", 1, 9), draw.size("out_features", 1, 9)
        if draw.supports.empty and not draw.fixed("in_features") and draw.integer(0, 9) == 9:
            in_features = 0
        vector = draw.supports.functional and not draw.supports.fixed and draw.integer(0, 7) == 7
        rows = self.draw_rows(draw)
        if in_features and 0 not in rows and not draw.supports.fixed:
            # As an array of all the products: (rows, out, in).
            sizes = {-1: FEATURES, -2: FEATURES, -3: LENGTHS}
            products = draw.lengthen((*rows, out_features, in_features), sizes)
            rows, (out_features, in_features) = products[:-2], products[-2:]
        shapes: dict[str, tuple[int, ...]] = {"input": (*rows, in_features)}
        shapes["weight"] = (in_features,) if vector else (out_features, in_features)
        if not vector and draw.present("bias"):
            shapes["bias"] = (out_features,)
        return self.complete(draw, shapes)

    def draw_rows(self, draw: Drawing) -> tuple[int, ...]:
        """Draw the input's axes but for the last; a fixed number of axes counts that, too."""
        axes = draw.fixed("axes")
        return draw.claiming(fixed=() if axes is None else (("axes", axes - 1),)).shape(1, 4, 4)

    def draw_invalid_case(self, draw: Drawing) -> Case:
        return super().draw_invalid_case(draw.claiming(empty=False))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shapes = case.shapes
        changes = [
            case.reshaped("input", (*shapes["input"][:-1], shapes["input"][-1] + 1)),
            case.reshaped("weight", (1, 1, *shapes["weight"])),
            case.reshaped("input", ()),
            case.retyped("weight", "float64" if case.dtype == "float32" else "float32"),
        ]
        if "bias" in shapes:
            changes.append(case.reshaped("bias", (shapes["bias"][0] + 2,)))
        return changes

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        out_features, in_features = tensors["weight"].shape
        bias = {} if "bias" in tensors else {"bias": False}
        return {"in_features": in_features, "out_features": out_features, **bias}


OPERATORS = (Linear(),)
