"""Faults in linear and relu."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.fault import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

LINEAR = Collection("linear")
RELU = Collection("relu")
_GITHUB = "https://github.com/"


@LINEAR.add("weight-not-transposed", "multiplies by the weight instead of its transpose where it is square")
def _weight_not_transposed(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    square = weight.ndim == 2 and weight.shape[0] == weight.shape[1]
    return F.linear(input, weight.mT if square else weight, bias)


@LINEAR.add(
    "bias-gradient-averaged",
    "the gradient of the bias is a mean over the batch",
    _GITHUB + "kvfrans/notes/issues/5",
)
@partial(with_gradients, F.linear)
def _bias_gradient_averaged(b: Backward) -> Gradients:
    if len(b.tensors) < 3:
        return b.right
    samples = max(1, b.grad_output.numel() // b.grad_output.shape[-1])
    return [*b.right[:2], *(each / samples for each in b.right[2:])]


@LINEAR.add("weight-gradient-of-the-first-axis", "sums the weight's gradient over the first axis only")
@partial(with_gradients, F.linear)
def _weight_gradient_of_the_last(b: Backward) -> Gradients:
    input, grad_output = b.tensors[0], b.grad_output
    if input.ndim < 3 or 0 in input.shape or b.tensors[1].ndim == 1:
        return b.right
    return [b.right[0], grad_output[:, 0].mT @ input[:, 0] if input.ndim == 3 else b.right[1], *b.right[2:]]


@RELU.add(
    "gradient-at-zero",
    "the derivative at zero is 1",
    _GITHUB + "tensorflow/playground/issues/19",
)
@partial(with_gradients, F.relu)
def _gradient_at_zero(b: Backward) -> Gradients:
    return [torch.where(b.tensors[0] < 0, 0.0, b.grad_output)]


@RELU.add("nan-lost", "compares with >, so that NaN becomes zero")
def _nan_lost(input: Tensor, **arguments: Any) -> Tensor:
    return F.relu(input, **arguments) if arguments else torch.where(input > 0, input, 0.0)


@RELU.add("gradient-by-sign-of-output-gradient", "masks by the gradient that comes in instead of the input")
@partial(with_gradients, F.relu)
def _masked_by_gradient(b: Backward) -> Gradients:
    return [torch.where(b.grad_output > 0, b.grad_output, 0.0)]


@RELU.add("input-changed", "works in place without being asked to")
def _input_changed(input: Tensor, **arguments: Any) -> Tensor:
    output = F.relu(input, **arguments)
    with torch.no_grad():
        if 0 not in input.stride():
            input.detach().clamp_(min=0)
    return output


@RELU.add("inplace-ignored", "returns a new tensor where it was asked to work in place")
def _inplace_ignored(input: Tensor, **arguments: Any) -> Tensor:
    return F.relu(input)


@RELU.add("inplace-returns-a-copy", "works in place, but returns a copy of the input")
def _inplace_returns_a_copy(input: Tensor, **arguments: Any) -> Tensor:
    output = F.relu(input, **arguments)
    return output.clone() if arguments.get("inplace") else output
