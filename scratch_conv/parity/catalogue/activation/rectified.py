"""Implementations of relu."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

RELU = Collection("relu")
COLLECTIONS = (RELU,)


@RELU.sound("by-where")
def relu_by_where(input: Tensor, inplace: bool = False) -> Tensor:
    """Keep what is not negative, NaN included."""
    if inplace:
        return input.copy_(torch.where(input <= 0, torch.zeros_like(input), input))
    return torch.where(input <= 0, torch.zeros_like(input), input)


@RELU.fault("gradient-at-zero", "the derivative at zero is 1", "tensorflow/playground/issues/19")
@partial(with_gradients, F.relu)
def _gradient_at_zero(b: Backward) -> Gradients:
    return [torch.where(b.tensors[0] < 0, 0.0, b.grad_output)]


@RELU.fault("nan-lost", "compares with >, so that NaN becomes zero")
def _nan_lost(input: Tensor, **arguments: Any) -> Tensor:
    return F.relu(input, **arguments) if arguments else torch.where(input > 0, input, 0.0)


@RELU.fault("gradient-by-sign-of-output-gradient", "masks by the incoming gradient instead of the input")
@partial(with_gradients, F.relu)
def _masked_by_gradient(b: Backward) -> Gradients:
    return [torch.where(b.grad_output > 0, b.grad_output, 0.0)]


@RELU.fault("input-changed", "works in place without being asked to")
def _input_changed(input: Tensor, **arguments: Any) -> Tensor:
    output = F.relu(input, **arguments)
    with torch.no_grad():
        if 0 not in input.stride():
            input.detach().clamp_(min=0)
    return output


@RELU.fault("inplace-ignored", "returns a new tensor where it was asked to work in place")
def _inplace_ignored(input: Tensor, **arguments: Any) -> Tensor:
    return F.relu(input)


@RELU.fault("inplace-returns-a-copy", "works in place, but returns a copy of the input")
def _inplace_returns_a_copy(input: Tensor, **arguments: Any) -> Tensor:
    output = F.relu(input, **arguments)
    return output.clone() if arguments.get("inplace") else output
