"""flatten: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, INTEGERS
from scratch_conv.parity.drawing.strategies import IMAGES, Drawing
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
        return "torch.flatten"

    def draw_case(self, draw: Drawing) -> Case:
        # A layer without start_dim starts at its namesake's default.
        first = 0 if draw.supports.functional or draw.takes("start_dim") else 1
        unbatched = draw.supports.unbatched and not first
        shape = draw.lengthen(draw.claiming(unbatched=unbatched).shape(2, 5, 3), IMAGES)
        axes = max(1, len(shape))
        start, end = first, axes - 1
        if draw.boolean():
            start, end = sorted(draw.integer(first, axes - 1) for _ in range(2))
        start = start if draw.takes("start_dim") else first
        end = end if draw.takes("end_dim") else axes - 1
        arguments = {
            "start_dim": start - axes * draw.boolean() if draw.takes("start_dim") else first,
            "end_dim": end - axes * draw.boolean() if draw.takes("end_dim") else -1,
        }
        return self.complete(draw, {"input": shape}, arguments)

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        axes = max(1, len(case.shapes["input"]))
        bad: list[dict[str, Any]] = [{"start_dim": axes}, {"start_dim": -axes - 1}, {"end_dim": axes}]
        bad += [{"start_dim": 0.5}, {"end_dim": "last"}]
        bad += [{"start_dim": 1, "end_dim": 0}] if axes > 1 else []
        return [case.changed(**each) for each in bad if all(map(draw.takes, each))]

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.Flatten, whose first axis is another by default."""
        return {**_DEFAULTS, **arguments}


OPERATORS = (Flatten(),)
