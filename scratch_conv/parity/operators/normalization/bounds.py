"""Normalization by mean and variance, of whatever elements: a derived bound of its rounding errors."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.drawing.arrays import Array
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import UPDATED, Values
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

BATCH, SAMPLE = (0, 3), (2, 3)
"""The axes of a `View` over which statistics of a batch are taken, and those of a sample's groups."""

_AFFINE = (0, 3)
"""The axes of a view over which the gradients of the parameters are summed."""


@dataclass(frozen=True)
class View:
    """How the input of a call is seen: samples, groups, channels of a group, pixels.

    Attributes:
        shape: (N, G, K, L).
        axes: over which mean and variance are taken: `BATCH` or `SAMPLE`.
    """

    shape: tuple[int, int, int, int]
    axes: tuple[int, int]

    def of(self, tensor: Tensor) -> Tensor:
        """View a tensor of the input's shape."""
        return tensor.reshape(self.shape)

    def parameter(self, tensor: Tensor) -> Tensor:
        """View a tensor of one number a channel, as (1, G, K, 1)."""
        return tensor.reshape(1, self.shape[1], self.shape[2], 1)

    @property
    def count(self) -> int:
        """How many elements a mean is of."""
        return self.shape[self.axes[0]] * self.shape[self.axes[1]]

    @property
    def most(self) -> int:
        """How many elements any sum is of: a mean's, or that of a parameter's gradient."""
        return max(self.count, self.shape[0] * self.shape[3])


class Normalization(Operator):
    """Normalization by mean and variance, of whatever elements.

    The bound follows the computation step by step, with u the unit roundoff, n the elements of a mean, A =
    mean|x|, d = x - μ, v = σ² + eps, s = 1/√v, x̂ = d s (each step by Higham, section 2.2; sums and gamma_n
    by section 3.1):

        μ        e_μ = gamma_(n+1) A
        d        e_d = e_μ + u |d|
        v        e_v = gamma_(n+3) σ² + 2 mean|d| e_μ + e_μ² + u v: the variance about the mean, in two passes
                 or by Welford's update (Chan, Golub and LeVeque, 1983); mean(x²) - μ² is not as accurate and
                 is not allowed
        s        r_s = √(v / (v - e_v)) - 1 + 3 u, relative; v - e_v is eps at least, less its roundings
        x̂        e_x̂ = s (1 + r_s) e_d + |x̂| (r_s + u)
        y        e_y = |γ| e_x̂ + 4 u (|γ| s (|x| + |μ|) + |β|): written as γ x̂ + β or as
                 x (γ s) + (β - μ γ s)

    The gradients and their derivatives are polynomials in x̂ and s. With g the incoming gradient, V, a and b
    the directions along which the gradients of x, γ and β are differentiated, h = γ g, and the projection
    P w = w - mean w - x̂ mean(w x̂) (P w = w by given statistics):

        β        Σ g
        γ        Σ g x̂
        x        s P h
        second g γ s P V + a x̂ + b
        second γ Σ g s P V
        second x s P (a g - s (h mean(V x̂) + V mean(h x̂))) - s² x̂ mean(h P V); a s g by given statistics

    `propagated` bounds them from e_x̂ and (1 + r_s)³ - 1 (s may be computed as a power of v). With n no less
    than the elements of a channel's sum either, there are n + 24 roundings for the gradients (one sum and a
    mean of it) and 3 n + 48 for their derivatives (three).

    A product that underflows adds half the smallest subnormal η, times the factors that follow, which are
    among 1, |γ|, s, |g|, |V| and |a|; there are fewer than 16 n of them: 16 n η (1 + |γ|) (1 + s)² (1 +
    max|g|) (1 + max|V|, |a|) for every result. Where Σ|x|, Σd², Σx² (torch merges the statistics of parts,
    the first with those of none, of mean 0) or |x| + |μ| exceeds the largest number, a scale of 0, an
    infinity or a NaN may follow, and where n times the factors named does, a product may overflow that a
    smaller factor would follow; nothing is refused there. Nor is it where a derivative is infinite or NaN:
    whether 0 · inf or inf - inf arises depends on how it is written.
    """

    dtypes = FLOATS
    accurate_twice = False

    @abstractmethod
    def view(self, case: Case) -> View:
        """Return how the input of a call is seen."""

    def by_own_statistics(self, case: Case) -> bool:
        """Return whether mean and variance are those of the input, not given ones."""
        return True

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        seen = _Seen(self.view(case), case, values, self.by_own_statistics(case), self.defaults)
        bounds = derived_bounds(results, case.torch_dtype, lambda dtype: _errors(seen, dtype))
        for name, bound in bounds.items():
            if name.startswith(("grad_", "second_")):
                bound.overflow |= ~results[name].isfinite()
        accumulator = accumulator_of(case.torch_dtype)
        overflowing = _overflowing(seen, accumulator) | _overflowing_merged(seen, accumulator)
        everywhere = (overflowing | _overflowing_scaled(seen, accumulator)).expand(seen.view.shape)
        bounds["output"].overflow |= everywhere.reshape(case.shapes["input"])
        if "running_mean" in results and seen.own:
            for name in UPDATED:
                bounds[name].overflow |= overflowing.any(0).flatten()
        return bounds


@dataclass(frozen=True)
class _Seen:
    """A call as its bounds need it: `own` says whether by its own statistics."""

    view: View
    case: Case
    values: Values
    own: bool
    defaults: dict[str, Any]

    @property
    def x(self) -> Tensor:
        """The input (N, G, K, L)."""
        return self.view.of(self.values.tensors["input"])

    def parameter(self, name: str, missing: float = 0.0) -> Tensor:
        """Return a tensor of one number a channel, (1, G, K, 1)."""
        given = self.values.tensors.get(name)
        whole = torch.full(self.view.shape[1:3], missing, dtype=torch.float64) if given is None else given
        return self.view.parameter(whole)

    def argument(self, name: str) -> Any:
        return self.case.keywords.get(name, self.defaults.get(name))

    def shaped(self, name: str, error: Tensor) -> Tensor:
        """Return the bound of a result in the result's shape."""
        shapes = self.case.shapes
        if name in UPDATED:
            return error
        if not name.endswith(("_weight", "_bias")):
            return error.expand(self.view.shape).reshape(shapes["input"])
        channels = self.view.shape[1] * self.view.shape[2]
        return error.reshape(shapes.get("weight", shapes.get("bias", (channels,))))


def _overflowing(seen: _Seen, dtype: torch.dtype) -> Tensor:
    """Return where a sum of finite numbers may overflow on the way; broadcasts to the view.

    By own statistics these are all elements of a mean: Σ|x| or Σd² of what is finite there.
    """
    most, finite = torch.finfo(dtype).max, seen.x.nan_to_num(0.0, 0.0, 0.0)
    if not seen.own:
        mean = seen.parameter("running_mean").nan_to_num(0.0, 0.0, 0.0)
        return finite.abs() + mean.abs() > most
    axes = seen.view.axes
    distance = finite - finite.mean(axes, keepdim=True)
    return ~((distance.square() + finite.abs()).sum(axes, keepdim=True) <= most)


def _overflowing_merged(seen: _Seen, dtype: torch.dtype) -> Tensor:
    """Return where squares of finite numbers may overflow, though those of their distances do not."""
    squares = seen.x.nan_to_num(0.0, 0.0, 0.0).square().sum(seen.view.axes, keepdim=True)
    return (squares > torch.finfo(dtype).max) & seen.own


def _overflowing_scaled(seen: _Seen, dtype: torch.dtype) -> Tensor:
    """Return where x (γ s) + (β - μ γ s) may overflow on the way, though γ (x - μ) s + β does not."""
    steps, (gain, shift) = _steps(seen, dtype), _affine(seen)
    sizes = (gain * steps.scale, seen.x.abs(), steps.mean.abs(), shift)
    slope, x, mean, start = (size.nan_to_num(0.0, 0.0, 0.0) for size in sizes)
    return slope * (x + mean) + start > torch.finfo(dtype).max


@dataclass
class _Steps:
    """The intermediate results and the bounds of their errors; statistics have the axes of a mean as 1."""

    mean: Tensor
    variance: Tensor
    scale: Tensor
    normal: Tensor
    mean_error: Tensor
    variance_error: Tensor
    scale_error: Tensor
    normal_error: Tensor


def _steps(seen: _Seen, dtype: torch.dtype) -> _Steps:
    x, u, eps, n, axes = seen.x, unit_roundoff(dtype), seen.argument("eps"), seen.view.count, seen.view.axes
    if seen.own:
        mean = x.mean(axes, keepdim=True)
        mean_error = relative(n + 1, u) * x.abs().mean(axes, keepdim=True)
        variance = (x - mean).square().mean(axes, keepdim=True)
        distance = (x - mean).abs().mean(axes, keepdim=True)
        variance_error = relative(n + 3, u) * variance + 2 * distance * mean_error + mean_error.square()
    else:
        mean, variance = (seen.parameter(name) for name in UPDATED)
        mean_error, variance_error = torch.zeros_like(mean), torch.zeros_like(variance)
    mean_error = torch.where(_overflowing(seen, dtype), torch.inf, mean_error)
    total = variance + eps
    least = (total - variance_error - u * total).clamp(min=eps * (1 - 2 * u))
    scale, scale_error = total.rsqrt(), (total / least).sqrt() - 1 + 3 * u
    normal = (x - mean) * scale
    step = mean_error + u * (x - mean).abs()
    normal_error = scale * (1 + scale_error) * step + normal.abs() * (scale_error + u)
    return _Steps(mean, variance, scale, normal, mean_error, variance_error, scale_error, normal_error)


def _affine(seen: _Seen) -> tuple[Tensor, Tensor]:
    """Return |γ| and |β|, 1 and 0 where there is none, as (1, G, K, 1)."""
    return seen.parameter("weight", 1.0).abs(), seen.parameter("bias").abs()


def _errors(seen: _Seen, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the bound of the error of each result that is computed in `dtype`."""
    u, values, most = unit_roundoff(dtype), seen.values, seen.view.most
    steps, (gain, shift) = _steps(seen, dtype), _affine(seen)
    spread = gain * steps.scale * (seen.x.abs() + steps.mean.abs()) + shift
    errors = {"output": gain * steps.normal_error + 4 * u * spread}
    if "running_mean" in values.tensors:
        errors |= _running_errors(seen, steps, u)
    if values.grad_output is not None:
        errors |= _gradient_errors(seen, values.grad_output, steps, u)
    factors = (1 + greatest(gain)) * (1 + greatest(steps.scale)) ** 2
    for tensor in (values.grad_output, *values.directions.values()):
        factors *= 1 + greatest(tensor)
    if most * factors > torch.finfo(dtype).max:
        unbound_derivatives(errors)
    underflow = 16 * most * smallest_subnormal(dtype) * factors
    return {
        name: seen.shaped(name, (error + underflow).nan_to_num(torch.inf, torch.inf))
        for name, error in errors.items()
    }


def _running_errors(seen: _Seen, steps: _Steps, u: float) -> dict[str, Tensor]:
    """Return the bounds of the running statistics: of a batch's mean, or of the mean of samples' means."""
    old_mean, old_variance = (seen.values.tensors[name] for name in UPDATED)
    if not seen.own:
        return {"running_mean": torch.zeros_like(old_mean), "running_var": torch.zeros_like(old_variance)}
    momentum, n, samples = seen.argument("momentum"), seen.view.count, steps.mean.shape[0]
    unbiased, kept = n / (n - 1), 1 - momentum

    def over_samples(statistic: Tensor) -> Tensor:
        return statistic.mean(0).flatten()

    mean, variance = over_samples(steps.mean.abs()), unbiased * over_samples(steps.variance)
    return {
        "running_mean": momentum * over_samples(steps.mean_error)
        + relative(3 + samples, u) * (kept * old_mean.abs() + momentum * mean),
        "running_var": momentum * unbiased * over_samples(steps.variance_error)
        + relative(5 + samples, u) * (kept * old_variance.abs() + momentum * variance),
    }


def _gradient_errors(seen: _Seen, grad_output: Tensor, steps: _Steps, u: float) -> dict[str, Tensor]:
    """Return the bounds of the gradients and of their derivatives."""
    most, axes, directions = seen.view.most, seen.view.axes, seen.values.directions
    g, (gain, _) = seen.view.of(grad_output.abs()), _affine(seen)
    incoming = gain * g

    def mean(w: Tensor) -> Tensor:
        return w.mean(axes, keepdim=True)

    def projected(w: Tensor, normal: Tensor) -> Tensor:
        return w + mean(w) + normal * mean(w * normal) if seen.own else w

    def first(normal: Tensor, scale: Tensor) -> dict[str, Tensor]:
        return {
            "grad_bias": g.sum(_AFFINE),
            "grad_weight": (g * normal).sum(_AFFINE),
            "grad_input": scale * projected(incoming, normal),
        }

    nothing = torch.zeros((), dtype=torch.float64)
    along = seen.view.of(directions["input"].abs()) if "input" in directions else torch.zeros_like(g)
    turns, shifts = (
        seen.view.parameter(directions[name].abs()) if name in directions else nothing
        for name in ("weight", "bias")
    )

    def second(normal: Tensor, scale: Tensor) -> dict[str, Tensor]:
        across = projected(along, normal)
        mixed = turns * g
        if seen.own:
            mixed = mixed + scale * (incoming * mean(along * normal) + along * mean(incoming * normal))
            mixed = projected(mixed, normal) + scale * normal * mean(incoming * across)
        return {
            "second_grad_output": gain * scale * across + turns * normal + shifts,
            "second_weight": (scale * g * across).sum(_AFFINE),
            "second_bias": torch.zeros(seen.view.shape[1:3], dtype=torch.float64),
            "second_input": scale * mixed,
        }

    sizes = steps.normal.abs(), steps.scale
    moved = steps.normal_error, steps.scale * ((1 + steps.scale_error) ** 3 - 1)
    errors = propagated(first, sizes, moved, relative(most + 24, u))
    if directions:
        errors |= propagated(second, sizes, moved, relative(3 * most + 48, u))
    return errors


def parameters(draw: Drawing, tensors: dict[str, Array]) -> dict[str, Array]:
    """Make what torch takes of the tensors drawn: a positive variance, contiguous parameters, finite ones.

    Torch 2.14 reads the memory of a strided weight as if it were contiguous in the input's gradient. With an
    infinite weight its own ways, γ x̂ + β and x (γ s) + (β - μ γ s), are an infinity and a NaN. Beside an
    input of half precision the parameters may be of float32.
    """
    if "running_var" in tensors:
        tensors["running_var"] = tensors["running_var"].made_positive()
    names = [name for name in tensors if name != "input"]
    wide = "float32" if names and draw.dtype in ("float16", "bfloat16") and draw.boolean() else None
    for name in names:
        affine = name not in UPDATED and tensors[name].kind == "special"
        kind = "integers" if affine else tensors[name].kind
        tensors[name] = replace(tensors[name], layout="contiguous", kind=kind, dtype=wide)
    return tensors


def affine(draw: Drawing) -> tuple[str, ...]:
    """Draw which parameters a call has: a layer has both or none."""
    if not draw.takes("weight"):
        return ()
    some: list[tuple[str, ...]] = [("weight", "bias"), ()]
    return draw.choice(some + ([("weight",), ("bias",)] if draw.supports.functional else []))
