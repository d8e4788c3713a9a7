"""dropout, dropout1d, dropout2d and dropout3d: how their cases are drawn."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import VALUES
from scratch_conv.parity.drawing.strategies import IMAGES, Drawing
from scratch_conv.parity.operators.calling import Values
from scratch_conv.parity.operators.operator import Bound, Operator, derived_bounds, exact
from scratch_conv.parity.operators.rounding import relative, smallest_subnormal, unit_roundoff
from scratch_conv.parity.operators.sums import SumOfProducts

_ALPHA = 1.7580993408473766
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


class AlphaDropout(Operator):
    """torch.nn.functional.alpha_dropout, called with a seed; what is dropped becomes a number.

    With s = ((α² p + 1)(1 - p))^(-1/2) a result is x s + α s p where it is kept, else α s p - α s. A product
    with s, which is rounded too, and the sum take three roundings of x s; the number has three of its own,
    each of at most α s, and the sum's. No layer of torch.nn writes over its input.
    """

    name = "alpha_dropout"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.AlphaDropout
    batched_axes = 2
    signature = ("input",)
    arguments = ("p", "training")
    defaults: ClassVar[dict[str, Any]] = {"p": 0.5, "training": False}
    dtypes = FLOATS
    random = True
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {**_CHOICES, "training": (False, True)}
    invalid_arguments = Dropout.invalid_arguments

    def draw_case(self, draw: Drawing) -> Case:
        return self.complete(draw, {"input": self.draw_shape(draw)})

    def draw_shape(self, draw: Drawing) -> tuple[int, ...]:
        """Draw the shape of an input."""
        return draw.lengthen(draw.shape(2, 4, 6), {-1: VALUES})

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.AlphaDropout; training is set by the module's mode."""
        return {name: value for name, value in arguments.items() if name != "training"}

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        given = {**self.defaults, **case.keywords}
        p = given["p"]
        if not given["training"] or p in (0, 1):
            return {name: exact(value) for name, value in results.items()}
        number = _ALPHA * ((_ALPHA**2 * p + 1) * (1 - p)) ** -0.5

        def errors(dtype: torch.dtype) -> dict[str, Tensor]:
            bounds = {}
            for name, value in results.items():
                size = value.double().abs().nan_to_num(0.0, 0.0)
                # |x s| is at most the result and the number that was added.
                size = size + 3 * number if name == "output" else size
                rounded = relative(6, unit_roundoff(dtype)) * size
                bounds[name] = rounded + 6 * smallest_subnormal(dtype)
            return bounds

        return derived_bounds(results, case.torch_dtype, errors)


class FeatureAlphaDropout(AlphaDropout):
    """torch.nn.functional.feature_alpha_dropout, which drops whole channels; else as `AlphaDropout`."""

    name = "feature_alpha_dropout"
    module = torch.nn.FeatureAlphaDropout
    batched_axes = 4

    def draw_shape(self, draw: Drawing) -> tuple[int, ...]:
        return draw.lengthen((*draw.batch(), *(draw.integer(1, 4) for _ in range(3))), IMAGES)

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        return [case.reshaped("input", (4,)).changed(training=True, p=0.25)]


OPERATORS = (Dropout(), Dropout1d(), Dropout2d(), Dropout3d(), AlphaDropout(), FeatureAlphaDropout())
