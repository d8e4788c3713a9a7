"""prelu: how its cases are drawn, and a derived bound of its rounding errors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import CHANNELS, VALUES
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import Call, Values
from scratch_conv.parity.operators.operator import Bound, Operator
from scratch_conv.parity.operators.rounding import sum_bound


class PReLU(Operator):
    """torch.nn.functional.prelu: x above zero, else weight x.

    With k = 1 where x > 0, else the weight w; b = 0 where x > 0, else 1; V and W the directions of the input
    and of the weight, the results are sums of products of what is given:

        grad_input     k g                second grad     k V + b x W
        grad_weight    Σ b x g            second input    b g W,    second weight    Σ b g V

    so that each errs by gamma_n times the sum of the magnitudes, for n products and factors.

    Torch's second derivative takes the slope at zero to be 1, and its gradient to be the weight: right is the
    gradient's.
    """

    name = "prelu"
    module = torch.nn.PReLU
    batched_axes = 2
    signature = ("input", "weight")
    arguments = ()
    dtypes = FLOATS
    accurate_twice = False
    piecewise_linear = True

    @property
    def definition(self) -> Call:
        """Return what is differentiated alike at zero in every order."""

        def define(input: Tensor, weight: Tensor) -> Tensor:
            shape = [-1 if axis == 1 else 1 for axis in range(input.dim())]
            slope = weight.reshape(shape if weight.numel() != 1 else ())
            return torch.where(input > 0, input, input * slope)

        return define

    def draw_case(self, draw: Drawing) -> Case:
        shape = draw.lengthen(draw.shape(2, 4, 5), {-1: VALUES, -2: CHANNELS})
        channels = shape[1] if len(shape) > 1 else 1
        count = channels if draw.boolean() else 1
        return self.complete(draw, {"input": shape, "weight": (count,)})

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        count = case.shapes["weight"][0]
        other = "float64" if case.dtype != "float64" else "float32"
        return [
            case.reshaped("weight", (count + 7,)),
            case.reshaped("weight", (1, 1)),
            case.retyped("weight", other),
            case.retyped("input", "int64").retyped("weight", "int64"),
        ]

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.PReLU."""
        return {"num_parameters": tensors["weight"].numel()}

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        x, weight = values.tensors["input"], values.tensors["weight"]
        shape = [-1 if axis == 1 and weight.numel() != 1 else 1 for axis in range(x.dim())]

        def sized(tensor: Tensor | None, like: Tensor) -> Tensor:
            return torch.zeros_like(like) if tensor is None else tensor.abs().nan_to_num(0.0, 0.0)

        g, along = (sized(each, x) for each in (values.grad_output, values.directions.get("input")))
        w, over = (sized(each, weight).reshape(shape) for each in (weight, values.directions.get("weight")))
        size, below = sized(x, x), ~(x > 0) * torch.ones_like(x)

        def summed(terms: Tensor) -> Tensor:
            return terms.broadcast_to(x.shape).sum_to_size(shape_of(weight, x)).reshape(weight.shape)

        magnitudes = {
            "output": below * size * w,
            "grad_input": below * g * w,
            "grad_weight": summed(below * size * g),
            "second_grad_output": below * (along * w + size * over) + (1 - below) * along * bool(over.any()),
            "second_input": below * g * over,
            "second_weight": summed(below * g * along),
        }
        terms = x.numel() / max(1, weight.numel())
        counts = {"grad_weight": terms, "second_weight": terms, "second_grad_output": 2.0}
        bounds = {}
        for name, value in results.items():
            stored = 3 if name.startswith("second_") else 1
            magnitude = magnitudes[name].broadcast_to(value.shape)
            roundings = torch.where(magnitude > 0, counts.get(name, 1.0) + 1, 0.0)
            allowed = sum_bound(value, magnitude, roundings, case.torch_dtype, stored)
            overflow = (magnitude > torch.finfo(case.torch_dtype).max) & (roundings > 0)
            bounds[name] = Bound(allowed, overflow)
        return bounds


def shape_of(weight: Tensor, x: Tensor) -> list[int]:
    """Return the shape in which a weight broadcasts to the input."""
    return [weight.numel() if axis == 1 and weight.numel() != 1 else 1 for axis in range(x.dim())]


OPERATORS = (PReLU(),)
