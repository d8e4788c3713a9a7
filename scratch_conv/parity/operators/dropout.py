"""dropout, dropout1d, dropout2d and dropout3d: how their cases are drawn."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import VALUES
from scratch_conv.parity.drawing.strategies import IMAGES, Drawing
from scratch_conv.parity.operators.sums import SumOfProducts

_DEFAULTS = {"p": 0.5, "training": True, "inplace": False}
_CHOICES = {"p": (0.5, 0.2, 0.0, 1.0, 0.75, 0.9), "training": (True, False)}


class Dropout(SumOfProducts):
    """torch.nn.functional.dropout, called with a seed: whoever draws torch's random numbers keeps the same.

    A result is one product with a scale 1 / (1 - p) that is itself rounded: two roundings, where it is kept.
    The mask follows the strides, in whose order torch draws it. In evaluation and for p = 0 torch returns the
    input itself.
    """

    name = "dropout"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.Dropout
    batched_axes = 2
    signature = ("input",)
    arguments = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = FLOATS
    linear = frozenset(signature)
    random = True
    choices = _CHOICES
    invalid_arguments = tuple({"p": bad} for bad in (1.5, -0.1, -1, 2, float("nan"), "half"))

    def draw_case(self, draw: Drawing) -> Case:
        return self.complete(draw, {"input": self.draw_shape(draw)})

    def draw_shape(self, draw: Drawing) -> tuple[int, ...]:
        """Draw the shape of an input."""
        return draw.lengthen(draw.shape(2, 4, 6), {-1: VALUES})

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.Dropout or Dropout2d; training is set by the module's mode."""
        return {name: value for name, value in arguments.items() if name != "training"}

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return two where a value is kept, none where it is dropped or nothing is done."""
        done = case.keywords.get("training", True) and case.keywords.get("p", 0.5) > 0
        return 2.0 * (count > 0) if done else torch.zeros_like(count)

    def divides(self, case: Case) -> bool:
        """Return whether 1 / (1 - p) is not a power of two."""
        return case.keywords.get("p", 0.5) not in (0.0, 0.5, 0.75, 1.0)


class Dropout2d(Dropout):
    """torch.nn.functional.dropout2d, which drops whole channels; else as `Dropout`."""

    name = "dropout2d"
    module = torch.nn.Dropout2d
    batched_axes = 4

    def draw_shape(self, draw: Drawing) -> tuple[int, ...]:
        return draw.lengthen((*draw.batch(), *(draw.integer(1, 4) for _ in range(3))), IMAGES)

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        return [case.reshaped("input", (4,)).changed(training=True, p=0.25)]


class Dropout1d(Dropout):
    """torch.nn.functional.dropout1d, which drops whole channels; else as `Dropout`."""

    name = "dropout1d"
    module = torch.nn.Dropout1d
    batched_axes = 3

    def draw_shape(self, draw: Drawing) -> tuple[int, ...]:
        return draw.lengthen((*draw.batch(), *(draw.integer(1, 4) for _ in range(2))), {-1: VALUES})

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        return [case.reshaped("input", shape) for shape in ((4,), (2, 2, 2, 2))]


class Dropout3d(Dropout):
    """torch.nn.functional.dropout3d, which drops whole channels; else as `Dropout`."""

    name = "dropout3d"
    module = torch.nn.Dropout3d
    batched_axes = 5

    def draw_shape(self, draw: Drawing) -> tuple[int, ...]:
        return draw.lengthen((*draw.batch(), *(draw.integer(1, 3) for _ in range(4))), IMAGES)

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        return [case.reshaped("input", ()).changed(training=True, p=0.25)]


OPERATORS = (Dropout(), Dropout1d(), Dropout2d(), Dropout3d())
