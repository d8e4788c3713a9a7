"""batch_norm: how its cases are drawn, and a derived bound of its rounding errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.case import Case
from scratch_conv.parity.drawing import Draw, draw_arrays, draw_dtype, draw_kind, draw_wanted, given_arguments
from scratch_conv.parity.operators.base import Bound, Operator, derived_bounds
from scratch_conv.parity.rounding import relative, smallest_subnormal, unit_roundoff
from scratch_conv.parity.running import Values
from scratch_conv.parity.supports import FLOATS, Supports

_DEFAULTS = {"training": False, "momentum": 0.1, "eps": 1e-5}
_AXES = (0, 2, 3)


class BatchNormalization(Operator):
    """torch.nn.functional.batch_norm on (N, C, H, W): first derivatives, finite values.

    The bound follows the computation step by step, with u the unit roundoff, n the elements of a channel, A =
    mean|x|, d = x - μ, v = σ² + eps, s = 1/√v, x̂ = d s (each step by Higham, section 2.2; sums and gamma_n
    by section 3.1):

        μ        e_μ = gamma_(n+1) A
        d        e_d = e_μ + u |d|
        v        e_v = gamma_(n+3) σ² + 2 mean|d| e_μ + e_μ² + u v: the variance about the mean, in two passes
        or by
                 Welford's update (Chan, Golub and LeVeque, 1983); mean(x²) - μ² is not as accurate and is not
                 allowed
        s        r_s = √(v / (v - e_v)) - 1 + 3 u, relative; v - e_v is eps at least
        x̂        e_x̂ = s (1 + r_s) e_d + |x̂| (r_s + u)
        y        e_y = |γ| e_x̂ + 4 u (|γ| s (|x| + |μ|) + |β|): written as γ x̂ + β or as x (γ s) + (β - μ γ
        s)

    and for the gradients, with g what comes in, m_1 = mean g, m_2 = mean(g x̂), T = |g| + mean|g| + |x̂|
    mean|g x̂|:

        β        gamma_n Σ|g|
        γ        Σ|g| e_x̂ + gamma_(n+2) Σ|g x̂|
        x        |γ| s (1 + r_s) (e_m1 + |x̂| e_m2 + mean|g x̂| e_x̂ + e_x̂ e_m2 + T (3 r_s + gamma_8)),
                 e_m1 = gamma_(n+1) mean|g|,  e_m2 = mean(|g| e_x̂) + gamma_(n+2) mean|g x̂|

    A product that underflows adds half the smallest subnormal η, times the factors that follow, which are
    among 1, |γ|, s and |g|; there are fewer than 16 n of them: 16 n η (1 + |γ|) (1 + s) (1 + max|g|) for
    every result.
    """

    name = "batch_norm"
    signature = ("input", "running_mean", "running_var", "weight", "bias")
    arguments = ("weight", *_DEFAULTS)
    dtypes = FLOATS

    def cases(self, supports: Supports) -> st.SearchStrategy[Case]:
        """Draw calls that torch accepts."""
        return _cases(supports)

    def invalid_cases(self, supports: Supports) -> st.SearchStrategy[Case]:
        """Draw calls that differ from an accepted one in one tensor."""
        return _invalid_cases(supports)

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.BatchNorm2d; training is set by the module's mode."""
        given = {name: value for name, value in arguments.items() if name != "training"}
        flags = {"affine": "weight" in tensors, "track_running_stats": "running_mean" in tensors}
        return {"num_features": tensors["input"].shape[1], **given, **flags}

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        """Return the bounds that the class derives."""
        return derived_bounds(results, case.torch_dtype, lambda dtype: _errors(case, values, dtype))


@dataclass
class _Steps:
    """The intermediate results and the bounds of their errors; per-channel ones have shape (1, C, 1, 1)."""

    n: int
    mean: Tensor
    mean_error: Tensor
    variance: Tensor
    variance_error: Tensor
    scale: Tensor
    scale_error: Tensor
    normal: Tensor
    normal_error: Tensor


def _steps(case: Case, values: Values, u: float) -> _Steps:
    x, keywords = values.tensors["input"], case.keywords
    eps, n = keywords.get("eps", _DEFAULTS["eps"]), x.numel() // max(1, x.shape[1])
    if keywords.get("training", False):
        mean = x.mean(_AXES, keepdim=True)
        mean_error = relative(n + 1, u) * x.abs().mean(_AXES, keepdim=True)
        variance = (x - mean).square().mean(_AXES, keepdim=True)
        distance = (x - mean).abs().mean(_AXES, keepdim=True)
        variance_error = relative(n + 3, u) * variance + 2 * distance * mean_error + mean_error.square()
    else:
        mean, variance = (values.tensors[name].view(1, -1, 1, 1) for name in ("running_mean", "running_var"))
        mean_error, variance_error = torch.zeros_like(mean), torch.zeros_like(variance)
    total = variance + eps
    least = (total - variance_error - u * total).clamp(min=eps * (1 - 2 * u))
    scale, scale_error = total.rsqrt(), (total / least).sqrt() - 1 + 3 * u
    normal = (x - mean) * scale
    step = mean_error + u * (x - mean).abs()
    normal_error = scale * (1 + scale_error) * step + normal.abs() * (scale_error + u)
    return _Steps(n, mean, mean_error, variance, variance_error, scale, scale_error, normal, normal_error)


def _errors(case: Case, values: Values, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the bound of the error of each result that is computed in `dtype`."""
    u = unit_roundoff(dtype)
    steps, x = _steps(case, values, u), values.tensors["input"]
    channels = (1, -1, 1, 1)
    gain = values.tensors.get("weight", torch.ones(1, dtype=torch.float64)).view(channels).abs()
    shift = values.tensors.get("bias", torch.zeros(1, dtype=torch.float64)).view(channels).abs()
    spread = gain * steps.scale * (x.abs() + steps.mean.abs()) + shift
    errors = {"output": gain * steps.normal_error + 4 * u * spread}
    if "running_mean" in values.tensors:
        errors |= _running_errors(case, values, steps, u)
    if values.grad_output is not None:
        errors |= _gradient_errors(case, values.grad_output, steps, gain, u)
    underflow = _underflow(values, steps, gain, dtype)
    return {name: error + underflow for name, error in errors.items()}


def _underflow(values: Values, steps: _Steps, gain: Tensor, dtype: torch.dtype) -> float:
    """Return what underflowing products add to any result."""
    incoming = values.grad_output
    size = float(incoming.abs().max()) if incoming is not None and incoming.numel() else 0.0
    factors = (1 + float(gain.max())) * (1 + float(steps.scale.max())) * (1 + size)
    return 16 * steps.n * smallest_subnormal(dtype) * factors


def _running_errors(case: Case, values: Values, steps: _Steps, u: float) -> dict[str, Tensor]:
    old_mean, old_variance = (values.tensors[name] for name in ("running_mean", "running_var"))
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


def _gradient_errors(case: Case, g: Tensor, steps: _Steps, gain: Tensor, u: float) -> dict[str, Tensor]:
    n, size, normal = steps.n, g.abs(), steps.normal.abs()
    weighted = (size * steps.normal_error).sum(_AXES) + relative(n + 2, u) * (size * normal).sum(_AXES)
    errors = {"grad_bias": relative(n, u) * size.sum(_AXES), "grad_weight": weighted}
    slope = gain * steps.scale * (1 + steps.scale_error)
    if not case.keywords.get("training", False):
        errors["grad_input"] = slope * size * (3 * steps.scale_error + relative(8, u))
        return errors
    first, second = (each.mean(_AXES, keepdim=True) for each in (size, size * normal))
    first_error, second_error = relative(n + 1, u) * first, weighted.view(1, -1, 1, 1) / n
    terms = size + first + normal * second
    inner = first_error + normal * second_error + second * steps.normal_error
    inner = inner + steps.normal_error * second_error + terms * (3 * steps.scale_error + relative(8, u))
    errors["grad_input"] = slope * inner
    return errors


@st.composite
def _cases(draw: Draw, supports: Supports) -> Case:
    dtype = draw_dtype(draw, supports, BatchNormalization.dtypes)
    training = draw(st.booleans())
    channels, batch = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    if training and batch * height * width == 1:
        batch = 2
    shapes: dict[str, tuple[int, ...]] = {"input": (batch, channels, height, width)}
    if not training or draw(st.booleans()):
        shapes |= {"running_mean": (channels,), "running_var": (channels,)}
    if supports.takes("weight") and draw(st.booleans()):
        shapes |= {"weight": (channels,), "bias": (channels,)}
    kind = draw_kind(draw, supports, dtype)
    arrays, grad_output = draw_arrays(draw, supports, shapes, "offset" if kind == "special" else kind)
    tensors = dict(arrays)
    if "running_var" in shapes:
        tensors["running_var"] = tensors["running_var"].made_positive()
    # Torch 2.14 reads the memory of a strided weight as if it were contiguous in the input's gradient.
    tensors |= {name: replace(each, layout="contiguous") for name, each in tensors.items() if name != "input"}
    differentiable = tuple(each for each in ("input", "weight", "bias") if each in shapes)
    wanted, _ = draw_wanted(draw, supports, differentiable)
    arguments = {"training": training}
    for name, choices in (("momentum", (0.1, 0.5, 0.25, 0.0, 1.0)), ("eps", (1e-5, 1e-3, 0.1))):
        arguments[name] = draw(st.sampled_from(choices)) if supports.takes(name) else _DEFAULTS[name]
    return Case(
        "batch_norm",
        tuple(tensors.items()),
        given_arguments(arguments, _DEFAULTS),
        dtype,
        wanted,
        grad_output,
    )


@st.composite
def _invalid_cases(draw: Draw, supports: Supports) -> Case:
    case: Case = draw(_cases(supports))
    shapes = {name: array.shape for name, array in case.arrays}
    channels = shapes["input"][1]
    changes = [case.changed(training=True).reshaped("input", (1, channels, 1, 1))]
    changes += [case.reshaped(name, (channels + 1,)) for name in shapes if name != "input"]
    changes += [case.reshaped("input", shapes["input"][1:2])]
    invalid: Case = draw(st.sampled_from(changes))
    return invalid
