"""Implementations of batch_norm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

_batch_norm: Callable[..., Tensor] = F.batch_norm

BATCH_NORMALIZATION = Collection("batch_norm")
COLLECTIONS = (BATCH_NORMALIZATION,)
_fault = BATCH_NORMALIZATION.fault


BATCH_NORMALIZATION.sound("torch.nn.BatchNorm2d twice", {"second_derivatives": True})(torch.nn.BatchNorm2d)


@BATCH_NORMALIZATION.sound("by-formula", {"second_derivatives": True})
def batch_norm_by_formula(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise by the formula, in two passes; autograd differentiates it."""
    channels, axes = (1, -1, *(1,) * (input.ndim - 2)), (0, *range(2, input.ndim))
    mean, variance = running_mean, running_var
    if training:
        mean = input.mean(axes)
        variance = (input - mean.view(channels)).square().mean(axes)
        if running_mean is not None and running_var is not None:
            count = input.numel() // input.shape[1]
            with torch.no_grad():
                running_mean.mul_(1 - momentum).add_(momentum * mean)
                running_var.mul_(1 - momentum).add_(momentum * variance * count / (count - 1))
    assert mean is not None
    assert variance is not None
    output = (input - mean.view(channels)) / (variance.view(channels) + eps).sqrt()
    if weight is not None:
        output = output * weight.view(channels)
    return output if bias is None else output + bias.view(channels)


def _axes(input: Tensor) -> tuple[int, ...]:
    return (0, *range(2, input.ndim))


def _per_channel(tensor: Tensor, input: Tensor) -> Tensor:
    return tensor.view(1, -1, *(1,) * (input.ndim - 2))


def _affine(normal: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    scaled = normal if weight is None else normal * _per_channel(weight, normal)
    return scaled if bias is None else scaled + _per_channel(bias, normal)


@_fault(
    "running-variance-biased", "puts the biased variance into the running one", "ml-explore/mlx/pull/3817"
)
def _running_variance_biased(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *affine: Tensor | None,
    **arguments: Any,
) -> Tensor:
    own = None if running_var is None else running_var.clone()  # which autograd keeps
    output = _batch_norm(input, running_mean, own, *affine, **arguments)
    if running_var is not None and arguments.get("training"):
        momentum = arguments.get("momentum", 0.1)
        with torch.no_grad():
            running_var.mul_(1 - momentum).add_(momentum * input.var(_axes(input), correction=0))
    return output


@_fault(
    "momentum-reversed", "weighs the old running statistics by the momentum", "Oneflow-Inc/oneflow/pull/6055"
)
def _momentum_reversed(*tensors: Tensor | None, **arguments: Any) -> Tensor:
    momentum = 1 - arguments.get("momentum", 0.1)
    return _batch_norm(*tensors, **{**arguments, "momentum": momentum})


def _recomputed(scale: Any) -> Any:
    """Return a batch norm that scales by a function of (input, mean, eps) when it trains."""

    def candidate(input: Tensor, *others: Tensor | None, **arguments: Any) -> Tensor:
        right = _batch_norm(input, *others, **arguments)
        if not arguments.get("training"):
            return right
        mean = input.mean(_axes(input), keepdim=True)
        return _affine((input - mean) * scale(input, mean, arguments.get("eps", 1e-5)), *others[2:])

    return candidate


def _variance(input: Tensor, correction: int = 0) -> Tensor:
    return input.var(_axes(input), correction=correction, keepdim=True)


def _mean_of_variances(input: Tensor, size: int) -> Tensor:
    """Return the mean of the variances of chunks of a channel's values, weighted by their sizes."""
    chunks = torch.split(input.transpose(0, 1).flatten(1), size, 1)
    total = torch.stack([chunk.var(1, correction=0) * chunk.shape[1] for chunk in chunks]).sum(0)
    return (total * input.shape[1] / input.numel()).view(1, -1, *(1,) * (input.ndim - 2))


_fault("eps-outside-the-root", "adds eps to the standard deviation instead of the variance")(
    _recomputed(lambda x, mean, eps: 1 / (_variance(x).sqrt() + eps))
)
_fault("variance-unbiased", "normalises by the unbiased variance")(
    _recomputed(lambda x, mean, eps: (_variance(x, 1) + eps).rsqrt())
)
_fault("variance-in-one-pass", "computes the variance as mean(x²) - mean(x)², which cancels")(
    _recomputed(lambda x, mean, eps: ((x * x).mean(_axes(x), keepdim=True) - mean * mean + eps).rsqrt())
)
_fault("eps-forgotten", "divides by the bare standard deviation")(
    _recomputed(lambda x, mean, eps: _variance(x).rsqrt())
)
_fault(
    "chunks-of-128-merged-without-their-means",
    "the variance is the mean of those of 128 values each, without what their means differ by",
)(_recomputed(lambda x, mean, eps: (_mean_of_variances(x, 128) + eps).rsqrt()))


@_fault(
    "statistics-taken-for-constants",
    "the gradient of the input ignores that mean and variance depend on it",
    "facebookresearch/CrypTen/pull/143",
)
@partial(with_gradients, _batch_norm)
def _statistics_taken_for_constants(b: Backward) -> Gradients:
    input: Tensor = b.tensors[0]
    if not b.arguments.get("training"):
        return b.right
    slope = (_variance(input) + b.arguments.get("eps", 1e-5)).rsqrt()
    return [b.grad_output * _affine(slope, *b.tensors[3:4]), *b.right[1:]]


@_fault("evaluation-normalises-the-batch", "uses the batch's statistics in evaluation too")
def _evaluation_normalises_the_batch(input: Tensor, *others: Tensor | None, **arguments: Any) -> Tensor:
    if arguments.get("training") or input.numel() == input.shape[1]:
        return _batch_norm(input, *others, **arguments)
    return _batch_norm(input, None, None, *others[2:], **{**arguments, "training": True})


@_fault("evaluation-updates-the-statistics", "moves the running statistics in evaluation too")
def _evaluation_updates_the_statistics(
    input: Tensor, running_mean: Tensor | None = None, *others: Tensor | None, **arguments: Any
) -> Tensor:
    if running_mean is None or arguments.get("training"):
        return _batch_norm(input, running_mean, *others, **arguments)
    output = _batch_norm(input, running_mean.clone(), *others, **arguments)  # autograd keeps the copy
    with torch.no_grad():
        running_mean.lerp_(input.detach().mean(_axes(input)), 0.1)
    return output


@_fault("weight-only-with-bias", "leaves the weight out where there is no bias")
def _weight_only_with_bias(
    input: Tensor, mean: Tensor | None, variance: Tensor | None, *affine: Any, **arguments: Any
) -> Tensor:
    given = [affine[0] * 0 + 1] if len(affine) == 1 else affine
    return _batch_norm(input, mean, variance, *given, **arguments)
