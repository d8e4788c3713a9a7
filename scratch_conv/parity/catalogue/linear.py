"""Implementations of linear."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

LINEAR = Collection("linear")
COLLECTIONS = (LINEAR,)


@LINEAR.sound("by-sums")
def linear_by_sums(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply and sum, the bias first."""
    if weight.ndim == 1:
        return (input * weight).flip(-1).sum(-1)
    output = (input.unsqueeze(-2) * weight).flip(-1).sum(-1)
    return output if bias is None else bias + output


@LINEAR.fault("weight-not-transposed", "multiplies by the weight instead of its transpose where it is square")
def _weight_not_transposed(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    square = weight.ndim == 2 and weight.shape[0] == weight.shape[1]
    return F.linear(input, weight.mT if square else weight, bias)


@LINEAR.fault(
    "bias-gradient-averaged", "the gradient of the bias is a mean over the batch", "kvfrans/notes/issues/5"
)
@partial(with_gradients, F.linear)
def _bias_gradient_averaged(b: Backward) -> Gradients:
    if len(b.tensors) < 3:
        return b.right
    samples = max(1, b.grad_output.numel() // b.grad_output.shape[-1])
    return [*b.right[:2], *(each / samples for each in b.right[2:])]


@LINEAR.fault("weight-gradient-of-the-first-axis", "sums the weight's gradient over the first axis only")
@partial(with_gradients, F.linear)
def _weight_gradient_of_the_last(b: Backward) -> Gradients:
    input, grad_output = b.tensors[0], b.grad_output
    if input.ndim < 3 or 0 in input.shape or b.tensors[1].ndim == 1:
        return b.right
    return [b.right[0], grad_output[:, 0].mT @ input[:, 0] if input.ndim == 3 else b.right[1], *b.right[2:]]
