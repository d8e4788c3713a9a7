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

_SUMS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_PICKS = (nn.ReLU, nn.Hardtanh, nn.Flatten, nn.MaxPool2d)
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
    elif isinstance(layer, (nn.Softmax, nn.LogSoftmax)):
        bounds = _softmax(wide, narrow, torchs.values["output"].dtype)
    elif isinstance(layer, _SMOOTH):
        bounds = _activation(wide, right, narrow, torchs.values["output"].dtype)
    elif isinstance(layer, nn.CrossEntropyLoss):
        bounds = _cross_entropy(wide, narrow)
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
    if isinstance(layer, nn.AvgPool2d):  # a sum divided once, or of terms times the reciprocal
        vars(counting.layer)["divisor_override"], more = 1, 1.0
    elif isinstance(layer, nn.AdaptiveAvgPool2d):
        more = _most_in_a_bin(call.tensors[0], right.values["output"])
    # Complex numbers by three real products (Higham, section 23.2.4): larger by 3 √2, with 4 roundings more.
    factor, more = (3 * 2**0.5, more + 4) if is_complex else (1.0, more)
    counts, bounds = named(counting.run()), {}
    for name, size in named(absolute.run()).items():
        n = torch.where(counts[name] > 0, counts[name].double() + more, 0)
        gamma = _gamma(n, dtype)
        bounds[name] = gamma * (1 + gamma) * size * factor + n * _tiny(dtype)  # the size errs as well
    return bounds


def _most_in_a_bin(image: Tensor, output: Tensor) -> float:
    """Return how many pixels are averaged at most, and two for the divisions; also bins over one pixel."""
    most = 1
    for length, bins in zip(image.shape[-2:], output.shape[-2:], strict=True):
        most *= max(-(-length // max(1, bins)), -(-bins // length)) + 1
    return most + 2.0


def _picks(wide: LayerCall, right: Results, dtype: torch.dtype) -> Bounds:
    """Bound the results of layers that pick elements: zero, but where a gradient is a sum."""
    bounds = {
        name: torch.zeros_like(value.abs(), dtype=torch.float64) for name, value in named(right).items()
    }
    if isinstance(wide.layer, (nn.MaxPool2d, *_PADS)) and wide.gradient is not None:
        sums = []
        for incoming in (wide.gradient.abs(), torch.ones_like(wide.gradient)):
            sums.append(LayerCall(wide.layer, wide.args, wide.kwargs, incoming).run().gradients["input"])
        bounds["grad input"] = _gamma((sums[1] - 1).clamp(min=0), dtype) * sums[0]
    return bounds


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
    alone = isinstance(layer, _INSTANCE_NORMS) and input.dim() == layer._get_no_batch_dim()
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
