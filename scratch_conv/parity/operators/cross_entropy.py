"""cross_entropy: how its cases are drawn, and a derived bound of its rounding errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from scratch_conv.parity.drawing.arrays import Array
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import BATCHES, CLASSES, Sizes
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import Call, Values
from scratch_conv.parity.operators.operator import (
    Bound,
    Operator,
    derived_bounds,
    greatest,
    unbound_derivatives,
)
from scratch_conv.parity.operators.rounding import propagated, relative, smallest_subnormal, unit_roundoff
from scratch_conv.parity.operators.softmax import Logarithms, product, softmax_errors

_DEFAULTS = {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0}


class CrossEntropy(Operator):
    """torch.nn.functional.cross_entropy of class indices and of class probabilities.

    With p the softmax and L = -log p, whose errors e_p and e_L `softmax_errors` bounds, and q the weight of
    each L (of the class's weight, the target and the smoothing), the loss is Σ q L / D, where D is 1, the
    number of samples or the sum of their weights. With h the incoming gradient divided by D, Q = Σq of a
    sample, q' = dq/dt for a target t of probabilities, and V and T the directions along which the gradients
    of the logits and of the target are differentiated, the gradients and their derivatives are polynomials in
    p and L:

        logits          h (p Q - q)
        target          h q' L
        second grad     (Σ V (p Q - q) + Σ T q' L) / D
        second logits   h (Q p (V - Σ p V) + p Σ T q' - T q')
        second target   h q' (Σ p V - V)

    `propagated` bounds them, with 2 (K + C) + 24 roundings, where K is the number of terms of the loss and of
    D, and C the number of classes.

    A product that underflows adds half the smallest subnormal η: K η to the loss, and to a derivative of it 4
    K η times the factors that follow, among 1, |h|, |q|, |V| and |T|. Where the sum of all L, times the
    greatest weight and target, or K times these factors, exceeds the largest number, so may a partial result:
    what is not finite is not refused there.
    """

    name = "cross_entropy"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.CrossEntropyLoss
    batched_axes = 2
    signature = ("input", "target", "weight")
    inputs = ("input", "target")
    arguments: ClassVar[tuple[str, ...]] = ("weight", *_DEFAULTS)
    defaults: ClassVar[dict[str, Any]] = _DEFAULTS
    constructed = frozenset({"weight"})
    dtypes = FLOATS
    accurate_twice = False
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
        {"reduction": "average"},
        {"label_smoothing": 1.5},
        {"ignore_index": 0.5},
    )

    @property
    def other_ways(self) -> tuple[Call, ...]:
        return (self._divided_at_the_end,)

    def _divided_at_the_end(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, **arguments: Any
    ) -> Any:
        """Divide the sum; torch divides both parts of a smoothed loss, by weights of 0 to 0 / 0 + c / 0."""
        if arguments.get("reduction", "mean") != "mean" or target.is_floating_point():
            return self.reference(input, target, weight, **arguments)
        summed = self.reference(input, target, weight, **{**arguments, "reduction": "sum"})
        ignored = arguments.get("ignore_index", _DEFAULTS["ignore_index"])
        ones = -torch.ones_like(input)
        return summed / nll_loss(ones, target, weight, ignore_index=ignored, reduction="sum")

    def draw_case(self, draw: Drawing) -> Case:
        classes = draw.integer(1, 6)
        several = draw.supports.batches
        batches: list[tuple[int, ...]] = [(1,), (2,), (4,)] if several else [(1,)]
        batches += [(2, 3), (2, 2, 2)] if draw.supports.further_axes and several else []
        batches += [()] if draw.supports.unbatched else []
        batches += [(0,)] if draw.supports.empty else []
        batch = draw.choice(batches)
        shape = draw.lengthen((*batch[:1], classes, *batch[1:]), _sizes(batch))
        classes, batch = (shape[1], (*shape[:1], *shape[2:])) if batch else (shape[0], ())
        probable = draw.supports.class_probabilities and draw.boolean()
        shapes = {"input": shape, "target": shape if probable else batch}
        if draw.present("weight"):
            shapes["weight"] = (classes,)
        arguments = {
            "ignore_index": draw.argument("ignore_index", *((-100,) if probable else (-100, 0, 1))),
            "reduction": draw.argument("reduction", "mean", "sum", "none"),
            "label_smoothing": draw.argument("label_smoothing", 0.0, 0.0, 0.1, 0.5, 1.0),
        }
        differentiable = ("input", "target") if probable else ("input",)
        case = self.complete(draw, shapes, arguments, differentiable=differentiable)
        order = case.order if shape[0] else 1  # torch 2.14 does not differentiate the loss of nothing twice
        tensors = _targets(draw, case.tensors, classes, arguments)
        return replace(case, arrays=tuple(tensors.items()), order=order)

    def draw_invalid_case(self, draw: Drawing) -> Case:
        return super().draw_invalid_case(draw.claiming(empty=False))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shapes = case.shapes
        changes = [
            case.reshaped("target", (*shapes["target"], 2)),
            case.reshaped("target", (shapes["input"][0] + 1, *shapes["target"][1:])),
            case.reshaped("input", ()),
            case.retyped("input", "int64"),
            case.retyped("target", "int32"),
            case.retyped("target", "bool"),
        ]
        if len(shapes["input"]) > 1:
            shape = shapes["input"][:1] + shapes["input"][2:]
            indices = Array(shape, "classes", high=99, seed=7, dtype="int64")
            arrays = {**case.tensors, "target": indices}
            changes.append(replace(case, arrays=tuple(arrays.items()), wanted=(), order=1))
        if case.tensors["target"].dtype is None:
            changes.append(case.changed(ignore_index=1))
        if "weight" in shapes:
            changes.append(case.reshaped("weight", (shapes["weight"][0] + 1,)))
            changes.append(case.retyped("weight", "float64" if case.dtype == "float32" else "float32"))
        return changes

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        return {**({"weight": tensors["weight"]} if "weight" in tensors else {}), **arguments}

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        """Return the bounds that the class derives; a derivative's partial products may overflow to a NaN."""
        bounds = derived_bounds(results, case.torch_dtype, lambda dtype: _errors(case, values, dtype))
        for name, bound in bounds.items():
            if name.startswith(("grad_", "second_")):
                bound.overflow |= bound.allowed.isinf()
        if _partial_sums_overflow(case, values):
            for name in bounds.keys() & {"output", "grad_target", "second_grad_output"}:
                bounds[name].overflow |= True
        return bounds


def _sizes(batch: tuple[int, ...]) -> dict[int, Sizes]:
    """Return how large classes and samples may be, by their axes of the logits."""
    return {-max(1, len(batch)): CLASSES, **({-len(batch) - 1: BATCHES} if batch else {})}


@dataclass
class _Loss:
    """What the loss is made of, the classes last.

    Attributes:
        q: the weight of each -log p.
        slope: q', the derivative of q by the target's probability.
        divisor: what the sum is divided by.
        incoming: |h|, with a last axis of 1; None where no gradient is wanted.
    """

    q: Tensor
    slope: Tensor
    divisor: Tensor
    incoming: Tensor | None


def _loss(case: Case, values: Values, axis: int) -> _Loss:
    target, keywords = values.tensors["target"], case.keywords
    classes = values.tensors["input"].shape[axis]
    weight = values.tensors.get("weight", torch.ones(classes, dtype=torch.float64))
    smoothing, reduction = keywords.get("label_smoothing", 0.0), keywords.get("reduction", "mean")
    if target.is_floating_point():
        q = (target.movedim(axis, -1).abs() * (1 - smoothing) + smoothing / classes) * weight
        divisor = torch.tensor(float(q.numel() // classes))
    else:
        kept = target != keywords.get("ignore_index", _DEFAULTS["ignore_index"])
        index = torch.where(kept, target, 0).long()
        one_hot = torch.nn.functional.one_hot(index, classes).double()
        q = (one_hot * (1 - smoothing) + smoothing / classes) * weight * kept.unsqueeze(-1)
        divisor = (weight[index] * kept).sum()
    divisor = divisor if reduction == "mean" else torch.ones(())
    incoming = values.grad_output
    if incoming is not None:
        incoming = incoming.abs().unsqueeze(-1) / divisor
    return _Loss(q, (1 - smoothing) * weight, divisor, incoming)


def _errors(case: Case, values: Values, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the bound of the error of each result that is computed in `dtype`."""
    logits = values.tensors["input"]
    axis = 0 if logits.ndim == 1 else 1
    softmax = softmax_errors(logits.movedim(axis, -1), dtype)
    loss = _loss(case, values, axis)
    count, classes = loss.q.numel(), loss.q.shape[-1]
    sizes, errors = (softmax.p, softmax.log), (softmax.p_error, softmax.log_error)
    rounding = relative(2 * (count + classes) + 24, unit_roundoff(dtype))
    reduced = case.keywords.get("reduction", "mean") != "none"

    def output(p: Tensor, log: Tensor) -> dict[str, Tensor]:
        losses = product(loss.q, log).sum(-1)
        return {"output": losses.sum() / loss.divisor if reduced else losses}

    bounds = propagated(output, sizes, errors, rounding)
    tiny = count * smallest_subnormal(dtype)
    bounds["output"] = bounds["output"] + tiny
    if loss.incoming is not None:
        directions = {
            name: direction.abs().movedim(axis, -1) for name, direction in values.directions.items()
        }
        derivatives = _derivatives(loss, directions, reduced, softmax)
        factors = 1.0
        for size in (loss.incoming, loss.q, *directions.values()):
            factors *= 1 + greatest(size)
        for name, bound in propagated(derivatives, sizes, errors, rounding).items():
            whole = bound if name == "second_grad_output" else bound.movedim(-1, axis)
            bounds[name] = whole + 4 * tiny * factors
        if count * factors > torch.finfo(dtype).max:
            unbound_derivatives(bounds)
    return bounds


def _partial_sums_overflow(case: Case, values: Values) -> bool:
    """Return whether the finite losses, weighted, may sum to an infinity, beside which 0 makes a NaN."""
    logits, target = values.tensors["input"], values.tensors["target"]
    sizes = logits.log_softmax(0 if logits.ndim == 1 else 1).abs().nan_to_num(0.0, 0.0)
    weights = [values.tensors.get("weight"), target if target.is_floating_point() else None]
    factors = [1 + greatest(weight) for weight in weights]
    return bool(sizes.sum() * factors[0] * factors[1] > torch.finfo(case.torch_dtype).max)


def _derivatives(loss: _Loss, directions: dict[str, Tensor], reduced: bool, softmax: Logarithms) -> Any:
    """Return the polynomial of magnitudes whose values are the gradients and their derivatives."""
    h, q, slope, nothing = loss.incoming, loss.q, loss.slope, torch.zeros_like(softmax.p)
    assert h is not None
    along, turn = directions.get("input", nothing), directions.get("target", nothing)
    whole = q.sum(-1, keepdim=True)

    def derivatives(p: Tensor, log: Tensor) -> dict[str, Tensor]:
        results = {"grad_input": h * (p * whole + q), "grad_target": product(h * slope, log)}
        inner = (p * along).sum(-1, keepdim=True)
        turned = (turn * slope).sum(-1, keepdim=True)
        back = (along * (p * whole + q) + product(turn * slope, log)).sum(-1) / loss.divisor
        results["second_grad_output"] = back.sum() if reduced else back
        results["second_input"] = h * (whole * p * (along + inner) + p * turned + turn * slope)
        results["second_target"] = h * slope * (inner + along)
        return results

    return derivatives


def _targets(
    draw: Drawing, tensors: dict[str, Array], classes: int, arguments: dict[str, Any]
) -> dict[str, Array]:
    """Make what torch takes of the tensors drawn: class indices or finite probabilities, positive weights.

    All samples may be ignored. Torch takes indices of bytes where it does not smooth and there are no pixels.
    Its own paths disagree on 0 · inf, hence special values among the logits only.
    """
    target = tensors["target"]
    if target.shape == tensors["input"].shape:
        kind = "integers" if target.kind == "special" else target.kind
        tensors["target"] = replace(target, kind=kind).made_positive()
    else:
        high = 1 if arguments["ignore_index"] == 0 and draw.boolean() else classes
        bytes_too = (
            draw.supports.byte_targets
            and not arguments["label_smoothing"]
            and len(tensors["input"].shape) < 3
        )
        dtype = draw.choice(("int64", "int64", "uint8") if bytes_too else ("int64",))
        tensors["target"] = replace(target, kind="classes", high=high, dtype=dtype)
    if "weight" in tensors:
        weight = tensors["weight"].made_positive()
        if weight.kind in ("integers", "special"):  # a mean by weights of 0 is a special value
            weight = replace(weight, kind="integers" if draw.supports.special_values else "counting")
        tensors["weight"] = weight
    return tensors


OPERATORS = (CrossEntropy(),)
