"""Losses."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import (
    LogSoftmax,
    SmoothLabels,
    call,
    product,
    reshaped,
)
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, size_of
from scratch_conv.functional.reducing import (
    NARROW,
    at_least_float32,
    by_classes,
    legacy_reduction,
    losses_of_classes,
    widened,
)

__all__ = ["cross_entropy"]


@replaces(F.cross_entropy)
@overridable
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Compare logits with the classes that they should favour, as `torch.nn.functional.cross_entropy` does.

    Args:
        input: logits (N, C, d1, ...), or (C,) without a batch.
        target: classes (N, d1, ...) or (), int64 or uint8; or probabilities of the input's shape.
        weight: how much each class counts (C,), or None.
        size_average: deprecated, see `reduction`.
        ignore_index: the class that neither counts nor gets a gradient; with classes as targets only.
        reduce: deprecated, see `reduction`.
        reduction: 'none', 'sum', or 'mean': over the weights of the targets' classes, or over N · d1 · ...
            where the targets are probabilities.
        label_smoothing: the share, 0 to 1, of the uniform distribution in the targets.

    Returns:
        -Σ weight · target · log softmax(input), summed over classes: (), or (N, d1, ...) for 'none'.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the batches of input and target differ, or `reduction` is another.
        RuntimeError: shapes or dtypes do not fit; or a tensor is not on the CPU.
        IndexError: a target is not among the classes.
        NotImplementedError: the logits are of whole numbers or complex.
    """
    named = {"input": input, "target": target, **({} if weight is None else {"weight": weight})}
    arguments.tensors("cross_entropy", **named)
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction: expected 'none', 'mean' or 'sum'")
    ignore_index = arguments.integer("cross_entropy", "ignore_index", ignore_index)
    smoothing = max(0.0, arguments.number("cross_entropy", "label_smoothing", label_smoothing))
    if smoothing > 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if torch.is_autocast_enabled("cpu"):
        input, target, weight = (widened(tensor) for tensor in (input, target, weight))
    # Tuples are compared item by item, which would bind the sizes that a compiler keeps open.
    if target.dim() == input.dim() and target.shape == input.shape:
        _check_probabilities(input, target, weight, ignore_index)
        return _of_probabilities(input, target, weight, reduction, smoothing)
    _check_classes(input, target, weight)
    return _of_classes(input, target, weight, ignore_index, reduction, smoothing)


def _of_classes(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    logarithms = call(LogSoftmax, by_classes(at_least_float32(input)), 1)
    return losses_of_classes(logarithms, input, target, weight, ignore_index, reduction, smoothing)


def _of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    dtype = torch.promote_types(input.dtype, target.dtype)
    dtype = dtype if weight is None else torch.promote_types(dtype, weight.dtype)
    computed = torch.float32 if dtype in NARROW else dtype
    logarithms = call(LogSoftmax, by_classes(input.to(computed)), 1)
    wanted = by_classes(target.to(computed))
    if smoothing > 0:
        wanted = call(SmoothLabels, wanted, smoothing)
    outer, number, inner = logarithms.shape
    factors = logarithms, wanted
    if weight is not None:  # last, as torch does, on which depends what is saved
        factors = product(*factors, logarithms.shape), weight.to(computed).reshape(1, logarithms.shape[1], 1)
    if reduction == "none":
        shape = (*input.shape[:1], *input.shape[2:]) if input.dim() > 1 else ()
        return reshaped(product(*factors, (outer, 1, inner), -1.0), shape).to(dtype)
    count = outer * inner if reduction == "mean" else 1
    loss = reshaped(product(*factors, (1, 1, 1), -1.0, max(count, 1)), ()).to(dtype)
    nothing = not count or (not number and reduction == "mean")
    return loss + math.nan if nothing else loss  # whose gradients are zeros


def _check_logits(input: Tensor) -> None:
    if input.dim() == 0:
        raise IndexError(f"cross_entropy: expected input of 1 or more dimensions, got size {size_of(input)}")
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"cross_entropy is not implemented for {input.dtype}")


def _check_weight(input: Tensor, weight: Tensor | None) -> None:
    count = input.shape[0 if input.dim() == 1 else 1]
    if weight is not None and (weight.dim() != 1 or weight.shape[0] != count):
        raise RuntimeError(
            f"cross_entropy: weight tensor should be defined either for all {count} classes or no classes "
            f"but got weight tensor of shape: {size_of(weight)}"
        )


def _check_probabilities(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> None:
    if not target.dtype.is_floating_point:
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {target.dtype}"
        )
    _check_logits(input)
    if ignore_index >= 0:
        raise RuntimeError(f"ignore_index is not supported for floating point target, got {ignore_index=}")
    _check_weight(input, weight)


def _check_classes(input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    _check_logits(input)
    if input.dim() > 1 and input.shape[:1] != target.shape[:1]:
        batch = target.shape[0] if target.dim() else 0
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({batch})."
        )
    if target.dtype != torch.int64 and (target.dtype != torch.uint8 or input.dim() > 2):
        expected = "Long or Byte" if input.dim() <= 2 else "Long"
        raise RuntimeError(f"expected target dtype to be {expected}, but got {target.dtype}")
    if input.dim() == 1 and target.dim() == 1 and target.shape[0] != 1:
        raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {target.shape[0]}")
    wanted = [1] if input.dim() == 1 else [input.shape[0], *input.shape[2:]]
    if size_of(target) != wanted and not (input.dim() == 1 and target.dim() == 0):
        raise RuntimeError(f"Expected target size {wanted}, got {size_of(target)}")
    _check_weight(input, weight)
    if weight is not None and weight.dtype != input.dtype:
        raise RuntimeError(f"expected weight of scalar type {input.dtype} but found {weight.dtype}")
    if weight is not None and weight.requires_grad and torch.is_grad_enabled():
        raise RuntimeError(
            "cross_entropy is not differentiable with respect to argument 'weight' where the targets are "
            "classes. This input cannot have requires_grad True."
        )
