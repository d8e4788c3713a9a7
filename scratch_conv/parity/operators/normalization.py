"""batch_norm: how its cases are drawn, and a derived bound of its rounding errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import assume
from torch import Tensor

from scratch_conv.parity.drawing.arrays import Array
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import BATCHES, CHANNELS, LENGTHS, VALUES
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

_DEFAULTS = {"training": False, "momentum": 0.1, "eps": 1e-5}
_CHOICES = {"momentum": (0.1, 0.5, 0.25, 0.0, 1.0), "eps": (1e-5, 1e-3, 0.1)}


class BatchNorm(Operator):
    """torch.nn.functional.batch_norm on (N, C) and (N, C, ...).

    The bound follows the computation step by step, with u the unit roundoff, n the elements of a channel, A =
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
    the directions along which the gradients of x, γ and β are differentiated, and the projection P w = w -
    mean w - x̂ mean(w x̂) (P w = w in evaluation):

        β        Σ g
        γ        Σ g x̂
        x        γ s P g
        second g γ s P V + a x̂ + b
        second γ s Σ g P V
        second x s P (a g - γ s (g mean(V x̂) + V mean(g x̂))) - γ s² x̂ mean(g P V); a s g in evaluation

    `propagated` bounds them from e_x̂ and (1 + r_s)³ - 1 (s may be computed as a power of v), with n + 24
    roundings for the gradients (one sum and a mean of it) and 3 n + 48 for their derivatives (three).

    A product that underflows adds half the smallest subnormal η, times the factors that follow, which are
    among 1, |γ|, s, |g|, |V| and |a|; there are fewer than 16 n of them: 16 n η (1 + |γ|) (1 + s)² (1 +
    max|g|) (1 + max|V|, |a|) for every result. Where Σ|x|, Σd² or |x| + |μ| exceeds the largest number, a
    scale of 0, an infinity or a NaN may follow, and where n times the factors named does, a product may
    overflow that a smaller factor would follow; nothing is refused there. Nor is it where a derivative is
    infinite or NaN: whether 0 · inf or inf - inf arises depends on how it is written.
    """

    name = "batch_norm"
    module = torch.nn.BatchNorm2d
    signature = ("input", "running_mean", "running_var", "weight", "bias")
    arguments = ("weight", *_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = FLOATS
    accurate_twice = False
    choices = _CHOICES
    invalid_arguments = ({"eps": -1.0}, {"training": True, "eps": 0.0}, {"eps": "small"}, {"momentum": None})

    def draw_case(self, draw: Drawing) -> Case:
        training = draw.present("training")
        shape = _draw_shape(draw, training)
        names = ["input"]
        if not training or (draw.supports.running_statistics and draw.boolean()):
            names += UPDATED
        if draw.takes("weight"):
            affine = [("weight", "bias"), ()] + ([("weight",), ("bias",)] if draw.supports.functional else [])
            names += draw.choice(affine)
        kind = draw.kind()
        if kind in ("graded", "special") and draw.boolean():
            kind = "offset"
        shapes = {**dict.fromkeys(names, shape[1:2]), "input": shape}
        differentiable = tuple(name for name in names if name not in UPDATED)
        case = self.complete(draw, shapes, {"training": training}, kind, differentiable)
        # Torch 2.14 fails on its own second derivative there, or leaves out the bias's part.
        order = 1 if "bias" in case.wanted and "weight" not in shapes else case.order
        return replace(case, arrays=tuple(_parameters(draw, case.tensors).items()), order=order)

    def draw_invalid_case(self, draw: Drawing) -> Case:
        # Torch 2.14 does not look at the other sizes where the batch is empty.
        return super().draw_invalid_case(draw.claiming(empty=False))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape, channels = case.shapes["input"], case.shapes["input"][1]
        changes = [case.changed(training=True).reshaped("input", (1, channels, *(1 for _ in shape[2:])))]
        for name in case.shapes:
            if name != "input":
                changes.append(case.reshaped(name, (channels + 1,)))
                changes.append(case.retyped(name, "float16" if case.dtype == "float32" else "float32"))
        changes += [case.reshaped("input", shape[1:2]), case.reshaped("input", ())]
        changes += [case.retyped("input", "int64"), case.retyped("input", "complex64")]
        statistics = tuple(each for each in case.arrays if each[0] != "running_var")
        changes.append(replace(case, arrays=statistics))
        nothing = tuple(each for each in case.arrays if each[0] not in UPDATED)
        changes.append(replace(case, arrays=nothing).changed(training=False))
        return changes

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.BatchNorm2d; training is set by the module's mode.

        A momentum of 1 is given as None: what averages over all its batches weighs the first one by 1.
        """
        given = {name: value for name, value in arguments.items() if name != "training"}
        if given.get("momentum") == 1.0:
            given["momentum"] = None
        flags = {"affine": "weight" in tensors, "track_running_stats": "running_mean" in tensors}
        return {"num_features": tensors["input"].shape[1], **given, **flags}

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        bounds = derived_bounds(results, case.torch_dtype, lambda dtype: _errors(case, values, dtype))
        for name, bound in bounds.items():
            if name.startswith(("grad_", "second_")):
                bound.overflow |= ~results[name].isfinite()
        accumulator = accumulator_of(case.torch_dtype)
        overflowing = _overflowing(case, values, accumulator)
        bounds["output"].overflow |= overflowing | _overflowing_scaled(case, values, accumulator)
        if "running_mean" in results and case.keywords.get("training", False):
            for name in UPDATED:
                bounds[name].overflow |= overflowing.flatten()
        return bounds


def _overflowing(case: Case, values: Values, dtype: torch.dtype) -> Tensor:
    """Return where a sum of finite numbers may overflow on the way; broadcasts to the input.

    In training these are whole channels, (1, C, 1, ...): Σ|x| or Σd² of what is finite there.
    """
    x, most = values.tensors["input"], torch.finfo(dtype).max
    finite = x.nan_to_num(0.0, 0.0, 0.0)
    if not case.keywords.get("training", False):
        mean = values.tensors["running_mean"].nan_to_num(0.0, 0.0, 0.0)
        return finite.abs() + _per_channel(mean, x).abs() > most
    axes = (0, *range(2, x.ndim))
    distance = finite - finite.mean(axes, keepdim=True)
    return ~((distance.square() + finite.abs()).sum(axes, keepdim=True) <= most)


def _overflowing_scaled(case: Case, values: Values, dtype: torch.dtype) -> Tensor:
    """Return where x (γ s) + (β - μ γ s) may overflow on the way, though γ (x - μ) s + β does not."""
    steps, (gain, shift) = _steps(case, values, dtype), _affine(values)
    sizes = (gain * steps.scale, values.tensors["input"].abs(), steps.mean.abs(), shift)
    slope, x, mean, start = (size.nan_to_num(0.0, 0.0, 0.0) for size in sizes)
    return slope * (x + mean) + start > torch.finfo(dtype).max


@dataclass
class _Steps:
    """The intermediate results and the bounds of their errors; per-channel ones have shape (1, C, 1, ...)."""

    n: int
    axes: tuple[int, ...]
    mean: Tensor
    variance: Tensor
    scale: Tensor
    normal: Tensor
    mean_error: Tensor
    variance_error: Tensor
    scale_error: Tensor
    normal_error: Tensor


def _steps(case: Case, values: Values, dtype: torch.dtype) -> _Steps:
    x, u = values.tensors["input"], unit_roundoff(dtype)
    eps, n = case.keywords.get("eps", _DEFAULTS["eps"]), x.numel() // max(1, x.shape[1])
    axes = (0, *range(2, x.ndim))
    if case.keywords.get("training", False):
        mean = x.mean(axes, keepdim=True)
        mean_error = relative(n + 1, u) * x.abs().mean(axes, keepdim=True)
        variance = (x - mean).square().mean(axes, keepdim=True)
        distance = (x - mean).abs().mean(axes, keepdim=True)
        variance_error = relative(n + 3, u) * variance + 2 * distance * mean_error + mean_error.square()
    else:
        mean, variance = (_per_channel(values.tensors[name], x) for name in UPDATED)
        mean_error, variance_error = torch.zeros_like(mean), torch.zeros_like(variance)
    mean_error = torch.where(_overflowing(case, values, dtype), torch.inf, mean_error)
    total = variance + eps
    least = (total - variance_error - u * total).clamp(min=eps * (1 - 2 * u))
    scale, scale_error = total.rsqrt(), (total / least).sqrt() - 1 + 3 * u
    normal = (x - mean) * scale
    step = mean_error + u * (x - mean).abs()
    normal_error = scale * (1 + scale_error) * step + normal.abs() * (scale_error + u)
    errors = mean_error, variance_error, scale_error, normal_error
    return _Steps(n, axes, mean, variance, scale, normal, *errors)


def _per_channel(tensor: Tensor, x: Tensor) -> Tensor:
    return tensor.view(1, -1, *(1,) * (x.ndim - 2))


def _affine(values: Values) -> tuple[Tensor, Tensor]:
    """Return |γ| and |β|, 1 and 0 where there is none, as (1, C, 1, ...)."""
    x = values.tensors["input"]
    gain = values.tensors.get("weight", torch.ones(x.shape[1], dtype=torch.float64))
    shift = values.tensors.get("bias", torch.zeros(x.shape[1], dtype=torch.float64))
    return _per_channel(gain, x).abs(), _per_channel(shift, x).abs()


def _errors(case: Case, values: Values, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the bound of the error of each result that is computed in `dtype`."""
    u = unit_roundoff(dtype)
    steps, x = _steps(case, values, dtype), values.tensors["input"]
    gain, shift = _affine(values)
    spread = gain * steps.scale * (x.abs() + steps.mean.abs()) + shift
    errors = {"output": gain * steps.normal_error + 4 * u * spread}
    if "running_mean" in values.tensors:
        errors |= _running_errors(case, values, steps, u)
    if values.grad_output is not None:
        errors |= _gradient_errors(case, values, steps, u)
    factors = (1 + greatest(gain)) * (1 + greatest(steps.scale)) ** 2
    for tensor in (values.grad_output, *values.directions.values()):
        factors *= 1 + greatest(tensor)
    if steps.n * factors > torch.finfo(dtype).max:
        unbound_derivatives(errors)
    underflow = 16 * steps.n * smallest_subnormal(dtype) * factors
    return {name: (error + underflow).nan_to_num(torch.inf, torch.inf) for name, error in errors.items()}


def _running_errors(case: Case, values: Values, steps: _Steps, u: float) -> dict[str, Tensor]:
    old_mean, old_variance = (values.tensors[name] for name in UPDATED)
    if not case.keywords.get("training", False):
        return {"running_mean": torch.zeros_like(old_mean), "running_var": torch.zeros_like(old_variance)}
    momentum = case.keywords.get("momentum", _DEFAULTS["momentum"])
    unbiased = steps.n / (steps.n - 1)
    mean, variance = steps.mean.abs().flatten(), unbiased * steps.variance.flatten()
    kept = 1 - momentum
    return {
        "running_mean": momentum * steps.mean_error.flatten()
        + relative(4, u) * (kept * old_mean.abs() + momentum * mean),
        "running_var": momentum * unbiased * steps.variance_error.flatten()
        + relative(6, u) * (kept * old_variance.abs() + momentum * variance),
    }


def _gradient_errors(case: Case, values: Values, steps: _Steps, u: float) -> dict[str, Tensor]:
    """Return the bounds of the gradients and of their derivatives."""
    n, axes = steps.n, steps.axes
    assert values.grad_output is not None
    g, (gain, _) = values.grad_output.abs(), _affine(values)
    training = bool(case.keywords.get("training", False))

    def projected(w: Tensor, normal: Tensor) -> Tensor:
        if not training:
            return w
        inner = (w * normal).mean(axes, keepdim=True)
        return w + w.mean(axes, keepdim=True) + normal * inner

    def first(normal: Tensor, scale: Tensor) -> dict[str, Tensor]:
        weight = (g * normal).sum(axes)
        return {
            "grad_bias": g.sum(axes),
            "grad_weight": weight,
            "grad_input": gain * scale * projected(g, normal),
        }

    nothing = torch.zeros((), dtype=torch.float64)
    x = values.tensors["input"]
    along = values.directions.get("input", nothing).abs().expand(x.shape)
    turns, shifts = (
        _per_channel(values.directions.get(name, nothing).abs().expand(x.shape[1]), x)
        for name in ("weight", "bias")
    )

    def second(normal: Tensor, scale: Tensor) -> dict[str, Tensor]:
        across = projected(along, normal)
        inner = [(each * normal).mean(axes, keepdim=True) for each in (along, g)]
        mixed = turns * g + gain * scale * (g * inner[0] + along * inner[1])
        curved = scale * projected(mixed, normal)
        curved = curved + gain * scale.square() * normal * (g * across).mean(axes, keepdim=True)
        return {
            "second_grad_output": gain * scale * across + turns * normal + shifts,
            "second_weight": (scale * g * across).sum(axes),
            "second_bias": torch.zeros(x.shape[1], dtype=torch.float64),
            "second_input": curved if training else turns * scale * g,
        }

    sizes = steps.normal.abs(), steps.scale
    moved = steps.normal_error, steps.scale * ((1 + steps.scale_error) ** 3 - 1)
    errors = propagated(first, sizes, moved, relative(n + 24, u))
    if values.directions:
        errors |= propagated(second, sizes, moved, relative(3 * n + 48, u))
    return errors


def _draw_shape(draw: Drawing, training: bool) -> tuple[int, ...]:
    """Draw the input's shape: of two to five axes, of the four of BatchNorm2d where a layer is called."""
    axes = draw.choice((2, 1, 0, 3)) if draw.supports.functional else 2
    axes = draw.size("axes", axes + 2, axes + 2) - 2
    batch = draw.choice(
        ([1, 2, 3, 4] if draw.supports.batches else [1])
        + ([0] if draw.supports.empty and not training else [])
    )
    channels = draw.size("num_features", 1, 3)
    sizes = tuple(draw.integer(1, 5 if axes < 3 else 3) for _ in range(axes))
    ranges = {-axis: LENGTHS for axis in range(2, axes + 1)}
    ranges |= {-1: VALUES if axes else CHANNELS, -axes - 1: CHANNELS, -axes - 2: BATCHES if axes else VALUES}
    if draw.fixed("num_features") is not None:
        del ranges[-axes - 1]
    shape = draw.lengthen((batch, channels, *sizes), ranges)
    if training and torch.Size(shape).numel() == shape[1]:  # torch refuses one value per channel
        assume(draw.supports.batches)
        shape = (2, *shape[1:])
    return shape


def _parameters(draw: Drawing, tensors: dict[str, Array]) -> dict[str, Array]:
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


OPERATORS = (BatchNorm(),)
