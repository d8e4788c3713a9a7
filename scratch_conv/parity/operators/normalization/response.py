"""local_response_norm: how its cases are drawn, and a derived bound of its rounding errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import BATCHES, CHANNELS, LENGTHS
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import Values
from scratch_conv.parity.operators.operator import (
    Bound,
    Operator,
    derived_bounds,
    greatest,
    unbound_derivatives,
)
from scratch_conv.parity.operators.rounding import (
    accumulator_of,
    propagated,
    relative,
    smallest_subnormal,
    unit_roundoff,
)

_DEFAULTS: dict[str, Any] = {"alpha": 1e-4, "beta": 0.75, "k": 1.0}
_CHOICES: dict[str, tuple[Any, ...]] = {
    "alpha": (1e-4, 1.0, 0.1),
    "beta": (0.75, 0.5, 1.0, 2.0),
    "k": (1.0, 0.5, 2.0),
}
_FUNCTION = 4.0  # roundings that a computed power counts as: a faithful one needs 2


class LocalResponseNorm(Operator):
    """torch.nn.functional.local_response_norm.

    With u the unit roundoff, n neighbours, S the sum over those of a channel and T that over the channels of
    whom it is a neighbour, D = k + (α / n) S(x²) is a sum of n squares and k, none negative: it errs by r =
    gamma_(n+4), relative (Higham, section 3.1). A power D^-e that is computed as such, or as a product of
    powers whose exponents have a sum of sizes of at most f, errs by (1 + r)^f (1 + 4 u)^3 - 1. With

        P = D^-β        f = β             Q = D^(-β-1)    f = 3 β + 1, as D^(β-1) / D^2β
        R = D^(-β-2)    f = 5 β + 4, as autograd differentiates that

    the results are polynomials in these: with g the incoming gradient, V the direction along which the
    gradient is differentiated, s = 2 α β / n, t = 2 α (β + 1) / n and A = S(V x),

        y         x P
        x         g P - s x T(g x Q)
        second g  V P - s x Q A
        second x  -s (x T(V g Q) + V T(g x Q) + g Q A) + s t x T(A g x R)

    `propagated` bounds them, with n + 16 roundings, and 2 n + 32 for the second derivatives. A product that
    underflows adds half the smallest subnormal η, times the factors that follow, D^(β-1) twice at most among
    them (Q by autograd): 16 n η (1 + max|x|)² (1 + max|g|) (1 + max|V|) (1 + s) (1 + t) (1 + max D^(β-1))².
    Where S(x²) exceeds the largest number nothing is refused, nor a gradient where the products of its
    factors do.
    """

    name = "local_response_norm"
    module = torch.nn.LocalResponseNorm
    batched_axes = 3
    signature = ("input",)
    arguments = ("size", *_DEFAULTS)
    defaults = _DEFAULTS
    choices = _CHOICES
    dtypes = FLOATS
    accurate_twice = False
    invalid_arguments = ({"size": 0}, {"size": -3}, {"size": 2.5}, {"beta": None}, {"k": "one"})

    def draw_case(self, draw: Drawing) -> Case:
        half = draw.dtype in ("float16", "bfloat16")  # torch takes three axes then
        axes = 3 if half else draw.size("axes", 3, 5)
        batches = [1, 2, 3] if draw.supports.batches else [1]
        batch = draw.choice(batches + ([0] if draw.supports.empty else []))
        sizes = tuple(draw.integer(1, 4) for _ in range(axes - 2))
        shape = (batch, draw.integer(1, 7), *sizes)
        ranges = {-axis: LENGTHS for axis in range(1, axes - 1)}
        shape = draw.lengthen(shape, ranges | {1 - axes: CHANNELS, -axes: BATCHES})
        size = draw.fixed("size") or draw.integer(1, 6)
        case = self.complete(draw, {"input": shape}, {"size": size})
        return case.arranged("input", "contiguous") if axes == 5 else case  # torch views its squares

    def draw_invalid_case(self, draw: Drawing) -> Case:
        # Torch 2.14 returns what is empty as it is.
        return super().draw_invalid_case(draw.claiming(empty=False))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape = case.shapes["input"]
        changes = [case.reshaped("input", shape[:2]), case.reshaped("input", ())]
        return [*changes, case.retyped("input", "bool"), case.retyped("input", "complex64")]

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        bounds = derived_bounds(results, case.torch_dtype, lambda dtype: _errors(self, case, values, dtype))
        most = torch.finfo(accumulator_of(case.torch_dtype)).max
        finite = values.tensors["input"].nan_to_num(0.0, 0.0, 0.0)
        size = case.keywords["size"]
        bounds["output"].overflow |= ~(_box(finite.square(), size // 2, (size - 1) // 2) <= most)
        for name, bound in bounds.items():
            if name.startswith(("grad_", "second_")):
                bound.overflow |= ~results[name].isfinite()
        return bounds


@dataclass
class _Power:
    """A power of D, and the bound of its error."""

    size: Tensor
    error: Tensor


def _errors(operator: Operator, case: Case, values: Values, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the bound of the error of each result that is computed in `dtype`."""
    u, x = unit_roundoff(dtype), values.tensors["input"]
    n = case.keywords["size"]
    alpha, beta, k = (float(case.keywords.get(name, operator.defaults[name])) for name in _DEFAULTS)
    before, after = n // 2, (n - 1) // 2
    divisor, r = k + alpha / n * _box(x.square(), before, after), relative(n + 4, u)

    def power(exponent: float, f: float) -> _Power:
        size = divisor**exponent
        return _Power(size, size * ((1 + r) ** f * (1 + _FUNCTION * u) ** 3 - 1))

    p = power(-beta, beta)
    q, more = power(-beta - 1, 3 * beta + 1), power(-beta - 2, 5 * beta + 4)
    s, t, x = 2 * alpha * beta / n, 2 * alpha * (beta + 1) / n, x.abs()
    g, along = (
        torch.zeros_like(x) if each is None else each.abs()
        for each in (values.grad_output, values.directions.get("input"))
    )
    across = _box(along * x, before, after)

    def back(each: Tensor) -> Tensor:
        return _box(each, after, before)

    def first(p: Tensor, q: Tensor) -> dict[str, Tensor]:
        return {"output": x * p, "grad_input": g * p + s * x * back(g * x * q)}

    def second(p: Tensor, q: Tensor, more: Tensor) -> dict[str, Tensor]:
        curved = x * back(along * g * q) + along * back(g * x * q) + g * q * across
        return {
            "second_grad_output": along * p + s * x * q * across,
            "second_input": s * curved + s * t * x * back(across * g * x * more),
        }

    errors = propagated(first, (p.size, q.size), (p.error, q.error), relative(n + 16, u))
    powers = (p, q, more)
    errors |= propagated(
        second,
        tuple(each.size for each in powers),
        tuple(each.error for each in powers),
        relative(2 * n + 32, u),
    )
    square = (1 + greatest(x)) * (1 + greatest(x))
    factors = square * (1 + greatest(g)) * (1 + greatest(along))
    factors *= (1 + s) * (1 + t)
    if not n * factors * square <= torch.finfo(dtype).max:
        unbound_derivatives(errors)
    factors *= (1 + greatest(divisor ** (beta - 1))) ** 2
    tiny = 16 * n * smallest_subnormal(dtype) * factors
    return {name: (error + tiny).nan_to_num(torch.inf, torch.inf) for name, error in errors.items()}


def _box(x: Tensor, before: int, after: int) -> Tensor:
    """Sum each channel of (N, C, ...) with so many before and after it."""
    total, channels = x.clone(), x.shape[1]
    for shift in range(1, channels):
        if shift <= before:
            total[:, shift:] += x[:, :-shift]
        if shift <= after:
            total[:, :-shift] += x[:, shift:]
    return total


OPERATORS = (LocalResponseNorm(),)
