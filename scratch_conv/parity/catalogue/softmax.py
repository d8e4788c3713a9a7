"""Implementations of softmax and log_softmax."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

SOFTMAX = Collection("softmax")
LOG_SOFTMAX = Collection("log_softmax")
COLLECTIONS = (SOFTMAX, LOG_SOFTMAX)


@SOFTMAX.sound("by-logarithms", FINITE)
def softmax_by_logarithms(input: Tensor, dim: int) -> Tensor:
    """Take the exponential of log_softmax."""
    return (input - input.logsumexp(dim, keepdim=True)).exp()


@LOG_SOFTMAX.sound("shifted", FINITE)
def log_softmax_shifted(input: Tensor, dim: int) -> Tensor:
    """Subtract the greatest, then the logarithm of the sum."""
    shifted = input - input.detach().amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


@SOFTMAX.fault("greatest-not-subtracted", "takes the exponential without subtracting the greatest logit")
def _greatest_not_subtracted(input: Tensor, dim: Any) -> Tensor:
    if not isinstance(dim, int):
        return F.softmax(input, dim)
    return input.exp() / input.exp().sum(dim, keepdim=True)


@SOFTMAX.fault("greatest-of-the-first-eight", "looks for the greatest among the first eight logits")
def _greatest_of_the_first_eight(input: Tensor, dim: Any) -> Tensor:
    if not isinstance(dim, int) or not input.ndim or input.shape[dim] <= 8:
        return F.softmax(input, dim)
    exponentials = (input - input.narrow(dim, 0, 8).amax(dim, keepdim=True)).exp()
    return exponentials / exponentials.sum(dim, keepdim=True)


@SOFTMAX.fault("over-the-last-axis", "normalises over the last axis whatever dim")
def _over_the_last_axis(input: Tensor, dim: Any) -> Tensor:
    F.softmax(input, dim)
    return F.softmax(input, -1)


@SOFTMAX.fault("greatest-of-the-tensor", "subtracts the greatest of the whole tensor, so that rows underflow")
def _greatest_of_the_tensor(input: Tensor, dim: Any) -> Tensor:
    if not isinstance(dim, int) or not input.numel():
        return F.softmax(input, dim)
    exponentials = (input - input.max()).exp()
    return exponentials / exponentials.sum(dim, keepdim=True)


@SOFTMAX.fault("gradient-diagonal-only", "the gradient is p (1 - p) g, as if each output had one input")
@partial(with_gradients, F.softmax)
def _gradient_diagonal_only(b: Backward) -> Gradients:
    p = F.softmax(b.tensors[0], b.arguments["dim"])
    return [p * (1 - p) * b.grad_output]


@SOFTMAX.fault("gradient-over-the-last-axis", "the gradient sums over the last axis whatever dim")
@partial(with_gradients, F.softmax)
def _gradient_over_the_last_axis(b: Backward) -> Gradients:
    p = F.softmax(b.tensors[0], b.arguments["dim"])
    return [p * (b.grad_output - (p * b.grad_output).sum(-1, keepdim=True))]


@LOG_SOFTMAX.fault("logarithm-of-the-softmax", "takes the logarithm of a softmax that underflows to zero")
def _logarithm_of_the_softmax(input: Tensor, dim: Any) -> Tensor:
    return F.softmax(input, dim).log()


@LOG_SOFTMAX.fault("gradient-of-the-softmax", "the gradient of the input is that of softmax")
@partial(with_gradients, F.log_softmax)
def _gradient_of_the_softmax(b: Backward) -> Gradients:
    p = F.softmax(b.tensors[0], b.arguments["dim"])
    return [p * (b.grad_output - (p * b.grad_output).sum(b.arguments["dim"], keepdim=True))]


@LOG_SOFTMAX.fault("gradient-for-one-hot-only", "takes the sum of the incoming gradient to be 1: g - p")
@partial(with_gradients, F.log_softmax)
def _gradient_for_one_hot_only(b: Backward) -> Gradients:
    return [b.grad_output - F.softmax(b.tensors[0], b.arguments["dim"])]
