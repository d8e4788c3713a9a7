"""softmax and log_softmax: how their cases are drawn, and a derived bound of their rounding errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from hypothesis import assume
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import BATCHES, CHANNELS, CLASSES
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
    stored_bound,
    unit_roundoff,
)

_FUNCTION = 4.0  # roundings that a computed exp or log counts as: a faithful one needs 2


@dataclass
class Logarithms:
    """The softmax p over the last axis, its logarithm's magnitude, and the bounds of their errors."""

    p: Tensor
    log: Tensor
    p_error: Tensor
    log_error: Tensor


def softmax_errors(x: Tensor, dtype: torch.dtype) -> Logarithms:
    """Bound the errors of the softmax over the last axis and of its logarithm, computed in `dtype`.

    With m the greatest of the C logits, z = x - m, p the softmax, S = Σ exp z, u the unit roundoff, and exp
    and log taken to err by 4 u relative, the logarithm of the softmax, written as z - log S or as x - (m +
    log S), errs by at most

        e = gamma_(C+8) + 2 u Σ p|z| + gamma_8 (|x| + |m| + |log S|)

    (Blanchard, Higham and Higham, Accurately computing the log-sum-exp and softmax functions, 2021, section
    4). The softmax, written as exp z / S or as exp(log p), errs by p (exp(e) - 1 + gamma_(C+16)) + ν, since
    an exponential below the smallest normal number ν may be flushed to zero.
    """
    u, classes = unit_roundoff(dtype), x.shape[-1]
    if classes == 0:
        return Logarithms(x, x, x, x)
    largest = x.amax(-1, keepdim=True)
    log_p = x.log_softmax(-1)
    p, log_sum = log_p.exp(), (x - largest).exp().sum(-1, keepdim=True).log()
    spread = product(p, (x - largest).abs()).sum(-1, keepdim=True)
    error = relative(classes + 2 * _FUNCTION, u) + 2 * u * spread
    error = error + relative(2 * _FUNCTION, u) * (x.abs() + largest.abs() + log_sum)
    return Logarithms(p, log_p.abs(), _exponential_error(p, error, dtype), error)


def _exponential_error(p: Tensor, error: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bound of the error of p computed in `dtype` from a logarithm that errs by `error`."""
    roundings = relative(p.shape[-1] + 16, unit_roundoff(dtype))
    return product(p, error.expm1() + roundings) + torch.finfo(dtype).smallest_normal


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply magnitudes; 0 · inf is 0, since what is exactly zero there is left out or adds nothing."""
    return torch.where((a == 0) | (b == 0), 0.0, a * b)


class Softmax(Operator):
    """torch.nn.functional.softmax.

    With p the softmax, whose error `softmax_errors` bounds, g the incoming gradient and V the direction along
    which the gradient is differentiated, the gradient and its derivatives are polynomials in p:

        input          p (g - Σ p g)
        second grad    p (V - Σ p V)
        second input   p (w - Σ p w),  w = V g - V Σ p g - g Σ p V

    `propagated` bounds them, with 3 C + 16 roundings for C classes: one sum inside another, and a third. A
    product that underflows adds half the smallest subnormal η, times the factors that follow: 8 C η (1 +
    max|g|) (1 + max|V|) for every result. Where C times these factors exceeds the largest number, a product
    may overflow that a smaller factor would follow, and no gradient is refused.

    In reduced precision the derivatives may be computed from the output as it is stored, which is what
    autograd keeps: p then errs by one rounding of the output more.
    """

    name = "softmax"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.Softmax
    batched_axes = 2
    signature = ("input",)
    arguments = ("dim",)
    implied = frozenset(arguments)
    dtypes = FLOATS

    def draw_case(self, draw: Drawing) -> Case:
        shape = draw.lengthen(draw.shape(2, 4, 5), {-1: CLASSES, -2: CLASSES, -3: CHANNELS, -4: BATCHES})
        axes = max(1, len(shape))
        dim = draw.size("dim", -axes, axes - 1) if draw.takes("dim") else draw.supports.fixed_at("dim", -1)
        assume(-axes <= dim < axes)
        return self.complete(draw, {"input": shape}, {"dim": dim})

    def draw_invalid_case(self, draw: Drawing) -> Case:
        # Torch takes any dtype where there is nothing to compute.
        return super().draw_invalid_case(draw.claiming(empty=False))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        axes = max(1, len(case.shapes["input"]))
        bad = (axes, -axes - 1, 0.5, (0,)) if draw.takes("dim") else ()
        dtypes = ("int64", "bool", "complex64")
        return [*(case.changed(dim=dim) for dim in bad), *(case.retyped("input", each) for each in dtypes)]

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        return derived_bounds(results, case.torch_dtype, lambda dtype: self._errors(case, values, dtype))

    def _errors(self, case: Case, values: Values, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the bound of the error of each result that is computed in `dtype`."""
        dim, x = case.keywords["dim"], values.tensors["input"]
        if x.ndim == 0:
            x, dim = x.unsqueeze(0), 0
        sizes = softmax_errors(x.movedim(dim, -1), dtype)
        incoming, along = (
            torch.zeros_like(sizes.p) if each is None else each.reshape(x.shape).movedim(dim, -1).abs()
            for each in (values.grad_output, values.directions.get("input"))
        )
        classes = x.shape[dim]
        factors = (1 + greatest(incoming)) * (1 + greatest(along))
        tiny = 8 * classes * smallest_subnormal(dtype) * factors
        rounding = relative(3 * classes + 16, unit_roundoff(dtype))
        bounds = self.derivative_errors(sizes, incoming, along, rounding)
        if dtype == accumulator_of(case.torch_dtype) != case.torch_dtype:
            kept = self.kept(sizes, case.torch_dtype)
            output = {"output": bounds["output"]}
            bounds = self.derivative_errors(kept, incoming, along, rounding) | output
        if classes * factors > torch.finfo(dtype).max:
            unbound_derivatives(bounds)
        shape = values.tensors["input"].shape
        return {name: (each + tiny).movedim(-1, dim).reshape(shape) for name, each in bounds.items()}

    def derivative_errors(
        self, sizes: Logarithms, g: Tensor, along: Tensor, rounding: float
    ) -> dict[str, Tensor]:
        """Return the bounds of the output and its derivatives, the classes last."""

        def polynomial(p: Tensor) -> dict[str, Tensor]:
            total, across = (product(p, each).sum(-1, keepdim=True) for each in (g, along))
            w = along * g + along * total + g * across
            return {
                "output": p,
                "grad_input": product(p, g + total),
                "second_grad_output": product(p, along + across),
                "second_input": product(p, w + product(p, w).sum(-1, keepdim=True)),
            }

        return propagated(polynomial, (sizes.p,), (sizes.p_error,), rounding)

    def kept(self, sizes: Logarithms, dtype: torch.dtype) -> Logarithms:
        """Return what the gradient may be computed from: the output as it is stored in `dtype`."""
        return replace(sizes, p_error=stored_bound(sizes.p, sizes.p_error, torch.zeros(()), dtype))


class LogSoftmax(Softmax):
    """torch.nn.functional.log_softmax.

    The output errs by e (see `softmax_errors`). With p the softmax, g the incoming gradient, G = Σ g and V
    the direction along which the gradient is differentiated, the gradient and its derivatives are polynomials
    in p:

        input          g - p G
        second grad    V - Σ p V
        second input   -G p (V - Σ p V)

    and are bounded as those of `Softmax`.
    """

    name = "log_softmax"
    module = torch.nn.LogSoftmax

    def derivative_errors(
        self, sizes: Logarithms, g: Tensor, along: Tensor, rounding: float
    ) -> dict[str, Tensor]:
        whole = g.sum(-1, keepdim=True)

        def polynomial(p: Tensor) -> dict[str, Tensor]:
            across = product(p, along).sum(-1, keepdim=True)
            return {
                "grad_input": g + product(p, whole),
                "second_grad_output": along + across,
                "second_input": product(p, whole * (along + across)),
            }

        bounds = propagated(polynomial, (sizes.p,), (sizes.p_error,), rounding)
        return {"output": sizes.log_error, **bounds}

    def kept(self, sizes: Logarithms, dtype: torch.dtype) -> Logarithms:
        stored = stored_bound(sizes.log, sizes.log_error, torch.zeros(()), dtype)
        return replace(sizes, p_error=_exponential_error(sizes.p, stored, accumulator_of(dtype)))


OPERATORS = (Softmax(), LogSoftmax())
