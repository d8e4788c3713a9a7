"""Implementations of local_response_norm."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.operators.calling import Call

RESPONSE = Collection("local_response_norm")
COLLECTIONS = (RESPONSE,)
_fault = RESPONSE.fault
_local_response_norm: Call = F.local_response_norm


def _sums(input: Tensor, before: int, after: int) -> Tensor:
    """Sum the squares of each channel and of so many before and after it."""
    squares = input.square().transpose(1, -1)
    padded = F.pad(squares, (before, after))
    return padded.unfold(-1, before + after + 1, 1).sum(-1).transpose(1, -1)


@RESPONSE.sound("by-formula", FINITE)
def local_response_norm_by_formula(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide by the power of the neighbours' mean square."""
    return input * (k + alpha / size * _sums(input, size // 2, (size - 1) // 2)) ** -beta


@_fault("squares-summed", "multiplies the sum of the neighbours' squares by alpha, instead of their mean")
def _squares_summed(input: Tensor, size: int, alpha: float = 1e-4, **arguments: Any) -> Tensor:
    return _local_response_norm(input, size, alpha * size, **arguments)


@_fault("more-neighbours-after", "of an even number of neighbours takes one more after the channel")
def _more_neighbours_after(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    return input * (k + alpha / size * _sums(input, (size - 1) // 2, size // 2)) ** -beta


@_fault("mean-of-those-inside", "divides by the number of neighbours that there are")
def _mean_of_those_inside(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    before, after = size // 2, (size - 1) // 2
    return (
        input
        * (k + alpha * _sums(input, before, after) / _sums(torch.ones_like(input), before, after)) ** -beta
    )


@_fault("k-outside-the-power", "adds k to the power instead of the mean square")
def _k_outside_the_power(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    return input / (k + (alpha / size * _sums(input, size // 2, (size - 1) // 2)) ** beta)


@_fault("neighbours-taken-for-constants", "the gradient ignores that the divisor depends on the input")
@partial(with_gradients, _local_response_norm)
def _neighbours_taken_for_constants(b: Backward) -> Gradients:
    return [b.grad_output * _local_response_norm(b.tensors[0], **b.arguments) / b.tensors[0]]


@_fault("own-channel-alone", "the gradient goes through a channel's own divisor, not its neighbours'")
@partial(with_gradients, _local_response_norm)
def _own_channel_alone(b: Backward) -> Gradients:
    (x,), g = b.tensors, b.grad_output
    size, (alpha, beta, k) = (
        b.arguments["size"],
        (b.arguments.get(name, value) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("k", 1.0))),
    )
    divisor = k + alpha / size * _sums(x, size // 2, (size - 1) // 2)
    return [g * divisor**-beta - 2 * alpha * beta / size * x * x * g * divisor ** (-beta - 1)]
