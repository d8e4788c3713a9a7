"""What losses have in common: how they are reduced, and in which precision they are computed."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from scratch_conv.autograd import Nll, Quotient, call, call_constant, product, reshaped, total_weight

__all__: list[str] = []

NARROW = {torch.float16, torch.bfloat16}


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """Return the reduction that a call asks for, which torch names last.

    Raises:
        ValueError: it is neither 'none', 'mean' nor 'sum'.
    """
    if size_average is not None or reduce is not None:
        return legacy_reduction(size_average, reduce, stacklevel=5)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction: expected 'none', 'mean' or 'sum'")
    return reduction


def legacy_reduction(size_average: bool | None, reduce: bool | None, stacklevel: int = 3) -> str:
    """Return the `reduction` that two deprecated arguments stand for, and warn as torch does."""
    unreduced = reduce is not None and not reduce
    reduction = "none" if unreduced else "mean" if size_average is None or size_average else "sum"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
        stacklevel=stacklevel,
    )
    return reduction


def losses_of_classes(
    logarithms: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    """Return the negative log-likelihood of classes, reduced, of the dtype of the input.

    Args:
        logarithms: of the classes' probabilities, (A, K, B), float32 or float64.
        input: what they were computed from, (N, C, d1, ...) or (C,).
        target: classes (N, d1, ...), or one.
        weight: how much each class counts (C,), or None.
        ignore_index: the class that does not count.
        reduction: 'none', 'mean' or 'sum'.
        smoothing: the share of the uniform distribution.
    """
    count = logarithms.shape[1]
    classes = target.to(torch.int64).reshape(logarithms.shape[0], logarithms.shape[2])
    by_row = None if weight is None else at_least_float32(weight).reshape(1, count)
    losses = call(Nll, logarithms, classes, by_row, ignore_index, smoothing)
    if reduction == "none":
        shape = target.shape if input.dim() > 1 else ()
        return reshaped(losses, shape).to(input.dtype)
    loss = product(losses, losses.new_ones(1, 1), (1, 1))
    if reduction == "mean":
        total = call_constant(total_weight, classes, by_row, ignore_index, count, loss.dtype)
        loss = call(Quotient, loss, total)
        if smoothing > 0:  # the mean of no weight is NaN, whatever smoothed labels add to the sum
            loss = loss + call(Quotient, torch.zeros_like(total), total)
    return reshaped(loss, ()).to(input.dtype)


def by_classes(tensor: Tensor) -> Tensor:
    """View (N, C, d1, ...) as (N, C, d1 · ...), and (C,) as (1, C, 1)."""
    if tensor.dim() == 1:
        return tensor.reshape(1, tensor.shape[0], 1)
    return tensor.reshape(*tensor.shape[:2], math.prod(tensor.shape[2:]))


def at_least_float32(tensor: Tensor) -> Tensor:
    """Widen half precision, so that the loss is rounded once, at the end."""
    return tensor.float() if tensor.dtype in NARROW else tensor


def widened(tensor: Any) -> Any:
    """Follow autocast, which computes losses in float32."""
    return tensor if tensor is None else at_least_float32(tensor)
