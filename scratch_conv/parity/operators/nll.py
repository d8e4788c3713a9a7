"""nll_loss: how its cases are drawn, and a derived bound of its rounding errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.drawing.arrays import INTEGER_KINDS
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import Call, Values, run
from scratch_conv.parity.operators.cross_entropy import CrossEntropy
from scratch_conv.parity.operators.operator import Bound, exact
from scratch_conv.parity.operators.rounding import exactly_summable, sum_bound

_DEFAULTS: dict[str, Any] = {"ignore_index": -100, "reduction": "mean"}


class NLL(CrossEntropy):
    """torch.nn.functional.nll_loss, of class indices: Σ w x / D, where D is 1 or Σ w of the targets' classes.

    It is linear in the input. Of N samples, a product goes through N additions, and D through as many; with
    the products and quotients, a result errs by at most gamma_(2N + 8) times the same sum of absolute values
    (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
    """

    name = "nll_loss"
    module = torch.nn.NLLLoss
    arguments = ("weight", *_DEFAULTS)
    defaults = _DEFAULTS
    accurate_twice = True
    invalid_arguments = ({"reduction": "average"}, {"ignore_index": 0.5})

    @property
    def reference(self) -> Call:
        """Torch's own, of contiguous images: the backward pass of torch 2.14 refuses others."""

        def call(input: Tensor, *others: Tensor | None, **arguments: Any) -> Tensor:
            return F.nll_loss(input.contiguous(), *others, **arguments)  # type: ignore[arg-type]

        return call

    def draw_case(self, draw: Drawing) -> Case:
        without = draw.supports.without | {"label_smoothing"}
        case = super().draw_case(draw.claiming(class_probabilities=False, without=without))
        given = tuple(each for each in case.arguments if each[0] in self.defaults)
        return replace(case, arguments=given).arranged("input", "contiguous")

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        """Return the bounds that the class derives."""
        absolute = values.map(lambda tensor: tensor.abs().nan_to_num(0.0, 0.0))
        magnitudes = run(self.reference, case, absolute, self.signature).results
        count = 2.0 * values.tensors["target"].numel() + 8
        integers = case.kinds() - {"classes"} <= INTEGER_KINDS
        whole = integers and case.keywords.get("reduction", "mean") != "mean"
        divided = self._greatest_divisor(case, values)
        bounds = {}
        for name, value in results.items():
            magnitude = magnitudes[name].abs().nan_to_num(0.0)
            if whole and exactly_summable(magnitude, case.torch_dtype):
                bounds[name] = exact(value)
                continue
            roundings = torch.where(magnitude > 0, count, 0.0)
            stored = 3 if name.startswith("second_") else 1
            allowed = sum_bound(value, magnitude, roundings, case.torch_dtype, stored)
            overflow = magnitude * divided > torch.finfo(case.torch_dtype).max
            bounds[name] = Bound(allowed, overflow)
        return bounds

    def _greatest_divisor(self, case: Case, values: Values) -> float:
        """Return what a sum is divided by at most: before that it may overflow, where the result does not."""
        weight = values.tensors.get("weight")
        greatest = 1.0 if weight is None or not weight.numel() else float(weight.abs().max())
        return 1 + greatest * values.tensors["target"].numel()


OPERATORS = (NLL(),)
