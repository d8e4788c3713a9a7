"""pad: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, INTEGERS
from scratch_conv.parity.drawing.strategies import IMAGES, Drawing
from scratch_conv.parity.operators.calling import Values
from scratch_conv.parity.operators.operator import Bound, exact
from scratch_conv.parity.operators.sums import SumOfProducts

_DEFAULTS = {"mode": "constant", "value": None}
_MODES = ("constant", "reflect", "replicate", "circular")


class Pad(SumOfProducts):
    """torch.nn.functional.pad: every element of the output is copied, or the value, hence exact.

    An element of the input's gradient is the sum of the elements that are copies of one: one rounding less
    than there are.
    """

    name = "pad"
    module = torch.nn.ConstantPad2d
    signature = ("input",)
    arguments = ("pad", *_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, *COMPLEX, *INTEGERS, "bool")
    linear = frozenset(signature)
    signed_zeros = True

    def unbatched(self, case: Case) -> bool:
        padding = case.keywords["pad"]
        padded_axes = len(padding) // 2 if isinstance(padding, tuple) else 0  # a call may be one to refuse
        return len(case.shapes["input"]) < padded_axes + 2

    def draw_case(self, draw: Drawing) -> Case:
        modes = _MODES if draw.supports.functional and draw.dtype != "bool" else _MODES[:1]
        mode = draw.argument("mode", *modes)
        if mode == "constant" and draw.supports.functional:
            shape = draw.shape(2, 5, 4)
            axes = draw.integer(0, len(shape) if draw.supports.unbatched else len(shape) - 2)
        else:
            axes = draw.integer(1, 3) if draw.supports.functional else 2
            shape = (*draw.batch(), draw.integer(1, 3), *(draw.integer(1, 5) for _ in range(axes)))
        shape = draw.lengthen(shape, IMAGES)
        padding = [each for size in shape[::-1][:axes] for each in self._sides(draw, size, mode)]
        value = None
        if mode == "constant" and draw.takes("value"):
            value = draw.choice((0.0, 2.0, -1.0 if draw.dtype != "uint8" else 1.0, 2.5, None))
            value = 0.5 if value is None and not draw.supports.functional else value
        return self.complete(draw, {"input": shape}, {"pad": tuple(padding), "mode": mode, "value": value})

    def _sides(self, draw: Drawing, size: int, mode: str) -> tuple[int, int]:
        """Draw what is added before and after an axis; in one of four cases one side is cropped."""
        most = {"reflect": size - 1, "circular": size}.get(mode, 3)
        before, after = (draw.integer(0, min(3, most)) for _ in range(2))
        if draw.integer(0, 3) == 3:
            before = -draw.integer(0, max(0, size - 1))
            after = min(after, size + before) if mode == "circular" else after
        return (after, before) if draw.boolean() else (before, after)

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        axes, size = len(case.shapes["input"]), max((*case.shapes["input"], 0))
        bad: list[dict[str, Any]] = [
            {"pad": (1,)},
            {"pad": (1, 1) * (axes + 1)},
            {"pad": 1},
            {"pad": (0.5, 1)},
        ]
        bad += [{"pad": (-size - 1, 1)}, {"mode": "mirror"}, {"mode": 1}, {"value": "zero"}]
        bad += [{"mode": "reflect", "value": 1.0, "pad": (0, 0)}, {"mode": "circular", "pad": (size + 1, 0)}]
        return [case.changed(**each) for each in bad if all(map(draw.takes, each))]

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.ConstantPad2d."""
        return {"padding": arguments["pad"], "value": arguments.get("value", 0.0)}

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return one for each addition."""
        return (count - 1).clamp(min=0)

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        """Return zero for what is copied, and the bounds of the sums."""
        copied = {name: exact(value) for name, value in results.items() if name != "grad_input"}
        if "mode" not in case.keywords or "grad_input" not in results:
            return {name: exact(value) for name, value in results.items()}
        return {**super().bounds(case, values, results), **copied}


OPERATORS = (Pad(),)
