"""How far a correctly computed result of a layer may lie from the exact one, element by element.

With u the unit roundoff of the precision that is computed in, gamma_n = n u / (1 - n u), a sum of n products
errs by at most gamma_n Σ|x||w|, in whatever order (Higham, Accuracy and Stability of Numerical Algorithms,
2nd ed., section 3.1); Σ|x||w| is the layer itself on absolute values, and n the layer on ones. The other
bounds follow their computations step by step. What is stored in half precision is rounded once more.

`scratch_conv.parity` derives the same bounds for drawn cases, and explains them at length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scratch_conv.swapping.layer_calls import WRITTEN, LayerCall, Results, is_floating

Bounds = dict[str, Tensor]

CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_BINS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_SUMS = (*CONVOLUTIONS, nn.Linear, *_AVERAGES, *_BINS)
_MAXIMA = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)
_UNPOOLING = (nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d)
_PICKS = (nn.ReLU, nn.Hardtanh, nn.Flatten, *_MAXIMA, *_UNPOOLING)
_SHUFFLES = (nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle)
_BLOCKS = (nn.Fold, nn.Unfold)
_PADS = (
    *(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d),
    *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
)
_DRAWS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_ALPHA_DRAWS = (nn.AlphaDropout, nn.FeatureAlphaDropout)
_SMOOTH = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Mish, nn.SELU, nn.SiLU, nn.Sigmoid),
    *(nn.LeakyReLU, nn.PReLU, nn.Softplus, nn.Softsign, nn.Tanh),
)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_NORMS = (*_BATCH_NORMS, *_INSTANCE_NORMS, nn.LayerNorm, nn.GroupNorm)
_LOSSES = (
    *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.NLLLoss),
    *(nn.BCELoss, nn.BCEWithLogitsLoss),
)
_COMPUTING = ("forward", "_conv_forward")


def reference_and_bounds(call: LayerCall, torchs: Results) -> tuple[Results, Bounds] | None:
    """Return what is right for a call, and how far a result may lie from it; None where no bound is known.

    That is torch's result in float64; where random numbers are drawn, which depend on the precision, its
    result in the call's own. The names of values and of gradients are those of `Results`; a gradient's is
    preceded by "grad ". Torch's generator is to be in the state that the call begins with.
    """
    layer = call.layer
    if not _computes_as_torchs(layer):
        return None
    if not is_floating(call.tensors[0]):
        return torchs, {name: torch.zeros(value.shape) for name, value in torchs.values.items()}
    if isinstance(layer, _DRAWS):
        return torchs, _dropped(layer, torchs)
    if isinstance(layer, nn.Upsample) and layer.mode in ("nearest", "nearest-exact"):
        return torchs, _nearest(call, torchs)  # which pixel is the nearest may depend on the precision
    if isinstance(layer, _ALPHA_DRAWS):
        return torchs, _alpha_dropped(layer, torchs)
    wide = call.changed(lambda tensor: tensor.to(torch.promote_types(tensor.dtype, torch.float64)))
    right = wide.run()
    narrow = _precision(call)
    if isinstance(layer, (*_SUMS, *_BLOCKS)):
        bounds = _sums(call, right, narrow)
    elif isinstance(layer, (*_PICKS, *_SHUFFLES, *_PADS)):
        bounds = _picks(wide, right, narrow)
    elif isinstance(layer, _NORMS):
        bounds = _normalized(wide, right, narrow)
    elif isinstance(layer, nn.LocalResponseNorm):
        bounds = _response(wide, narrow)
    elif isinstance(layer, (nn.Softmax, nn.LogSoftmax)):
        bounds = _softmax(wide, narrow, torchs.values["output"].dtype)
    elif isinstance(layer, _SMOOTH):
        bounds = _activation(wide, right, narrow, torchs.values["output"].dtype)
    elif isinstance(layer, nn.Upsample):
        bounds = _interpolated(wide, right, narrow)
    elif isinstance(layer, nn.CrossEntropyLoss):
        bounds = _cross_entropy(wide, narrow)
    elif isinstance(layer, _LOSSES):
        bounds = _loss(wide, right, narrow)
    else:
        return None
    bounds = {name: bound.detach() for name, bound in bounds.items() if name in named(right)}
    return right, _stored(bounds, right, torchs)


def _computes_as_torchs(layer: nn.Module) -> bool:
    base = next((base for base in type(layer).__mro__ if base.__module__.startswith("torch.nn.")), None)
    return all(getattr(type(layer), name, None) is getattr(base, name, None) for name in _COMPUTING)


def _precision(call: LayerCall) -> torch.dtype:
    """Return what a call is computed in: float32 at least."""
    dtype = call.tensors[0].dtype
    real: torch.dtype = getattr(torch, torch.finfo(dtype).dtype)
    return torch.promote_types(real, torch.float32)


def _stored(bounds: Bounds, right: Results, torchs: Results) -> Bounds:
    """Add the rounding to a narrower dtype than is computed in, where results are stored in one."""
    for name, bound in bounds.items():
        value, stored = named(right)[name], named(torchs)[name].dtype
        if stored in (torch.float16, torch.bfloat16):
            bound = torch.where(bound > 0, bound + _rounding(value.abs(), bound, stored), 0)
        bounds[name] = bound.nan_to_num(torch.inf, torch.inf)
    return bounds


def named(results: Results) -> dict[str, Tensor]:
    return results.values | {f"grad {name}": gradient for name, gradient in results.gradients.items()}


def _gamma(n: Any, dtype: torch.dtype) -> Tensor:
    """Return gamma_n of a precision, and of float64 besides, in which the reference errs too."""
    total = torch.zeros((), dtype=torch.float64)
    for each in (dtype, torch.float64):
        rounded = torch.as_tensor(n, dtype=torch.float64) * torch.finfo(each).eps / 2
        total = total + torch.where(rounded < 1, rounded / (1 - rounded).clamp(min=1e-300), torch.inf)
    return total


def _rounding(size: Tensor, error: Tensor, dtype: torch.dtype) -> Tensor:
    """Bound the rounding to a dtype of what errs already."""
    return (torch.finfo(dtype).eps / 2) * (size + error) + _tiny(dtype)


def _tiny(dtype: torch.dtype) -> float:
    """Return the smallest subnormal number: what a product that underflows errs by."""
    return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps


def _sums(call: LayerCall, right: Results, dtype: torch.dtype) -> Bounds:
    layer, is_complex = call.layer, call.tensors[0].is_complex()
    absolute = call.changed(lambda tensor: tensor.abs().to(dtype))
    counting = call.changed(lambda tensor: torch.ones_like(tensor.abs(), dtype=dtype))
    more = 0.0
    if isinstance(layer, nn.AvgPool1d):  # which has no divisor_override: the count is 1 at most
        more = 1.0 + math.prod(torch.Size(layer.kernel_size))  # type: ignore[arg-type]  # a tuple of one
    elif isinstance(layer, _AVERAGES):  # a sum divided once, or of terms times the reciprocal
        vars(counting.layer)["divisor_override"], more = 1, 1.0
    elif isinstance(layer, _BINS):
        more = _most_in_a_bin(call.tensors[0], right.values["output"], int(type(layer).__name__[-2]))
    # Complex numbers by three real products (Higham, section 23.2.4): larger by 3 √2, with 4 roundings more.
    factor, more = (3 * 2**0.5, more + 4) if is_complex else (1.0, more)
    counts, bounds = named(counting.run()), {}
    for name, size in named(absolute.run()).items():
        n = torch.where(counts[name] > 0, counts[name].double() + more, 0)
        gamma = _gamma(n, dtype)
        bounds[name] = gamma * (1 + gamma) * size * factor + n * _tiny(dtype)  # the size errs as well
    return bounds


def _most_in_a_bin(image: Tensor, output: Tensor, axes: int) -> float:
    """Return how many pixels are averaged at most, and the divisions; also bins over one pixel."""
    most = 1
    for length, bins in zip(image.shape[-axes:], output.shape[-axes:], strict=True):
        most *= max(-(-length // max(1, bins)), -(-bins // length)) + 1
    return most + float(axes)


def _picks(wide: LayerCall, right: Results, dtype: torch.dtype) -> Bounds:
    """Bound the results of layers that pick elements: zero, but where a gradient is a sum."""
    bounds = {
        name: torch.zeros_like(value.abs(), dtype=torch.float64) for name, value in named(right).items()
    }
    if isinstance(wide.layer, (*_MAXIMA, *_PADS)) and wide.gradient is not None:
        sums = []
        for incoming in (wide.gradient.abs(), torch.ones_like(wide.gradient)):
            sums.append(LayerCall(wide.layer, wide.args, wide.kwargs, incoming).run().gradients["input"])
        bounds["grad input"] = _gamma((sums[1] - 1).clamp(min=0), dtype) * sums[0]
    return bounds


def _nearest(call: LayerCall, torchs: Results) -> Bounds:
    """Bound what picks pixels, as above; torch's gradient errs as much."""
    bounds = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in named(torchs).items()}
    if call.gradient is not None:
        wide = call.changed(lambda tensor: tensor.double())
        sums = []
        for incoming in (wide.gradient.abs(), torch.ones_like(wide.gradient)):  # type: ignore[union-attr, arg-type]
            sums.append(LayerCall(wide.layer, wide.args, wide.kwargs, incoming).run().gradients["input"])
        dtype = torchs.gradients["input"].dtype
        bounds["grad input"] = 2 * _gamma((sums[1] - 1).clamp(min=0), dtype) * sums[0]
    return bounds


def _interpolated(wide: LayerCall, right: Results, dtype: torch.dtype) -> Bounds:
    """Bound interpolation by the greatest pixel of each plane.

    Along an axis of n pixels an output is a sum over at most t, whose weights have sizes that sum to at most
    a. Coordinates err by at most 5 u (n + 1), weights by 3/2 times as much, as no kernel is steeper, and by
    gamma_8 Σ|a_i|2^i of their polynomials: 288 u for Keys' (Higham, section 5.1). Torch rounds a coordinate
    to float32 before it rounds it down, which moves one that lies right below a whole number to that. A
    pixel's gradient is such a sum over the outputs that take from it.
    """
    image, output = wide.tensors[0], right.values["output"]
    cubic, area = wide.layer.mode == "bicubic", wide.layer.mode == "area"
    u = torch.finfo(dtype).eps / 2 + torch.finfo(torch.float64).eps / 2
    sizes, errors, terms = [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]
    for axis, (inputs, outputs) in enumerate(zip(image.shape[2:], output.shape[2:], strict=True)):
        taps = -(-inputs // outputs) + 1 if area else 4 if cubic else 2
        a = 1.375 if cubic else 1.0
        moved = 0.0 if area else 7.5 * u * (inputs + 1) + 1.5 * _moved(wide.layer, axis, inputs, outputs)
        wrong = (taps + 2) * (moved + (288 if cubic else 3) * u)
        times = min(outputs, 2 * taps * (outputs + 1) // inputs + 2)
        for each, (size, count) in enumerate(((a, taps), (a * times, times))):
            sizes[each] *= size
            errors[each] *= size + (wrong if each == 0 else wrong * times)
            terms[each] *= count
    bounds = {}
    for each, (name, value) in enumerate((("output", image), ("grad input", wide.gradient))):
        if value is not None and name in named(right):
            rounding = _gamma(terms[each] + 3, dtype)
            most = value.detach().abs().amax(tuple(range(2, value.dim())), keepdim=True)
            bound = (errors[each] * (1 + rounding) - sizes[each]) * most + terms[each] * _tiny(dtype)
            bounds[name] = bound.expand(named(right)[name].shape).clone()
    return bounds


def _moved(layer: Any, axis: int, inputs: int, outputs: int) -> float:
    """Return how far rounding to float32 moves a coordinate to a whole number."""
    places, factor = torch.arange(outputs).double(), layer.scale_factor
    factor = factor[axis] if isinstance(factor, tuple) else factor
    if layer.align_corners:
        places = places * ((inputs - 1) / max(1, outputs - 1))
    else:
        by_sizes = factor is None or layer.recompute_scale_factor
        places = (places + 0.5) * (inputs / outputs if by_sizes else 1 / factor) - 0.5
    gaps = places.ceil() - places
    return float(torch.where(gaps <= 2.0**-24 * (inputs + 1), gaps, 0).max())


def _dropped(layer: nn.Module, torchs: Results) -> Bounds:
    """Bound a product with a scale that is rounded itself: two roundings, and two of torch's own."""
    busy = layer.training and layer.p not in (0, 1)
    return {
        name: (_gamma(4 * busy, value.dtype) * value.double().abs()) for name, value in named(torchs).items()
    }


def _alpha_dropped(layer: nn.Module, torchs: Results) -> Bounds:
    """Bound x s and the number that is added, by six roundings and six of torch's own; see `parity`."""
    if not layer.training or layer.p in (0, 1):
        return _dropped(layer, torchs)
    alpha = 1.7580993408473766
    number = alpha * ((alpha**2 * layer.p + 1) * (1 - layer.p)) ** -0.5  # type: ignore[operator]
    return {
        name: _gamma(12, value.dtype) * (value.double().abs() + 3 * number)
        for name, value in named(torchs).items()
    }


def _propagated(
    polynomial: Callable[..., Bounds], sizes: tuple[Tensor, ...], errors: tuple[Tensor, ...], rounding: Tensor
) -> Bounds:
    """Bound polynomials of intermediate results that err themselves.

    With F the polynomial of absolute values, the results err by at most F(|x| + |δ|) - F(|x|), and by
    gamma_k F(|x| + |δ|) for k roundings on the way.
    """
    exact = polynomial(*sizes)
    moved = polynomial(*(size + error for size, error in zip(sizes, errors, strict=True)))
    return {name: moved[name] - exact[name] + rounding * moved[name] for name in exact}


def _view(layer: Any, input: Tensor) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Return the shape (N, G, K, L) as which an input is normalized, and the axes of mean and variance."""
    sample = (2, 3)
    if isinstance(layer, nn.LayerNorm):
        elements = math.prod(layer.normalized_shape)
        return (input.numel() // max(1, elements), 1, elements, 1), sample
    of_axes = enumerate(_INSTANCE_NORMS, 1)
    alone = any(isinstance(layer, norm) and input.dim() == axes + 1 for axes, norm in of_axes)
    samples, channels, *sizes = (1, *input.shape) if alone else input.shape
    groups = layer.num_groups if isinstance(layer, nn.GroupNorm) else channels
    shape = samples, groups, channels // groups, math.prod(sizes)
    return shape, (0, 3) if isinstance(layer, _BATCH_NORMS) else sample


def _normalized(wide: LayerCall, right: Results, dtype: torch.dtype) -> Bounds:
    """Bound normalization: the variance in two passes, then y = γ x̂ + β or x (γ s) + (β - μ γ s)."""
    layer, u = wide.layer, torch.finfo(dtype).eps / 2
    shape, axes = _view(layer, wide.tensors[0])
    x, n, of_parameters = wide.tensors[0].reshape(shape), shape[axes[0]] * shape[axes[1]], (0, 3)
    most, running = max(n, shape[0] * shape[3]), getattr(layer, "running_mean", None) is not None
    by_own = layer.training or not running

    def beside(name: str, missing: float = 0.0) -> Tensor:
        tensor = getattr(layer, name, None)
        values = torch.full(shape[1:3], missing, dtype=x.dtype) if tensor is None else tensor.detach()
        return values.reshape(1, shape[1], shape[2], 1)

    def mean(tensor: Tensor) -> Tensor:
        return tensor.mean(axes, keepdim=True) if by_own else torch.zeros(1, 1, 1, 1, dtype=x.dtype)

    mu, gain, shift = mean(x), beside("weight", 1.0).abs(), beside("bias").abs()
    variance, mu_error = mean((x - mu).square()), _gamma(n + 1, dtype) * mean(x.abs())
    if not by_own:
        mu, variance = beside("running_mean"), beside("running_var")
    distance = (x - mu).abs()
    variance_error = _gamma(n + 3, dtype) * variance * by_own + 2 * mean(distance) * mu_error + mu_error**2
    total = variance + layer.eps
    least = (total - variance_error - u * total).clamp(min=layer.eps * (1 - 2 * u))
    scale, scale_error = total.rsqrt(), (total / least).sqrt() - 1 + 3 * u
    normal = distance * scale
    normal_error = scale * (1 + scale_error) * (mu_error + u * distance) + normal * (scale_error + u)
    bounds = {"output": gain * normal_error + 4 * u * (gain * scale * (x.abs() + mu.abs()) + shift)}
    if "running_mean" in right.values:
        learns = layer.training

        def learnt(statistic: Tensor) -> Any:
            return statistic.mean(0).flatten() if learns else 0  # of the samples, where each has its own

        kept = {name: getattr(layer, name).abs() for name in WRITTEN[:2]}
        moved = learnt(mu.abs()), learnt(variance * n / max(1, n - 1))
        errors = learnt(mu_error), learnt(2 * variance_error)
        for name, size, error in zip(WRITTEN, moved, errors, strict=False):
            bounds[name] = error + _gamma((5 + mu.shape[0]) * learns, dtype) * (kept[name] + size)
        bounds["num_batches_tracked"] = torch.zeros_like(right.values["num_batches_tracked"])
    if wide.gradient is not None:
        g = wide.gradient.abs().reshape(shape)

        def gradients(normal: Any, scale: Any) -> Bounds:
            projected = gain * g + mean(gain * g) + normal * mean(gain * g * normal)
            sums = {"grad weight": (g * normal).sum(of_parameters), "grad bias": g.sum(of_parameters)}
            return {"grad input": scale * projected, **sums}

        errors_of_scale = scale * ((1 + scale_error) ** 3 - 1)
        rounding = _gamma(most + 24, dtype)
        bounds |= _propagated(gradients, (normal, scale), (normal_error, errors_of_scale), rounding)
    results = named(right)
    return {
        name: (bound + 16 * most * _tiny(dtype) * (bound > 0)).reshape(results[name].shape)
        for name, bound in bounds.items()
        if name in results
    }


def _response(wide: LayerCall, dtype: torch.dtype) -> Bounds:
    """Bound y = x D^-β and its gradient, where D = k + (α / n) Σ x² and its powers err by what D does.

    With the slope D^(-β-1), which may be computed as D^(β-1) / D^2β.
    """
    layer, x, u = wide.layer, wide.tensors[0], torch.finfo(dtype).eps / 2
    n, beta = layer.size, abs(layer.beta)

    def neighbours(each: Tensor, before: int, after: int) -> Tensor:
        padded = nn.functional.pad(each.flatten(2), (0, 0, before, after))
        return padded.unfold(1, n, 1).sum(-1).reshape(x.shape)

    mean = neighbours(x.square(), n // 2, (n - 1) // 2) / n
    divisor = layer.k + layer.alpha * mean
    relative = _gamma(n + 4, dtype) * (abs(layer.k) + abs(layer.alpha) * mean) / divisor.abs()
    powers = (divisor**-layer.beta).abs(), (divisor ** (-layer.beta - 1)).abs()
    errors = tuple(
        power * ((1 - relative).clamp(min=0) ** -often * (1 + 4 * u) ** 3 - 1)
        for power, often in zip(powers, (beta, 3 * beta + 1), strict=True)
    )
    g = torch.zeros_like(x) if wide.gradient is None else wide.gradient.abs()

    def results(scale: Tensor, slope: Tensor) -> Bounds:
        through = neighbours(g * x.abs() * slope, (n - 1) // 2, n // 2)
        by_divisor = abs(2 * layer.alpha * layer.beta / n) * x.abs() * through
        return {"output": x.abs() * scale, "grad input": g * scale + by_divisor}

    bounds = _propagated(results, powers, errors, _gamma(n + 16, dtype))
    tiny = 16 * n * _tiny(dtype) * (1 + x.abs().amax()) ** 2
    return {name: bound + tiny for name, bound in bounds.items()}


def _activation(wide: LayerCall, right: Results, dtype: torch.dtype, stored: torch.dtype) -> Bounds:
    """Bound an activation: f errs by gamma_16 (|f| + |x|), f' by gamma_24 (1 + |x|)², times its parameters.

    So does every formula of a few functions and products, of arguments that are rounded themselves; 1 - a for
    an a near 1, times a power of x, is that large at most before it is zero. The gradient may be computed
    from the output as it is stored. Torch computes 1 / alpha of CELU and 1 / 6 of Hardsigmoid in float32.
    """
    layer, x = wide.layer, wide.tensors[0]
    inside = torch.float32 if isinstance(layer, (nn.CELU, nn.Hardsigmoid)) else dtype
    given = (getattr(layer, name, 1.0) for name in ("alpha", "beta", "negative_slope"))
    size = max([1.6732632423543772, *(abs(float(each)) for each in given)])
    size = size * max(1.0, 1 / abs(float(getattr(layer, "alpha", 1.0))))
    y = right.values["output"].abs()
    bounds = {"output": _gamma(16, inside) * (y + size * x.abs())}
    if wide.gradient is not None:
        g = wide.gradient.abs()
        moved = _rounding(y, bounds["output"], stored) if stored != dtype else torch.zeros(())
        slope = _gamma(24, inside) * (1 + x.abs()) ** 2 + 2 * moved
        if isinstance(layer, nn.PReLU):
            w = layer.weight.detach().abs()
            shape = [-1 if axis == 1 and w.numel() > 1 else 1 for axis in range(x.dim())]
            summed = (g * x.abs()).sum_to_size([w.numel() if n == -1 else 1 for n in shape])
            terms = x.numel() // max(1, w.numel())
            bounds["output"] = _gamma(2, dtype) * y
            bounds["grad weight"] = _gamma(terms + 2, dtype) * summed.reshape(w.shape)
            slope = _gamma(2, dtype) * w.reshape(shape)
        bounds["grad input"] = g * slope * size
    return {name: bound + 16 * _tiny(dtype) * (1 + x.abs().amax()) for name, bound in bounds.items()}


def _log_probabilities(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the softmax over the last axis, its logarithm's size, and the bounds of their errors.

    They are those of Blanchard, Higham and Higham, Accurately computing the log-sum-exp and softmax
    functions, 2021, section 4, where a computed exp or log errs by 4 u.
    """
    u, classes, top = torch.finfo(dtype).eps / 2, x.shape[-1], x.amax(-1, keepdim=True)
    log_p, log_sum = x.log_softmax(-1), (x - top).exp().sum(-1, keepdim=True).log()
    p = log_p.exp()
    error = _gamma(classes + 8, dtype) + 2 * u * (p * (x - top).abs()).nan_to_num(0).sum(-1, keepdim=True)
    error = error + _gamma(8, dtype) * (x.abs() + top.abs() + log_sum)
    p_error = p * (error.expm1() + _gamma(classes + 16, dtype)) + torch.finfo(dtype).smallest_normal
    return p, log_p.abs(), p_error, error


def _softmax(wide: LayerCall, dtype: torch.dtype, stored: torch.dtype) -> Bounds:
    """Bound softmax or its logarithm: polynomials in the softmax and the incoming gradient.

    The gradient is computed from the output as it is stored.
    """
    layer, x = wide.layer, wide.tensors[0]
    dim = layer.dim if isinstance(layer.dim, int) else (0 if x.dim() in (0, 1, 3) else 1)
    flat = x if x.dim() else x.unsqueeze(0)
    p, log, p_error, error = _log_probabilities(flat.movedim(dim, -1), dtype)
    logarithm = isinstance(layer, nn.LogSoftmax)
    bounds = {"output": error if logarithm else p_error}
    if stored != dtype:
        p_error = p_error + (
            p * (_rounding(log, error, stored).expm1()) if logarithm else _rounding(p, p_error, stored)
        )
    if wide.gradient is not None:
        g = wide.gradient.abs().reshape(flat.shape).movedim(dim, -1)

        def gradients(p: Tensor) -> Bounds:
            if logarithm:
                return {"grad input": g + p * g.sum(-1, keepdim=True)}
            return {"grad input": p * (g + (p * g).sum(-1, keepdim=True))}

        bounds |= _propagated(gradients, (p,), (p_error,), _gamma(3 * p.shape[-1] + 16, dtype))
    return {name: bound.movedim(-1, dim).reshape(x.shape) for name, bound in bounds.items()}


def _cross_entropy(wide: LayerCall, dtype: torch.dtype) -> Bounds:
    """Bound cross-entropy: Σ q |log p| / divisor, with weights q of the classes that the target sets."""
    layer, x, target = wide.layer, *wide.tensors[:2]
    axis = 0 if x.dim() == 1 else 1
    p, log, p_error, log_error = _log_probabilities(x.movedim(axis, -1), dtype)
    classes, rate = p.shape[-1], float(layer.label_smoothing)
    weight = torch.ones(classes, dtype=p.dtype) if layer.weight is None else layer.weight
    if target.is_floating_point():
        q = (target.movedim(axis, -1).abs() * (1 - rate) + rate / classes) * weight
        divisor = torch.tensor(q.numel() / classes)
    else:
        kept = target != layer.ignore_index
        index = torch.where(kept, target, 0).long()
        q = (
            (nn.functional.one_hot(index, classes) * (1 - rate) + rate / classes)
            * weight
            * kept.unsqueeze(-1)
        )
        divisor = (weight[index] * kept).sum()
    divisor = divisor if layer.reduction == "mean" else torch.ones(())
    rounding = _gamma(2 * (q.numel() + classes) + 24, dtype)

    def polynomials(p: Tensor, log: Tensor) -> Bounds:
        losses = (q * log).sum(-1) / divisor
        results = {"output": losses if layer.reduction == "none" else losses.sum()}
        if wide.gradient is not None:
            h = wide.gradient.abs().unsqueeze(-1) / divisor
            results["grad input"] = (h * (p * q.sum(-1, keepdim=True) + q)).movedim(-1, axis)
            results["grad target"] = (h * (1 - rate) * weight * log).movedim(-1, axis)
        return results

    tiny = 4 * q.numel() * _tiny(dtype)
    bounds = _propagated(polynomials, (p, log), (p_error, log_error), rounding)
    return {name: bound + tiny for name, bound in bounds.items()}


def _loss(wide: LayerCall, right: Results, dtype: torch.dtype) -> Bounds:
    """Bound a loss by elements: terms and derivatives err by gamma_40 of their sizes, sums of n by more."""
    layer, x, target = wide.layer, *wide.tensors[:2]
    n = max(1, x.numel())
    sizes = _sizes_of_picked(layer, x, target) if isinstance(layer, nn.NLLLoss) else _sizes(layer, x, target)
    value, *slopes = sizes
    divisor, weight = torch.tensor(float(n)), getattr(layer, "weight", None)
    if isinstance(layer, nn.NLLLoss):
        kept = target != layer.ignore_index
        weights = torch.ones(x.shape[min(1, x.dim() - 1)], dtype=x.dtype) if weight is None else weight
        divisor = (weights[torch.where(kept, target, 0)] * kept).sum()
    h = torch.zeros(()) if wide.gradient is None else wide.gradient.abs()
    divisor = divisor if layer.reduction == "mean" else torch.ones(())
    reduced = value / divisor if layer.reduction == "none" else value.sum() / divisor
    if isinstance(layer, nn.NLLLoss) and layer.reduction == "none":
        h, reduced = h.unsqueeze(min(1, x.dim() - 1)), value.sum(min(1, x.dim() - 1))
    rounding, tiny = _gamma(2 * n + 40, dtype), 8 * n * torch.finfo(dtype).smallest_normal
    results = {"output": reduced} | dict(
        zip(("grad input", "grad target"), (h * slope / divisor for slope in slopes), strict=False)
    )
    return {name: rounding * size + tiny * (1 + size.amax()) for name, size in results.items()}


def _sizes(layer: Any, x: Tensor, t: Tensor) -> tuple[Tensor, ...]:
    """Return the sums of the sizes of the terms of a loss, and of its derivatives by x and by t."""
    d = (x - t).abs()
    one = torch.ones_like(d)
    if isinstance(layer, nn.MSELoss):
        return d * d, 2 * d, 2 * d
    if isinstance(layer, (nn.L1Loss, nn.SmoothL1Loss)):
        return 2 * d, one, one
    if isinstance(layer, nn.HuberLoss):
        slope = d.clamp(max=layer.delta)
        return 2 * layer.delta * d, slope, slope
    weight = one if layer.weight is None else layer.weight.abs()
    if isinstance(layer, nn.BCELoss):
        logs = [log.abs().clamp(max=100) for log in (x.log(), torch.log1p(-x))]
        apart = torch.special.xlogy(one, x).abs() + torch.special.xlog1py(one, -x).abs()
        value, slope = t * logs[0] + (1 - t).abs() * logs[1], (x + t) / ((1 - x) * x).clamp(min=1e-12)
        return weight * value, weight * slope, weight * apart
    weight = weight * (1 if layer.pos_weight is None else 1 + layer.pos_weight.abs())
    each = (1 + t.abs()) * weight
    return each * (2 * x.abs() + 1), 2 * each, weight * (2 * x.abs() + 1)


def _sizes_of_picked(layer: Any, x: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """Return them of nll_loss, for each class: what the target picks, times its weight."""
    axis = min(1, x.dim() - 1)
    kept = (target != layer.ignore_index).unsqueeze(axis)
    index = torch.where(kept, target.unsqueeze(axis), 0)
    picked = torch.zeros_like(x).scatter(axis, index, kept.to(x.dtype))
    if layer.weight is not None:
        picked = picked * layer.weight.abs().reshape([-1 if each == axis else 1 for each in range(x.dim())])
    return x.abs() * picked, picked
