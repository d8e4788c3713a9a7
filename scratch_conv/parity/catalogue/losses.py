"""Implementations of the losses by elements, and of nll_loss."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

MSE, L1, SMOOTH_L1, HUBER = (
    Collection(name) for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
)
BCE, LOGITS, NLL = (
    Collection(name) for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits", "nll_loss")
)
COLLECTIONS = (MSE, L1, SMOOTH_L1, HUBER, BCE, LOGITS, NLL)
ONCE: dict[str, Any] = {"special_values": False, "empty": False}
"""The claims of a formula whose second derivative is another one where its pieces meet, or cancels."""


def _reduced(
    losses: Tensor, weight: Tensor | None, reduction: str, over_weights: bool = False, count: Any = None
) -> Tensor:
    """Weight and reduce losses; a mean is over their number, or the weights, or a count."""
    losses = losses if weight is None else losses * weight
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction != "mean":
        raise ValueError(reduction)
    divisor = weight.sum() if over_weights and weight is not None else losses.numel()
    return losses.sum() / (divisor if count is None else count)


@MSE.sound("by-formula", FINITE)
def mse_by_formula(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Square the difference, and divide by the weights."""
    return _reduced((input - target).square(), weight, reduction, over_weights=True)


@MSE.fault("halved", "halves the squares, so that the derivative has no factor")
def _halved(input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean") -> Tensor:
    return _reduced((input - target).square() / 2, weight, reduction, over_weights=True)


@MSE.fault("gradient-without-the-factor", "the gradient is the difference, not twice the difference")
@partial(with_gradients, mse_by_formula)
def _gradient_without_the_factor(b: Backward) -> Gradients:
    return [*(gradient / 2 for gradient in b.right[:2]), *b.right[2:]]


@MSE.fault("mean-over-the-batch", "divides the sum by the size of the first axis alone")
def _mean_over_the_batch(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    count = None if weight is not None else max(1, input.shape[0] if input.dim() else 1)
    return _reduced((input - target).square(), weight, reduction, over_weights=True, count=count)


@MSE.fault("mean-over-the-targets", "divides the sum by the number of targets, of which there may be fewer")
def _mean_over_the_targets(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    count = None if weight is not None else max(1, target.numel())
    return _reduced((input - target).square(), weight, reduction, over_weights=True, count=count)


@MSE.fault("mean-unweighted", "divides the weighted sum by the number of elements, not by the weights")
def _mean_unweighted(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    return _reduced((input - target).square(), weight, reduction)


@L1.sound("by-formula", ONCE)
def l1_by_formula(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Take the difference's size, and divide by the weights."""
    return _reduced((input - target).abs(), weight, reduction, over_weights=True)


@L1.fault("gradient-at-zero", "the derivative of the size of zero is 1")
@partial(with_gradients, l1_by_formula)
def _gradient_at_zero(b: Backward) -> Gradients:
    input, target, *others = b.tensors
    equal = input == target
    divided = not others and b.arguments.get("reduction", "mean") != "none"
    further = torch.where(equal, b.grad_output / (max(1, equal.numel()) if divided else 1), 0.0)
    return [b.right[0] + further.sum_to_size(input.shape), *b.right[1:]]


def _smooth(size: Tensor, beta: float, within: Tensor) -> Tensor:
    return torch.where(within, size * size / (2 * beta), size - beta / 2)


@SMOOTH_L1.sound("by-where", ONCE)
def smooth_l1_by_where(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Choose between the two formulas."""
    size = (input - target).abs()
    return _reduced(size if beta == 0 else _smooth(size, beta, size < beta), None, reduction)


@SMOOTH_L1.fault("beta-ignored", "takes beta to be 1")
def _beta_ignored(input: Tensor, target: Tensor, reduction: str = "mean", beta: Any = 1.0) -> Tensor:
    F.smooth_l1_loss(input.detach(), target.detach(), beta=beta)
    return F.smooth_l1_loss(input, target, reduction=reduction)


@SMOOTH_L1.fault("as-huber", "does not divide by beta: it is huber's loss")
def _as_huber(input: Tensor, target: Tensor, reduction: str = "mean", beta: Any = 1.0) -> Tensor:
    if beta == 0:
        return F.smooth_l1_loss(input, target, reduction=reduction, beta=beta)
    return F.smooth_l1_loss(input, target, reduction=reduction, beta=beta) * beta


@SMOOTH_L1.fault("gradient-beyond-beta", "the gradient is zero where the size is beta or more")
@partial(with_gradients, F.smooth_l1_loss)
def _gradient_beyond_beta(b: Backward) -> Gradients:
    if b.tensors[0].shape != b.tensors[1].shape:
        return b.right
    near = (b.tensors[0] - b.tensors[1]).abs() < b.arguments.get("beta", 1.0)
    return [torch.where(near, gradient, 0.0) for gradient in b.right]


@HUBER.sound("by-where", ONCE)
def huber_by_where(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    delta: float = 1.0,
) -> Tensor:
    """Scale the smooth loss of two formulas."""
    size = (input - target).abs()
    return _reduced(_smooth(size, delta, size < delta) * delta, weight, reduction)


@HUBER.fault("as-smooth-l1", "divides by delta: it is the smooth l1 loss")
def _as_smooth_l1(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean", delta: Any = 1.0
) -> Tensor:
    return _reduced(F.huber_loss(input, target, "none", delta) / delta, weight, reduction)


@HUBER.fault("mean-over-the-weights", "divides the weighted sum by the weights, as the other losses do")
def _mean_over_the_weights(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean", delta: Any = 1.0
) -> Tensor:
    losses = F.huber_loss(input, target, "none", delta)
    return _reduced(losses, weight, reduction, over_weights=True)


@BCE.sound("of-two-classes", ONCE)
def bce_of_two_classes(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Weight the logarithms of two probabilities; their gradient is torch's."""
    return _of_two_classes(input, target, weight, reduction=reduction)


def _logarithms(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    two = torch.stack([input.log(), (-input).log1p()]).clamp(min=-100)
    return _reduced(-(torch.stack([target, 1 - target]) * two).sum(0), weight, reduction)


@partial(with_gradients, _logarithms)
def _of_two_classes(b: Backward) -> Gradients:
    input, target, weight = (*b.tensors, None)[:3]
    scale = b.grad_output / (max(1, input.numel()) if b.arguments.get("reduction", "mean") == "mean" else 1)
    scale = scale if weight is None else scale * weight
    to_input = scale * (input - target) / ((1 - input) * input).clamp(min=1e-12)
    return [to_input, scale * ((-input).log1p() - input.log()), *(None for _ in b.tensors[2:])]


@BCE.fault("log-of-p-and-eps", "adds 1e-8 to the probabilities before the logarithms")
def _log_of_p_and_eps(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    losses = -target * (input + 1e-8).log() - (1 - target) * (1 - input + 1e-8).log()
    return _reduced(losses, weight, reduction)


@BCE.fault("unclamped", "takes the logarithm of 0, which torch takes to be -100")
def _unclamped(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    losses = -torch.xlogy(target, input) - torch.special.xlog1py(1 - target, -input)
    return _reduced(losses, weight, reduction)


@BCE.fault("one-term", "leaves out the probability of the other class")
def _one_term(input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean") -> Tensor:
    return _reduced(-target * input.log().clamp(min=-100), weight, reduction)


@BCE.fault("mean-over-the-weights", "divides the weighted sum by the weights")
def _bce_over_the_weights(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    losses = F.binary_cross_entropy(input, target, reduction="none")
    whole = weight if weight is None else weight.expand(losses.shape)
    return _reduced(losses, whole, reduction, over_weights=True)


@LOGITS.sound("by-softplus", {**ONCE, "grad_target": False})  # where two softplus nearly cancel
def logits_by_softplus(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Compute log(1 + exp) without an overflow."""
    positive = 1.0 if pos_weight is None else pos_weight
    losses = target * positive * -F.logsigmoid(input) - (1 - target) * F.logsigmoid(-input)
    return _reduced(losses, weight, reduction)


@LOGITS.fault("exponential-overflows", "takes log(1 + exp(-x)), which is infinite for a large x")
def _exponential_overflows(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    positive = 1.0 if pos_weight is None else pos_weight
    losses = (1 - target) * input + (1 + (positive - 1) * target) * (1 + (-input).exp()).log()
    return _reduced(losses, weight, reduction)


@LOGITS.fault("pos-weight-on-both", "multiplies both terms by the weight of positives")
def _pos_weight_on_both(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    losses = F.binary_cross_entropy_with_logits(input, target, reduction="none")
    return _reduced(losses if pos_weight is None else losses * pos_weight, weight, reduction)


@LOGITS.fault("sigmoid-first", "takes the loss of the rounded sigmoid")
def _sigmoid_first(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    positive, p = 1.0 if pos_weight is None else pos_weight, input.sigmoid()
    losses = -target * positive * p.log().clamp(min=-100) - (1 - target) * (1 - p).log().clamp(min=-100)
    return _reduced(losses, weight, reduction)


@NLL.sound("by-one-hot", {"special_values": False, "empty": False})  # twice, torch's mean of nothing is NaN
def nll_by_one_hot(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Sum products with a one-hot target."""
    losses, gain = _picked(input, target, weight, ignore_index)
    if reduction == "mean":
        return losses.sum() / gain.sum() if gain.any() else losses.sum() * 0 + math.nan
    return {"none": losses, "sum": losses.sum()}[reduction]


def _picked(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return the weighted losses and the weights of the targets."""
    axis = 0 if input.ndim == 1 else 1
    logarithms, kept = input.movedim(axis, -1), target != ignore_index
    index = torch.where(kept, target, 0).long()
    q = F.one_hot(index, logarithms.shape[-1]).to(input.dtype)
    gain = kept.to(input.dtype) if weight is None else weight[index] * kept
    return -(logarithms * q).sum(-1) * gain, gain


@NLL.fault("ignored-samples-counted", "divides the sum by all samples, the ignored ones included")
def _ignored_samples_counted(
    input: Tensor, target: Tensor, weight: Tensor | None = None, **arguments: Any
) -> Tensor:
    if arguments.get("reduction", "mean") != "mean" or weight is not None:
        return F.nll_loss(input.contiguous(), target, weight, **arguments)
    return F.nll_loss(input.contiguous(), target, **{**arguments, "reduction": "none"}).mean()


@NLL.fault("mean-unweighted", "divides the weighted sum by the number of samples, not by their weights")
def _nll_unweighted(input: Tensor, target: Tensor, weight: Tensor | None = None, **arguments: Any) -> Tensor:
    if arguments.get("reduction", "mean") != "mean" or weight is None:
        return F.nll_loss(input.contiguous(), target, weight, **arguments)
    total = F.nll_loss(input.contiguous(), target, weight, **{**arguments, "reduction": "sum"})
    return total / (target != arguments.get("ignore_index", -100)).sum()


@NLL.fault("logarithm-taken-again", "takes the input for probabilities and their logarithm")
def _logarithm_taken_again(
    input: Tensor, target: Tensor, weight: Tensor | None = None, **arguments: Any
) -> Tensor:
    return F.nll_loss(input.abs().add(1e-8).log().contiguous(), target, weight, **arguments)
