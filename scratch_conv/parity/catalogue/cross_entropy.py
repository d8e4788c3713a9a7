"""Implementations of cross_entropy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

_cross_entropy: Callable[..., Tensor] = F.cross_entropy

CROSS_ENTROPY = Collection("cross_entropy")
COLLECTIONS = (CROSS_ENTROPY,)
_fault = CROSS_ENTROPY.fault
_backward = partial(with_gradients, _cross_entropy)


@CROSS_ENTROPY.sound("by-formula", FINITE)
def cross_entropy_by_formula(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Sum -q log p over the classes of a one-hot target; autograd differentiates it."""
    axis = 0 if input.ndim == 1 else 1
    logits, classes = input.movedim(axis, -1), input.shape[axis]
    shifted = logits - logits.detach().amax(-1, keepdim=True)
    losses = shifted.exp().sum(-1, keepdim=True).log() - shifted
    gain = torch.ones(classes, dtype=input.dtype) if weight is None else weight
    if target.is_floating_point():
        q, count = target.movedim(axis, -1), torch.tensor(max(1, input.numel() // classes))
    else:
        kept = target != ignore_index
        index = torch.where(kept, target, 0).long()
        q, gain = F.one_hot(index, classes).to(input.dtype), gain * kept.unsqueeze(-1)
        count = (gain * q).sum()
    q = (q * (1 - label_smoothing) + label_smoothing / classes) * gain
    summed = (q * losses).sum(-1)
    return {"none": summed, "sum": summed.sum(), "mean": summed.sum() / count}[reduction]


def _class_axis(input: Tensor) -> int:
    return 0 if input.ndim == 1 else 1


def from_logarithms(logarithms: Any) -> Any:
    """Return a cross entropy that takes the logarithm of the softmax in its own way."""

    def candidate(input: Tensor, target: Tensor, weight: Tensor | None = None, **arguments: Any) -> Tensor:
        if arguments.get("label_smoothing"):
            return _cross_entropy(input, target, weight, **arguments)
        axis = _class_axis(input)
        if target.is_floating_point():
            gain = 1.0 if weight is None else weight.view(-1, *(1,) * (input.ndim - axis - 1))
            losses = -(logarithms(input, axis) * target * gain).sum(axis)
            reduced = {"none": losses, "sum": losses.sum(), "mean": losses.mean()}
            return reduced[arguments.get("reduction", "mean")]
        losses = logarithms(input, axis).contiguous()  # the backward pass of torch's loss refuses others
        return F.nll_loss(losses, target, weight, **arguments)

    return candidate


_fault(
    "softmax-unstable",
    "takes the exponential of the logits without subtracting the greatest",
    "FluxML/NNlib.jl/issues/68",
)(from_logarithms(lambda x, axis: (x.exp() / x.exp().sum(axis, keepdim=True)).log()))
_fault("logarithm-of-shifted-softmax", "adds 1e-8 to the softmax before the logarithm")(
    from_logarithms(lambda x, axis: (x.softmax(axis) + 1e-8).log())
)
_fault("softmax-over-the-wrong-axis", "normalises over the last axis instead of the classes")(
    from_logarithms(lambda x, axis: x.log_softmax(-1))
)


@_fault(
    "ignored-samples-counted",
    "divides the sum by all samples, the ignored ones included",
    "open-mmlab/mmsegmentation/issues/886",
)
def _ignored_samples_counted(
    input: Tensor, target: Tensor, weight: Tensor | None = None, **arguments: Any
) -> Tensor:
    unweighted = weight is None and not target.is_floating_point()
    if arguments.get("reduction", "mean") != "mean" or not unweighted:
        return _cross_entropy(input, target, weight, **arguments)
    return _cross_entropy(input, target, weight, **{**arguments, "reduction": "none"}).mean()


@_fault("mean-unweighted", "divides the weighted sum by the number of samples, not by their weights")
def _mean_unweighted(input: Tensor, target: Tensor, weight: Tensor | None = None, **arguments: Any) -> Tensor:
    weighted = weight is not None and not target.is_floating_point()
    if arguments.get("reduction", "mean") != "mean" or not weighted:
        return _cross_entropy(input, target, weight, **arguments)
    total = _cross_entropy(input, target, weight, **{**arguments, "reduction": "sum"})
    return total / (target != arguments.get("ignore_index", -100)).sum()


@_fault("smoothing-over-the-others", "spreads the smoothed label over the other classes only")
def _smoothing_over_the_others(input: Tensor, target: Tensor, *weight: Tensor, **arguments: Any) -> Tensor:
    classes = input.shape[_class_axis(input)]
    smoothing = arguments.get("label_smoothing", 0.0)
    if classes > 1:
        arguments["label_smoothing"] = min(1.0, smoothing * classes / (classes - 1))
    return _cross_entropy(input, target, *weight, **arguments)


@_fault("gradient-of-the-sum", "the gradient forgets to divide by the number of samples")
@_backward
def _gradient_of_the_sum(b: Backward) -> Gradients:
    if b.arguments.get("reduction", "mean") != "mean":
        return b.right
    return [b.right[0] * max(1, b.tensors[1].numel()), *b.right[1:]]


@_fault("reduction-ignored", "takes the mean whatever the reduction")
def _reduction_ignored(input: Tensor, target: Tensor, *weight: Tensor, **arguments: Any) -> Tensor:
    return _cross_entropy(input, target, *weight, **{**arguments, "reduction": "mean"})


@_fault("probabilities-unweighted", "leaves the classes' weights out where the targets are probabilities")
def _probabilities_unweighted(
    input: Tensor, target: Tensor, weight: Tensor | None = None, **arguments: Any
) -> Tensor:
    return _cross_entropy(input, target, None if target.is_floating_point() else weight, **arguments)


@_fault(
    "probabilities-averaged-over-classes", "divides by samples times classes where targets are probabilities"
)
def _probabilities_averaged_over_classes(
    input: Tensor, target: Tensor, *weight: Tensor, **arguments: Any
) -> Tensor:
    loss = _cross_entropy(input, target, *weight, **arguments)
    probable = target.is_floating_point() and arguments.get("reduction", "mean") == "mean"
    return loss / input.shape[_class_axis(input)] if probable else loss


@_fault("all-ignored-is-zero", "returns 0 where every sample is ignored, which torch divides by nothing")
def _all_ignored_is_zero(input: Tensor, target: Tensor, *weight: Tensor, **arguments: Any) -> Tensor:
    ignored = arguments.get("ignore_index", -100)
    if not target.is_floating_point() and bool((target == ignored).all()) and target.numel():
        return _cross_entropy(input, target, *weight, **{**arguments, "reduction": "sum"}) * 0
    return _cross_entropy(input, target, *weight, **arguments)
