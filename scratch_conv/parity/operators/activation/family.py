"""The activations beside relu: how their cases are drawn, and derived bounds of their rounding errors.

With f the activation, g the incoming gradient and V the direction along which the gradient is
differentiated, the results are

    output         f(x)
    input          g f'(x)
    second grad    V f'(x)
    second input   V g f''(x)

Each of f, f' and f'' is a sum of products of elementary functions. A computed one errs by at most gamma_k m,
where k counts the roundings of a product (an elementary function counts as 4, a faithful one needs 2), and m
is the sum of the products' magnitudes, each weighted by what the rounding of a function's argument does to
it: exp(z) errs by |z| u more if z was rounded (Higham, Accuracy and Stability of Numerical Algorithms, 2nd
ed., section 1.6). Where a formula takes 1 - a for an a near 1, of which 1 - a is much smaller, that errs by u
as a does, or it is rounded to zero: by min(u, 1 - a).

An exponential below the smallest normal number ν may be flushed to zero, and is multiplied by x up to three
times afterwards. Where a product of the factors exceeds the largest number, it overflows in one order of
multiplication and not in another; of an infinite input, the limit of a derivative is as right as inf · 0.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from hypothesis import assume
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS, INTEGERS
from scratch_conv.parity.drawing.sizes import CHANNELS, VALUES
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import Call, Values
from scratch_conv.parity.operators.operator import Bound, Operator, Picking, derived_bounds
from scratch_conv.parity.operators.rounding import (
    accumulator_of,
    relative,
    smallest_subnormal,
    stored_bound,
    unit_roundoff,
)

Magnitudes = tuple[Tensor, Tensor, Tensor]
"""Those of f, f' and f''; zero where a result is exact."""

_SATURATED = 1e3  # beyond, all exponentials are 0 or 1 in every precision


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply magnitudes; 0 · inf is 0, since what is exactly zero there is left out."""
    return torch.where((a == 0) | (b == 0), 0.0, a * b)


class Activation(Operator):
    """A function of each element by itself."""

    batched_axes = 2
    signature = ("input",)
    dtypes: ClassVar[tuple[str, ...]] = FLOATS
    roundings: ClassVar[int] = 12
    smooth: ClassVar[bool] = True  # whether what is small may underflow, and nothing is known to be exact
    multiplied: ClassVar[float] = 1.0  # by how much the input is on the way to the output, at most

    def draw_case(self, draw: Drawing) -> Case:
        shape = draw.lengthen(draw.shape(2, 4, 5), {-1: VALUES, -2: CHANNELS})
        return self.complete(draw, {"input": shape}, self.draw_arguments(draw))

    def draw_arguments(self, draw: Drawing) -> dict[str, Any]:
        """Draw the arguments that are not among `choices`."""
        return {}

    def draw_invalid_case(self, draw: Drawing) -> Case:
        invalid = super().draw_invalid_case(draw.claiming(empty=False))
        assume("special" not in invalid.kinds() or invalid.tensors["input"].dtype is None)
        return invalid

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        """Return calls of whole numbers, of truth values, and of elements that share memory."""
        changes = [case.retyped("input", each) for each in ("int64", "bool")]
        if draw.takes("inplace") and "inplace" in self.arguments:
            twice = case.reshaped("input", (2, *case.shapes["input"]))
            changes.append(twice.arranged("input", "expanded").changed(inplace=True))
        return changes

    def magnitudes(self, x: Tensor, u: float, **arguments: Any) -> Magnitudes:
        """Return the magnitudes of f, f' and f'' at x, where the unit roundoff is u."""
        raise NotImplementedError

    def kept(self, x: Tensor, **arguments: Any) -> Magnitudes | None:
        """Return f, and the derivatives of f' and f'' with respect to f, if f' may be computed from f."""
        return None

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        bounds = derived_bounds(
            results, case.torch_dtype, lambda dtype: self._errors(case, values, results, dtype)
        )
        largest = torch.finfo(case.torch_dtype).max
        x, g, along = self._operands(values)
        for name, bound in bounds.items():
            if name in ("output", "input"):
                bound.overflow |= x.isfinite() & (x.abs() * self.multiplied > largest)
            else:
                factors = (1 + g) * (1 + along) * (1 + x.abs()) ** 3
                bound.overflow |= factors.nan_to_num(torch.inf, torch.inf) > largest
        return bounds

    def _operands(self, values: Values) -> tuple[Tensor, Tensor, Tensor]:
        """Return the input, and the magnitudes of the incoming gradient and of the direction."""
        x = values.tensors["input"]
        given = (values.grad_output, values.directions.get("input"))
        g, along = (torch.zeros_like(x) if each is None else each.abs() for each in given)
        return x, g, along

    def _errors(
        self, case: Case, values: Values, results: dict[str, Tensor], dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """Return the bound of the error of each result that is computed in `dtype`."""
        x, g, along = self._operands(values)
        u, arguments = unit_roundoff(dtype), {**self.defaults, **case.keywords}
        sizes = self.magnitudes(x, u, **arguments)
        tiny = torch.finfo(dtype).smallest_normal * (1 + x.abs().nan_to_num(0).clamp(max=_SATURATED)) ** 3
        errors = [
            product(size, torch.tensor(relative(self.roundings + 2 * order, u)))
            + tiny * ((size > 0) | self.smooth)
            for order, size in enumerate(sizes)
        ]
        kept = self.kept(x, **arguments)
        if kept is not None and dtype == accumulator_of(case.torch_dtype):
            value, *slopes = kept
            moved = stored_bound(value.abs(), errors[0], torch.zeros(()), case.torch_dtype)
            for order, slope in enumerate(slopes, 1):
                errors[order] = errors[order] + product(slope, moved)
        first, second = errors[1:]
        underflow = smallest_subnormal(dtype) * (1 + g) * (1 + along)
        found = {
            "output": errors[0],
            "input": errors[0],
            "grad_input": product(g, first) + underflow * ((first > 0) | self.smooth),
            "second_grad_output": product(along, first) + underflow * ((first > 0) | self.smooth),
            "second_input": product(product(along, g), second) + underflow * ((second > 0) | self.smooth),
        }
        return {name: found[name].nan_to_num(torch.inf, torch.inf) for name in results}


def in_place(formula: Call, input: Tensor, inplace: bool) -> Tensor:
    """Return a formula of the input, written over it if it is to be: then the formula is of a copy."""
    output: Tensor = input.copy_(formula(input.clone())) if inplace else formula(input)
    return output


def nearly(x: Tensor, u: float) -> Tensor:
    """Bound the error of 1 - a in units of u, where it is exp(-x) or so: 1, or less where a rounds to 1."""
    return torch.exp(-x).div(u).clamp(max=1.0)


def logistic_slope(x: Tensor, u: float) -> Tensor:
    """Return the magnitude of σ (1 - σ)."""
    s = x.sigmoid()
    return s * (-x).sigmoid() + s * nearly(x, u)


class Sigmoid(Activation):
    """torch.sigmoid; f' = y (1 - y), and f'' = f' (1 - 2 y), may be computed from the output y as stored."""

    name = "sigmoid"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.Sigmoid
    arguments = ()

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        return [case]  # torch takes every dtype that can be drawn, and there is no argument

    def magnitudes(self, x: Tensor, u: float, **_: Any) -> Magnitudes:
        slope = logistic_slope(x, u)
        return x.sigmoid(), slope, 3 * slope

    def kept(self, x: Tensor, **_: Any) -> Magnitudes:
        y = x.sigmoid()
        return y, (1 - 2 * y).abs() + 2**-8, torch.ones_like(y)


class Tanh(Sigmoid):
    """torch.tanh; f' = 1 - y² and f'' = -2 y f' may be computed from the output y as it is stored."""

    name = "tanh"
    module = torch.nn.Tanh

    def magnitudes(self, x: Tensor, u: float, **_: Any) -> Magnitudes:
        y = x.tanh()
        slope = 1 - y.square() + y.square() * nearly(2 * x.abs(), u / 4)
        return y.abs(), slope, 2 * y.abs() * slope

    def kept(self, x: Tensor, **_: Any) -> Magnitudes:
        y = x.tanh()
        return y, 2 * y.abs() + 2**-8, torch.full_like(y, 4.0)


class SiLU(Activation):
    """torch.nn.functional.silu: x σ(x), σ + x σ (1 - σ), (2 + x (1 - 2 σ)) σ (1 - σ)."""

    name = "silu"
    module = torch.nn.SiLU
    arguments = ("inplace",)
    defaults: ClassVar[dict[str, Any]] = {"inplace": False}

    def magnitudes(self, x: Tensor, u: float, **_: Any) -> Magnitudes:
        slope, size = logistic_slope(x, u), x.abs()
        return size * x.sigmoid(), x.sigmoid() + product(size, slope), product(2 + 3 * size, slope)


class Softplus(Activation):
    """torch.nn.functional.softplus: log(1 + exp(z)) / beta, σ(z), beta σ (1 - σ), z = beta x.

    Beyond the threshold it is x, exactly. With powers of two for beta, z is exact, too: where it is rounded,
    so is what is compared with the threshold, at which the function jumps.
    """

    name = "softplus"
    module = torch.nn.Softplus
    arguments = ("beta", "threshold")
    defaults: ClassVar[dict[str, Any]] = {"beta": 1.0, "threshold": 20.0}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {
        "beta": (1.0, 2.0, 0.5, 4),
        "threshold": (20.0, 1.0, 30, 3.5),
    }
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
        {"beta": "one"},
        {"threshold": None},
        {"beta": (1.0,)},
    )

    def magnitudes(
        self, x: Tensor, u: float, *, beta: float = 1.0, threshold: float = 20.0, **_: Any
    ) -> Magnitudes:
        z = x * beta
        curved = ~(z > threshold)
        sizes = F.softplus(z) / beta, z.sigmoid(), beta * logistic_slope(z, u)
        return tuple(size * curved for size in sizes)  # type: ignore[return-value]


class ELU(Activation):
    """torch.nn.functional.elu: alpha scale (exp(z) - 1) with z = input_scale x below zero, else scale x.

    In place, the derivative may be computed from the output: (y + alpha scale) input_scale.
    """

    name = "elu"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.ELU
    arguments: ClassVar[tuple[str, ...]] = ("alpha", "inplace")
    defaults: ClassVar[dict[str, Any]] = {"alpha": 1.0, "inplace": False}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"alpha": (1.0, 0.5, 2.0, 1.7)}
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = ({"alpha": "one"}, {"alpha": None})

    def factors(self, *, alpha: float = 1.0, **_: Any) -> tuple[float, float, float]:
        """Return alpha, scale and input_scale."""
        return float(alpha), 1.0, 1.0

    def magnitudes(self, x: Tensor, u: float, *, inplace: bool = False, **arguments: Any) -> Magnitudes:
        alpha, scale, input_scale = self.factors(**arguments)
        z = (x * input_scale).clamp(max=0)
        whole = alpha * scale * input_scale
        above = 0.0 if scale == 1 else scale
        slope = whole * z.exp() * (1 + product(z.abs(), z.exp().sign())) + inplace * whole
        second = torch.where(x < 0, slope * input_scale, 0.0)
        value = torch.where(x > 0, above * x, alpha * scale * z.expm1().abs())
        return value, torch.where(x > 0, above, slope), second

    def kept(self, x: Tensor, *, inplace: bool = False, **arguments: Any) -> Magnitudes | None:
        alpha, scale, input_scale = self.factors(**arguments)
        below = torch.where(x > 0, 0.0, input_scale) * inplace
        value = torch.where(x > 0, scale * x, alpha * scale * (x * input_scale).clamp(max=0).expm1())
        return value, below, below * input_scale


class SELU(ELU):
    """torch.nn.functional.selu: `ELU` with two constants."""

    name = "selu"
    module = torch.nn.SELU
    arguments = ("inplace",)
    defaults: ClassVar[dict[str, Any]] = {"inplace": False}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {}
    invalid_arguments = ()

    def factors(self, **_: Any) -> tuple[float, float, float]:
        return 1.6732632423543772, 1.0507009873554805, 1.0


class CELU(ELU):
    """torch.nn.functional.celu: `ELU` with 1 / alpha for input_scale.

    In float64 torch rounds 1 / alpha to float32: that is seen where it is not a power of two, which is why
    only those are drawn.
    """

    name = "celu"
    module = torch.nn.CELU
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"alpha": (1.0, 0.5, 2.0, 4.0)}
    invalid_arguments = ({"alpha": "one"}, {"alpha": 0.0}, {"alpha": 0})

    def factors(self, *, alpha: float = 1.0, **_: Any) -> tuple[float, float, float]:
        return float(alpha), 1.0, 1 / alpha


class GELU(Activation):
    """torch.nn.functional.gelu: x Φ(x), Φ + x φ, (2 - x²) φ; or x σ(v) with a cubic v, and its derivatives.

    Φ is computed as (1 + erf(x / √2)) / 2, and σ(v) as (1 + tanh(v / 2)) / 2: for a negative x they err as 1
    does, or are rounded to zero. Torch's own exponential in float32 is zero already where it is less than u,
    as its sum with 1 hides: the error of Φ + x φ is taken to be u as long as φ is more than u².
    """

    name = "gelu"
    module = torch.nn.GELU
    arguments = ("approximate",)
    defaults: ClassVar[dict[str, Any]] = {"approximate": "none"}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"approximate": ("none", "tanh")}
    invalid_arguments = ({"approximate": "sigmoid"}, {"approximate": None}, {"approximate": 1})

    def magnitudes(self, x: Tensor, u: float, *, approximate: str = "none", **_: Any) -> Magnitudes:
        size = x.abs()
        if approximate == "none":
            density = (-x.square() / 2).exp() / math.sqrt(2 * math.pi)
            share = torch.special.ndtr(x) + (density / u**2).clamp(max=1)
            weighted = product(density, 1 + x.square() / 2)
            return product(size, share), share + product(size, weighted), product(2 + x.square(), weighted)
        c = 2 * math.sqrt(2 / math.pi)
        v, v1, v2 = c * (x + 0.044715 * x**3), c * (1 + 3 * 0.044715 * x**2), c * 6 * 0.044715 * size
        near = nearly(v.abs(), u / 4)
        slope = product(v.sigmoid() * (-v).sigmoid(), 1 + v.abs()) + near
        share = v.sigmoid() + slope
        first = share + product(size, product(v1, slope))
        return product(size, share), first, product(slope, 2 * v1 + size * (v1.square() * 3 + v2))


class Mish(Activation):
    """torch.nn.functional.mish: x t with t = tanh(s) of softplus s; t + x q σ with q = 1 - t²; and so on.

    Torch's second derivative is NaN where exp(x) overflows: right is that of the composed formula.
    """

    name = "mish"
    module = torch.nn.Mish
    arguments = ("inplace",)
    defaults: ClassVar[dict[str, Any]] = {"inplace": False}
    accurate_twice = False

    @property
    def definition(self) -> Call:
        """The composed formula; torch's softplus is the input itself from 20 on, where its tanh is 1."""
        return lambda x, inplace=False: in_place(lambda x: x * F.softplus(x).tanh(), x, inplace)

    def magnitudes(self, x: Tensor, u: float, **_: Any) -> Magnitudes:
        s, size, sigma = F.softplus(x), x.abs(), x.sigmoid()
        t = s.tanh()
        q = product(s.cosh() ** -2, 1 + s) + t.square() * nearly(2 * s, u / 4)
        slope = product(q, sigma)
        return size * t, t + product(size, slope), product(2 + 3 * size, slope)


class Hardsigmoid(Activation):
    """torch.nn.functional.hardsigmoid: min(max(x + 3, 0), 6) / 6, which is 0 or 1 outside of -3 to 3.

    Torch knows no second derivative: it is asked for in float32 alone, of finite numbers, where the
    definition says it. Torch's gradient in float64 is that of float32, off by 1e-8: float64 is not drawn.
    """

    name = "hardsigmoid"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.Hardsigmoid
    arguments = ("inplace",)
    defaults: ClassVar[dict[str, Any]] = {"inplace": False}
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float16", "bfloat16")
    accurate_twice = False
    smooth = False
    roundings = 4

    @property
    def definition(self) -> Call:
        """Return what has every derivative, and does not round 1 / 6."""
        return lambda x, inplace=False: in_place(lambda x: F.hardtanh(x + 3, 0, 6) / 6, x, inplace)

    def draw_case(self, draw: Drawing) -> Case:
        case = super().draw_case(draw)
        finite = case.dtype == "float32" and "special" not in case.kinds()
        return case if finite else replace(case, order=1)

    def magnitudes(self, x: Tensor, u: float, **_: Any) -> Magnitudes:
        inside = ((x > -3) & (x < 3)) * torch.ones_like(x)
        value = inside * (x.abs().nan_to_num() + 3) / 6 + (x >= 3)
        return value, inside / 6, torch.zeros_like(x)


class Hardswish(Activation):
    """torch.nn.functional.hardswish: x h with h = min(max(x + 3, 0), 6) / 6; x / 3 + 1 / 2; 1 / 3."""

    name = "hardswish"
    module = torch.nn.Hardswish
    arguments = ("inplace",)
    defaults: ClassVar[dict[str, Any]] = {"inplace": False}
    smooth = False
    roundings = 6
    multiplied = 6.0

    def magnitudes(self, x: Tensor, u: float, **_: Any) -> Magnitudes:
        size, above = x.abs().nan_to_num(), (x >= 3) * torch.ones_like(x)
        inside = ((x > -3) & (x < 3)) * torch.ones_like(x)
        value = inside * size * (size + 3) / 6 + product(above, size)
        return value, inside * (size / 3 + 0.5) + above, inside / 3

    @property
    def other_ways(self) -> tuple[Call, ...]:
        """Torch's gradient of NaN is NaN or the incoming gradient, as its vectors end."""

        def passing_nan(x: Tensor) -> Tensor:
            return torch.where(x.isnan(), x, F.hardswish(x))

        return (lambda x, inplace=False: in_place(passing_nan, x, inplace),)


class LeakyReLU(Activation):
    """torch.nn.functional.leaky_relu: x above zero, exactly, else negative_slope x."""

    name = "leaky_relu"
    module = torch.nn.LeakyReLU
    arguments = ("negative_slope", "inplace")
    defaults: ClassVar[dict[str, Any]] = {"negative_slope": 0.01, "inplace": False}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"negative_slope": (0.01, 0.2, 0.0, 1, 2.5)}
    invalid_arguments = ({"negative_slope": "steep"}, {"negative_slope": None})
    piecewise_linear = True
    smooth = False
    roundings = 2

    def magnitudes(self, x: Tensor, u: float, *, negative_slope: float = 0.01, **_: Any) -> Magnitudes:
        below = torch.where(x > 0, 0.0, float(negative_slope))
        return product(below, x.abs()), below, torch.zeros_like(x)


class Hardtanh(Picking, Activation):
    """torch.nn.functional.hardtanh: every result is picked, hence exact."""

    name = "hardtanh"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.Hardtanh
    arguments: ClassVar[tuple[str, ...]] = ("min_val", "max_val", "inplace")
    defaults: ClassVar[dict[str, Any]] = {"min_val": -1.0, "max_val": 1.0, "inplace": False}
    dtypes = (*FLOATS, *(each for each in INTEGERS if each != "uint8"))
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {
        "min_val": (-1.0, -2.0, 0.5, -1),
        "max_val": (1.0, 2.0, 6),
    }
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
        {"min_val": 2.0, "max_val": 1.0},
        {"min_val": "low"},
        {"max_val": None},
    )
    piecewise_linear = True
    limits: ClassVar[tuple[float, float] | None] = None

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        """Return calls of complex numbers, of truth values, and of elements that share memory."""
        changes = [case.retyped("input", each) for each in ("complex64", "bool")]
        if draw.takes("inplace"):
            twice = case.reshaped("input", (2, *case.shapes["input"]))
            changes.append(twice.arranged("input", "expanded").changed(inplace=True))
        return changes

    @property
    def other_ways(self) -> tuple[Call, ...]:
        """Torch's gradient of NaN is zero or the incoming gradient, as its vectors end."""

        def limits(arguments: dict[str, Any]) -> tuple[float, float]:
            return self.limits or (arguments.get("min_val", -1.0), arguments.get("max_val", 1.0))

        def without_nan(x: Tensor, inplace: bool = False, **arguments: Any) -> Tensor:
            low, high = limits(arguments)
            inside = (x > low) & (x < high)
            return in_place(lambda x: torch.where(inside, x, x.detach().clamp(low, high)), x, inplace)

        def passing_nan(x: Tensor, inplace: bool = False, **arguments: Any) -> Tensor:
            low, high = limits(arguments)
            outside = (x <= low) | (x >= high)
            return in_place(lambda x: torch.where(outside, x.detach().clamp(low, high), x), x, inplace)

        return without_nan, passing_nan


class ReLU6(Hardtanh):
    """torch.nn.functional.relu6: `Hardtanh` between 0 and 6."""

    name = "relu6"
    module = torch.nn.ReLU6
    arguments = ("inplace",)
    defaults: ClassVar[dict[str, Any]] = {"inplace": False}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {}
    invalid_arguments = ()
    limits = (0.0, 6.0)


class Softsign(Activation):
    """torch.nn.functional.softsign: x a with a = 1 / (1 + |x|); a - |x| a², which is a²; -2 sgn(x) a³."""

    name = "softsign"
    module = torch.nn.Softsign
    arguments = ()
    roundings = 6

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        return [case.retyped("input", "bool")]

    def magnitudes(self, x: Tensor, u: float, **_: Any) -> Magnitudes:
        a = 1 / (1 + x.abs())
        return product(x.abs(), a), 2 * a, 6 * a.square()


OPERATORS = (
    *(CELU(), ELU(), GELU(), Hardsigmoid(), Hardswish(), Hardtanh(), LeakyReLU(), Mish(), ReLU6(), SELU()),
    *(Sigmoid(), SiLU(), Softplus(), Softsign(), Tanh()),
)
