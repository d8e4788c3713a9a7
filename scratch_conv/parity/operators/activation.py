"""relu: how its cases are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS, INTEGERS, Supports
from scratch_conv.parity.drawing.strategies import (
    Draw,
    draw_arrays,
    draw_dtype,
    draw_inplace,
    draw_kind,
    draw_shape,
    draw_wanted,
)
from scratch_conv.parity.operators.operator import Picking

_DEFAULTS = {"inplace": False}


class ReLU(Picking):
    """torch.nn.functional.relu: every result is picked, hence exact."""

    name = "relu"
    module = torch.nn.ReLU
    batched_axes = 2
    signature = ("input",)
    arguments = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, *INTEGERS)
    piecewise_linear = True

    def draw_case(self, draw: Draw, supports: Supports) -> Case:
        dtype = draw_dtype(draw, supports, self.dtypes)
        shape = draw_shape(draw, supports, 2, 4, 5)
        arrays, grad_output = draw_arrays(draw, supports, {"input": shape}, draw_kind(draw, supports, dtype))
        wanted, order = draw_wanted(draw, supports, ("input",), dtype)
        case = Case(self.name, arrays, (), dtype, wanted, grad_output, order)
        return draw_inplace(draw, supports, case)

    def draw_invalid_case(self, draw: Draw, supports: Supports) -> Case:
        """Draw a call of complex numbers, of truth values, or of elements that share memory."""
        case = self.draw_case(draw, replace(supports, empty=False))
        changes = [case.retyped("input", "complex64"), case.retyped("input", "bool")]
        if supports.takes("inplace"):
            twice = case.reshaped("input", (2, *case.tensors["input"].shape))
            changes.append(twice.arranged("input", "expanded").changed(inplace=True))
        invalid: Case = draw(st.sampled_from(changes))
        assume("special" not in invalid.kinds() or invalid.tensors["input"].dtype is None)
        return invalid

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.ReLU."""
        return arguments


OPERATORS = (ReLU(),)
