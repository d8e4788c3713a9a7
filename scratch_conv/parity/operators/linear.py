"""linear: how its cases are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, INTEGERS, Supports
from scratch_conv.parity.drawing.strategies import (
    Draw,
    draw_arrays,
    draw_dtype,
    draw_kind,
    draw_shape,
    draw_wanted,
)
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

    def draw_case(self, draw: Draw, supports: Supports) -> Case:
        dtype = draw_dtype(draw, supports, self.dtypes)
        in_features, out_features = (draw(st.integers(1, 9)) for _ in range(2))
        if supports.empty and draw(st.integers(0, 9)) == 9:
            in_features = 0
        vector = supports.functional and draw(st.integers(0, 7)) == 7
        batch = draw_shape(draw, supports, 1, 4, 4)
        shapes: dict[str, tuple[int, ...]] = {"input": (*batch, in_features)}
        shapes["weight"] = (in_features,) if vector else (out_features, in_features)
        if supports.takes("bias") and not vector and draw(st.booleans()):
            shapes["bias"] = (out_features,)
        arrays, grad_output = draw_arrays(draw, supports, shapes, draw_kind(draw, supports, dtype))
        wanted, order = draw_wanted(draw, supports, tuple(shapes), dtype)
        return Case(self.name, arrays, (), dtype, wanted, grad_output, order)

    def draw_invalid_case(self, draw: Draw, supports: Supports) -> Case:
        """Draw a call that differs from an accepted one in one shape."""
        case = self.draw_case(draw, replace(supports, empty=False))
        shapes = {name: array.shape for name, array in case.arrays}
        changes = [
            case.reshaped("input", (*shapes["input"][:-1], shapes["input"][-1] + 1)),
            case.reshaped("weight", (1, 1, *shapes["weight"])),
            case.reshaped("input", ()),
            case.retyped("weight", "float64" if case.dtype == "float32" else "float32"),
        ]
        if "bias" in shapes:
            changes.append(case.reshaped("bias", (shapes["bias"][0] + 2,)))
        return draw(st.sampled_from(changes))

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.Linear."""
        out_features, in_features = tensors["weight"].shape
        bias = {} if "bias" in tensors else {"bias": False}
        return {"in_features": in_features, "out_features": out_features, **bias}


OPERATORS = (Linear(),)
