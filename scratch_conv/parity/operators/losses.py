"""The losses by elements: how their cases are drawn, and derived bounds of their rounding errors.

With ℓ the loss of an input x and a target t, ℓᵢⱼ its derivative i times by x and j times by t, a the weights,
D what a mean divides by (else 1), h the incoming gradient divided by D, and V, T and W the directions along
which the gradients of input, target and weight are differentiated, the results are sums of

    output          a ℓ / D
    input           h a ℓ₁₀
    target          h a ℓ₀₁
    weight          h ℓ
    second grad     (a (V ℓ₁₀ + T ℓ₀₁) + W ℓ) / D
    second input    h (a (V ℓ₂₀ + T ℓ₁₁) + W ℓ₁₀)
    second target   h (a (V ℓ₁₁ + T ℓ₀₂) + W ℓ₀₁)
    second weight   h (V ℓ₁₀ + T ℓ₀₁)

Where D is the sum of the weights, it has derivatives, too: with y the loss, ℓ - y stands for ℓ, and W for W -
ΣW a / D; the second gradient of the weight is less its own mean and that of Σ W (ℓ - y).

Each computed ℓᵢⱼ errs by at most gamma_k m, where k counts its roundings (an elementary function counts as
4), and m is the sum of the magnitudes of its terms, as in `activation.family`; each product of a sum of n
goes through n roundings more (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
So a result errs by at most gamma_(2n + 40) times the same sum of magnitudes.

A product that underflows errs by the smallest subnormal, times the factors that follow; an exponential below
the smallest normal number may be flushed to zero. Where a product of the factors exceeds the largest number,
so may a partial result.
"""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.drawing.arrays import INTEGER_KINDS
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import CHANNELS, VALUES
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.activation.family import logistic_slope, product
from scratch_conv.parity.operators.calling import Values
from scratch_conv.parity.operators.operator import Bound, Operator, derived_bounds, exact, greatest
from scratch_conv.parity.operators.rounding import (
    exactly_summable,
    relative,
    smallest_subnormal,
    unit_roundoff,
)

Orders = tuple[int, int]
Magnitudes = dict[Orders, Tensor]
"""Those of a loss and its derivatives, by how often by x and by t; those left out are zero."""


class Loss(Operator):
    """A loss of two tensors by elements, weighted and reduced."""

    batched_axes = 2
    signature: ClassVar[tuple[str, ...]] = ("input", "target", "weight")
    inputs = ("input", "target")
    arguments: ClassVar[tuple[str, ...]] = ("weight", "reduction")
    defaults: ClassVar[dict[str, Any]] = {"reduction": "mean"}
    constructed: ClassVar[frozenset[str]] = frozenset({"weight"})
    parted = True
    dtypes = FLOATS
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = ({"reduction": "average"}, {"reduction": None})
    differentiable: ClassVar[tuple[str, ...]] = ("input", "target", "weight")
    over_weights: ClassVar[bool] = False  # whether a mean is over the weights
    exponential: ClassVar[bool] = False  # whether exponentials are taken
    whole: ClassVar[bool] = False  # whether of integers the losses are integers
    broadcasts: ClassVar[bool] = False  # whether input and target may have different shapes

    def draw_case(self, draw: Drawing) -> Case:
        shape = draw.lengthen(draw.shape(2, 4, 5), {-1: VALUES, -2: CHANNELS})
        shapes = {"input": shape, "target": shape}
        if self.broadcasts and draw.supports.broadcast_targets and draw.integer(0, 7) == 7:
            shapes["target"] = broadcast_shape(draw, shape)
        of_module = signature(self.module).parameters  # some weights only the function takes
        for name in self.signature[2:]:
            if (draw.supports.functional or name in of_module) and draw.present(name):
                shapes[name] = self.draw_weights_shape(draw, shape)
        # Of an input that is broadcast the gradient is a sum. That is asked of those who return the target's,
        # too; few losses in NumPy take the one for the other.
        alike = shapes["target"] == shape or len(shapes) > 2 or "target" in draw.supports.constants
        if not alike and draw.boolean():
            shapes["input"] = broadcast_sizes(draw, shape)
        arguments = {"reduction": draw.argument("reduction", "mean", "sum", "none")}
        differentiable = tuple(name for name in self.differentiable if name in shapes)
        case = self.complete(draw, shapes, arguments, differentiable=differentiable)
        arrays = {name: self.valued(case, name) for name in shapes}
        # torch 2.14 does not differentiate the loss of nothing twice; of a weighted infinity, other orders of
        # multiplication give another one, or a NaN.
        once = 0 in shape or (len(shapes) > 2 and "special" in case.kinds())
        return replace(case, arrays=tuple(arrays.items()), order=1 if once else case.order)

    def draw_weights_shape(self, draw: Drawing, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Draw the shape of weights."""
        return shape

    def valued(self, case: Case, name: str) -> Any:
        """Return a drawn tensor with values that are right for it: positive and finite for weights."""
        array = case.tensors[name]
        if name not in self.signature[2:]:
            return array
        return replace(array, kind="integers" if array.kind == "special" else array.kind).made_positive()

    def draw_invalid_case(self, draw: Drawing) -> Case:
        return super().draw_invalid_case(draw.claiming(empty=False, special_values=False))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape = case.shapes["input"]
        if case.shapes["target"] != shape:
            case = case.reshaped("target", shape)
        changes = [case.retyped("input", "int64").retyped("target", "int64")]
        if shape and shape[-1] > 1:
            changes.append(case.reshaped("target", (*shape[:-1], shape[-1] + 1)))
        if "weight" in case.shapes:
            changes.append(case.reshaped("weight", (7, *case.shapes["weight"])))
        return changes

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        return {**{name: tensors[name] for name in self.constructed if name in tensors}, **arguments}

    def magnitudes(self, x: Tensor, t: Tensor, u: float, values: Values, **arguments: Any) -> Magnitudes:
        """Return the magnitudes of ℓ and of its derivatives, where the unit roundoff is u."""
        raise NotImplementedError

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        finite = values.map(lambda tensor: tensor.nan_to_num(0.0, 0.0, 0.0))
        bounds = derived_bounds(results, case.torch_dtype, lambda dtype: self._errors(case, finite, dtype))
        magnitudes = self._magnitudes_of_results(case, finite, 0.0)
        largest = torch.finfo(case.torch_dtype).max
        sizes = greatest(values.tensors["input"]) + greatest(finite.tensors["target"])
        partial = self._factors(finite) * (1 + sizes) * (1 + _count(values))
        integers = self.whole and case.kinds() <= INTEGER_KINDS and not self._divides(case)
        for name, bound in bounds.items():
            if integers and exactly_summable(2 * magnitudes[name], case.torch_dtype):
                bounds[name] = exact(results[name])
            bound.overflow |= partial > largest
        return bounds

    def _divides(self, case: Case) -> bool:
        return case.keywords.get("reduction", "mean") == "mean"

    def _factors(self, values: Values) -> float:
        """Return the greatest product of what a part of a result may be multiplied by."""
        tensors = values.tensors
        d = tensors["input"] - tensors["target"]
        factors = 1.0 + greatest(d) + greatest(tensors["target"])
        others = [tensors[name] for name in self.signature[2:] if name in tensors]
        for tensor in (*others, values.grad_output, *values.directions.values()):
            factors *= 1 + greatest(tensor)
        if self.over_weights and "weight" in tensors:
            inverse = 1 / max(float(tensors["weight"].sum()), 1e-300)
            factors *= (1 + inverse) * (1 + inverse)
        return factors

    def _errors(self, case: Case, values: Values, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the bound of the error of each result that is computed in `dtype`."""
        u, count = unit_roundoff(dtype), _count(values)
        smallest = torch.finfo(dtype).smallest_normal if self.exponential else smallest_subnormal(dtype)
        tiny = 4 * (1 + count) * smallest * self._factors(values)
        rounding = relative(2 * count + 40, u)
        magnitudes = self._magnitudes_of_results(case, values, u)
        bounds = {name: product(size, torch.tensor(rounding)) + tiny for name, size in magnitudes.items()}
        return {name: bound.nan_to_num(torch.inf, torch.inf) for name, bound in bounds.items()}

    def _weights(self, values: Values) -> Tensor:
        """Return the weights of the losses, 1 where there are none."""
        return values.tensors.get("weight", torch.ones((), dtype=torch.float64))

    def _magnitudes_of_results(self, case: Case, values: Values, u: float) -> dict[str, Tensor]:
        """Return the sums of magnitudes that the module derives."""
        tensors, arguments = values.tensors, {**self.defaults, **case.keywords}
        x, t = torch.broadcast_tensors(tensors["input"], tensors["target"])  # type: ignore[no-untyped-call]
        reduction = arguments.pop("reduction")
        known = self.magnitudes(x, t, u, values, **arguments)
        m = {orders: known.get(orders, torch.zeros_like(x)) for orders in _ORDERS}
        a = self._weights(values).abs().expand(x.shape)
        over_weights = self.over_weights and "weight" in tensors and reduction == "mean"
        divisor = torch.tensor(float(max(1, x.numel()))) if reduction == "mean" else torch.ones(())
        divisor = a.sum() if over_weights else divisor

        def reduced(terms: Tensor) -> Tensor:
            return (terms if reduction == "none" else terms.sum()) / divisor

        results = {"output": reduced(product(a, m[0, 0]))}
        if values.grad_output is None:
            return results
        h = values.grad_output.abs() / divisor
        v, w, r = (
            values.directions[name].abs().expand(x.shape)
            if name in values.directions
            else torch.zeros_like(x)
            for name in ("input", "target", "weight")
        )
        loss = m[0, 0]
        mean = torch.zeros(())
        if over_weights:
            mean = results["output"]
            loss, r = loss + mean, r + r.sum() * a / divisor
        slopes = product(v, m[1, 0]) + product(w, m[0, 1])
        back = product(a, slopes) + product(r, loss)
        results |= {
            "grad_input": h * a * m[1, 0],
            "grad_target": h * a * m[0, 1],
            "grad_weight": h * loss,
            "second_grad_output": reduced(back),
            "second_input": h * (a * (product(v, m[2, 0]) + product(w, m[1, 1])) + r * m[1, 0]),
            "second_target": h * (a * (product(v, m[1, 1]) + product(w, m[0, 2])) + r * m[0, 1]),
            "second_weight": h * slopes,
        }
        if over_weights:
            further = back.sum() + (r * loss).sum() + r.sum() * loss
            results["second_weight"] = results["second_weight"] + h * further / divisor
        for name in ("input", "target"):  # of a tensor of fewer elements they are summed
            for each in (f"grad_{name}", f"second_{name}"):
                results[each] = results[each].expand(x.shape).sum_to_size(tensors[name].shape)
        return results


def _count(values: Values) -> int:
    """Return how many losses there are."""
    input, target = (values.tensors[name] for name in Loss.inputs)
    return (input - target).numel()


_ORDERS: tuple[Orders, ...] = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))


def of_difference(value: Tensor, slope: Tensor, second: Tensor) -> Magnitudes:
    """Return the magnitudes of f(x - t), given those of f, f' and f''."""
    sizes = (value, slope, second)
    return {(i, j): sizes[i + j] for i, j in _ORDERS}


class MSE(Loss):
    """torch.nn.functional.mse_loss: d², 2 d, 2, for d = x - t."""

    name = "mse_loss"
    module = torch.nn.MSELoss
    broadcasts = True
    over_weights = True
    whole = True

    def magnitudes(self, x: Tensor, t: Tensor, u: float, values: Values, **_: Any) -> Magnitudes:
        d = (x - t).abs()
        return of_difference(d * d, 2 * d, torch.full_like(d, 2.0))


class L1(Loss):
    """torch.nn.functional.l1_loss: |d| and its sign, for d = x - t."""

    name = "l1_loss"
    module = torch.nn.L1Loss
    broadcasts = True
    over_weights = True
    whole = True

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        """Return those of all losses; but torch takes whole numbers."""
        changes = [
            each for each in super().invalid_changes(draw, case) if each.tensors["input"].dtype is None
        ]
        return [*changes, case.retyped("input", "bool")]

    def magnitudes(self, x: Tensor, t: Tensor, u: float, values: Values, **_: Any) -> Magnitudes:
        d = (x - t).abs()
        return of_difference(d, d.sign(), torch.zeros_like(d))


class SmoothL1(Loss):
    """torch.nn.functional.smooth_l1_loss: d² / 2 beta where |d| < beta, else |d| - beta / 2, for d = x - t.

    The second derivative jumps at beta: which side |d| lies on may depend on its rounding.
    """

    name = "smooth_l1_loss"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.SmoothL1Loss
    broadcasts = True
    signature = ("input", "target")
    arguments = ("reduction", "beta")
    defaults: ClassVar[dict[str, Any]] = {"reduction": "mean", "beta": 1.0}
    parted = False
    differentiable = ("input", "target")
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"beta": (1.0, 0.5, 2, 0.0, 0.7)}
    invalid_arguments = (*Loss.invalid_arguments, {"beta": -1.0}, {"beta": "one"}, {"beta": None})

    def magnitudes(
        self, x: Tensor, t: Tensor, u: float, values: Values, *, beta: float = 1.0, **_: Any
    ) -> Magnitudes:
        if beta == 0:
            return of_difference((x - t).abs(), (x - t).sign().abs(), torch.zeros_like(x))
        value, slope, second = _bent(x - t, float(beta), u)
        return of_difference(value / beta, slope / beta, second / beta)


class Huber(Loss):
    """torch.nn.functional.huber_loss: d² / 2 where |d| < delta, else delta (|d| - delta / 2)."""

    name = "huber_loss"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.HuberLoss
    broadcasts = True
    arguments = ("weight", "reduction", "delta")
    defaults: ClassVar[dict[str, Any]] = {"reduction": "mean", "delta": 1.0}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"delta": (1.0, 0.5, 2, 0.7)}
    invalid_arguments = (*Loss.invalid_arguments, {"delta": 0.0}, {"delta": "one"}, {"delta": None})

    def magnitudes(
        self, x: Tensor, t: Tensor, u: float, values: Values, *, delta: float = 1.0, **_: Any
    ) -> Magnitudes:
        return of_difference(*_bent(x - t, float(delta), u))


def _bent(d: Tensor, limit: float, u: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the magnitudes of huber's function and its derivatives; the second jumps at the limit."""
    size = d.abs()
    value = torch.where(size < limit / 2, size * size / 2, limit * (size + limit / 2))
    at_the_limit = (size - limit).abs() <= 4 * u * (size + limit)
    either = at_the_limit & (u > 0) & _is_rounded(limit)
    second = torch.where(either, 1 / max(u, 1e-300), (size < limit).double())
    return value, size.clamp(max=limit), second


def _is_rounded(limit: float) -> Tensor:
    """Return whether a limit may have no exact multiples among the numbers drawn: 0.7, not 0.5, 1 or 2."""
    return torch.tensor(limit * 2 != int(limit * 2))


class BCE(Loss):
    """torch.nn.functional.binary_cross_entropy: -t log x - (1 - t) log(1 - x), no logarithm less than -100.

    What its derivatives by x divide by is kept from zero by ε = 1e-12: x (1 - x) is ε at least, or ε is added
    to x and to 1 - x. Torch adds it in the derivative of the gradient by the incoming one, and
    in the mixed one in one order, unlike in the other: which moves them by ε / x + ε / (1 - x). In the other
    order it returns a NaN for probabilities of 0 and 1. Its least x (1 - x) is ε in float32, off by 4e-9 ε.
    """

    name = "binary_cross_entropy"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.BCELoss
    parted = False
    differentiable = ("input", "target")

    def draw_weights_shape(self, draw: Drawing, shape: tuple[int, ...]) -> tuple[int, ...]:
        return broadcast_shape(draw, shape)

    def valued(self, case: Case, name: str) -> Any:
        array = case.tensors[name]
        if name in self.signature[2:]:
            return super().valued(case, name)
        return replace(array, kind="probabilities", high=2 if case.order == 2 else 1)

    def draw_case(self, draw: Drawing) -> Case:
        """Draw a call; without special values, none of probabilities of 0 and 1, whose logarithms are."""
        case = super().draw_case(draw)
        if draw.supports.special_values:
            return case
        inner = {name: replace(case.tensors[name], high=2) for name in self.inputs}
        return replace(case, arrays=tuple({**case.tensors, **inner}.items()))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        changes = super().invalid_changes(draw, case)
        counted = replace(case.tensors["input"], kind="counting")
        beyond = replace(case, arrays=tuple({**case.tensors, "input": counted}.items()))
        other = "float64" if case.dtype == "float32" else "float32"
        return [*changes, *([beyond] if beyond.shapes["input"] > (1,) else []), case.retyped("target", other)]

    def magnitudes(self, x: Tensor, t: Tensor, u: float, values: Values, **_: Any) -> Magnitudes:
        eps = 1e-12
        logarithms = x.log().abs(), (-x).log1p().abs()
        yes, no = (each.clamp(max=100) for each in logarithms)
        shifted = (x + eps) * (1 - x + eps)
        moved = (eps / (x + eps) + eps / (1 - x + eps)) / max(u, 1e-300)
        variance = (1 - x) * x
        slope = (t * (1 - x) + (1 - t) * x) / variance.clamp(min=eps)
        slope = slope * (1 + (variance < eps) * (4e-9 / max(u, 1e-20)))
        return {
            (0, 0): t * yes + (1 - t) * no,
            (1, 0): slope * (1 + moved) if values.directions else slope,
            (0, 1): logarithms[0] + logarithms[1],
            (2, 0): (x * x + 2 * x * t + t) / shifted**2,
            (1, 1): (1 + moved) / shifted,
        }


class BCEWithLogits(Loss):
    """torch.nn.functional.binary_cross_entropy_with_logits.

    With σ the logistic function, s(x) = log(1 + exp(x)) and p the weight of positives, it is (1 - t) x + (1 +
    (p - 1) t) s(-x), or p t s(-x) + (1 - t) s(x), which takes s(x) to be x + s(-x) or not.
    """

    name = "binary_cross_entropy_with_logits"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.BCEWithLogitsLoss
    signature = ("input", "target", "weight", "pos_weight")
    arguments = ("weight", "reduction", "pos_weight")
    constructed = frozenset({"weight", "pos_weight"})
    exponential = True
    differentiable = ("input", "target")

    def draw_weights_shape(self, draw: Drawing, shape: tuple[int, ...]) -> tuple[int, ...]:
        return broadcast_shape(draw, shape)

    def valued(self, case: Case, name: str) -> Any:
        """Return likewise, but no target beyond 1 beside infinities: under vmap torch makes NaN of them."""
        array = super().valued(case, name)
        special = name == "target" and "special" in case.kinds()
        return replace(array, kind="probabilities") if special else array

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        changes = [*super().invalid_changes(draw, case), case.retyped("target", "int64")]
        if "pos_weight" in case.shapes:
            changes.append(case.reshaped("pos_weight", (7, *case.shapes["pos_weight"])))
        return changes

    def magnitudes(self, x: Tensor, t: Tensor, u: float, values: Values, **_: Any) -> Magnitudes:
        p = values.tensors.get("pos_weight")
        positive = torch.ones((), dtype=torch.float64) if p is None else p
        size, s, back = t.abs(), F.softplus(-x.abs()), (-x).clamp(min=0)
        share = (positive * t).abs()
        log_weight = 1 + (positive - 1).abs() * size + share
        weight = share + 1 + size
        return {
            (0, 0): (1 + size) * (x.abs() + s) + log_weight * (s + back),
            (1, 0): weight * x.sigmoid() + share,
            (0, 1): x.abs() if p is None else (1 + positive) * s + x.abs() * (1 + positive),
            (2, 0): weight * logistic_slope(x, max(u, 1e-300)),
            (1, 1): torch.ones_like(x) if p is None else x.sigmoid() + positive,
        }


def broadcast_shape(draw: Drawing, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Draw a shape that broadcasts to another: itself, its last axes, or with some of size 1."""
    return broadcast_sizes(draw, shape[draw.integer(0, len(shape)) :] if draw.boolean() else shape)


def broadcast_sizes(draw: Drawing, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Draw a shape with some sizes of 1."""
    return tuple(1 if draw.integer(0, 3) == 3 else size for size in shape)


OPERATORS = (MSE(), L1(), SmoothL1(), Huber(), BCE(), BCEWithLogits())
