"""relu: how its cases are drawn."""

from __future__ import annotations

import torch
from hypothesis import assume

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS, INTEGERS
from scratch_conv.parity.drawing.sizes import CHANNELS, VALUES
from scratch_conv.parity.drawing.strategies import Drawing
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

    def draw_case(self, draw: Drawing) -> Case:
        return self.complete(draw, {"input": draw.lengthen(draw.shape(2, 4, 5), {-1: VALUES, -2: CHANNELS})})

    def draw_invalid_case(self, draw: Drawing) -> Case:
        invalid = super().draw_invalid_case(draw.claiming(empty=False))
        assume("special" not in invalid.kinds() or invalid.tensors["input"].dtype is None)
        return invalid

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        """Return calls of complex numbers, of truth values, and of elements that share memory."""
        changes = [case.retyped("input", "complex64"), case.retyped("input", "bool")]
        if draw.takes("inplace"):
            twice = case.reshaped("input", (2, *case.shapes["input"]))
            changes.append(twice.arranged("input", "expanded").changed(inplace=True))
        return changes


OPERATORS = (ReLU(),)
