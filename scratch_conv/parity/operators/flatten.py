"""flatten: how its cases are drawn."""

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
    given_arguments,
)
from scratch_conv.parity.operators.calling import Call
from scratch_conv.parity.operators.operator import Picking

_DEFAULTS = {"start_dim": 0, "end_dim": -1}


class Flatten(Picking):
    """torch.flatten: every result is copied, or the same memory, hence exact.

    Where the strides allow it, torch returns a view of the input, or the input itself.
    """

    name = "flatten"
    module = torch.nn.Flatten
    batched_axes = 2
    signature = ("input",)
    arguments = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    implied = frozenset(_DEFAULTS)
    dtypes = (*FLOATS, *COMPLEX, *INTEGERS, "bool")
    linear = frozenset(signature)
    views = True
    signed_zeros = True

    @property
    def reference(self) -> Call:
        """Torch's own implementation, which torch.nn.functional does not have."""
        return torch.flatten

    @property
    def code(self) -> str:
        """Torch's own implementation as code."""
        return "torch.flatten"

    def draw_case(self, draw: Draw, supports: Supports) -> Case:
        dtype = draw_dtype(draw, supports, self.dtypes)
        first = _first_axis(supports)
        shape = draw_shape(draw, replace(supports, unbatched=supports.unbatched and not first), 2, 5, 3)
        axes = max(1, len(shape))
        start, end = first, axes - 1
        if draw(st.booleans()):
            start, end = sorted(draw(st.integers(first, axes - 1)) for _ in range(2))
        start = start if supports.takes("start_dim") else first
        end = end if supports.takes("end_dim") else axes - 1
        arrays, grad_output = draw_arrays(draw, supports, {"input": shape}, draw_kind(draw, supports, dtype))
        wanted, order = draw_wanted(draw, supports, ("input",), dtype)
        arguments = {
            "start_dim": start - axes * draw(st.booleans()),
            "end_dim": end - axes * draw(st.booleans()),
        }
        if not supports.takes("start_dim"):
            arguments["start_dim"] = first
        if not supports.takes("end_dim"):
            arguments["end_dim"] = -1
        given = given_arguments(arguments, _DEFAULTS)
        return Case(self.name, arrays, given, dtype, wanted, grad_output, order)

    def draw_invalid_case(self, draw: Draw, supports: Supports) -> Case:
        """Draw a call that differs from an accepted one in one argument."""
        case = self.draw_case(draw, supports)
        axes = max(1, len(case.tensors["input"].shape))
        bad: list[dict[str, Any]] = [{"start_dim": axes}, {"start_dim": -axes - 1}, {"end_dim": axes}]
        bad += [{"start_dim": 0.5}, {"end_dim": "last"}]
        bad += [{"start_dim": 1, "end_dim": 0}] if axes > 1 else []
        bad = [each for each in bad if all(map(supports.takes, each))]
        return draw(st.sampled_from([case.changed(**each) for each in bad]))

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.Flatten, whose first axis is another by default."""
        return {**_DEFAULTS, **arguments}


def _first_axis(supports: Supports) -> int:
    """Return the least start_dim that is drawn: a layer that has none starts at its namesake's default."""
    return 0 if supports.functional or supports.takes("start_dim") else 1


OPERATORS = (Flatten(),)
