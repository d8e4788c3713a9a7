"""The negative log-likelihood of classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import refuse_backward_after_writes
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, size_of
from scratch_conv.functional.reducing import (
    at_least_float32,
    by_classes,
    losses_of_classes,
    reduction_of,
    widened,
)

__all__ = ["nll_loss"]


@replaces(F.nll_loss)
@overridable
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Take the logarithms of the probabilities of classes, as `torch.nn.functional.nll_loss` does.

    Args:
        input: logarithms of probabilities (N, C, d1, ...), or (C,) without a batch, of floating point.
        target: classes (N, d1, ...), or () or (1,) without a batch; int64, or uint8 where the input has
            no more than two dimensions.
        weight: how much each class counts (C,), of the input's dtype, or None. It gets no gradient.
        size_average: deprecated, see `reduction`.
        ignore_index: the class that neither counts nor gets a gradient.
        reduce: deprecated, see `reduction`.
        reduction: 'none', 'sum', or 'mean': over the weights of the targets' classes.

    Returns:
        -Σ weight[target] input[target]: (), or (N, d1, ...) for 'none'.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the batches of input and target differ, the input has no dimension, or `reduction` is
            another.
        RuntimeError: shapes or dtypes do not fit, the weight requires a gradient, or a tensor is not on the
            CPU.
        IndexError: a target is not among the classes.
        NotImplementedError: the input is of whole numbers or complex.
    """
    named = {"input": input, "target": target, **({} if weight is None else {"weight": weight})}
    arguments.tensors("nll_loss", **named)
    reduction = reduction_of(size_average, reduce, reduction)
    ignore_index = arguments.integer("nll_loss", "ignore_index", ignore_index)
    if torch.is_autocast_enabled("cpu"):
        input, weight = widened(input), widened(weight)
    _check_shapes(input, target)
    _check_weight(input, weight)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"nll_loss is not implemented for {input.dtype}")
    logarithms = by_classes(at_least_float32(input))
    loss = losses_of_classes(logarithms, input, target, weight, ignore_index, reduction, 0.0)
    refuse_backward_after_writes(loss, input)  # which torch keeps, for its shape
    return loss


def _check_shapes(input: Tensor, target: Tensor) -> None:
    if not input.dim():
        raise ValueError(f"nll_loss: Expected 1 or more dimensions (got {input.dim()})")
    if input.dim() > 1 and input.shape[:1] != target.shape[:1]:
        batch = target.shape[0] if target.dim() else 0
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({batch})."
        )
    if target.dtype != torch.int64 and (target.dtype != torch.uint8 or input.dim() > 2):
        expected = "Long or Byte" if input.dim() <= 2 else "Long"
        raise RuntimeError(f"nll_loss: expected target dtype to be {expected}, but got {target.dtype}")
    if input.dim() == 1 and target.dim() == 1 and target.shape[0] != 1:
        raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {target.shape[0]}")
    wanted = [1] if input.dim() == 1 else [input.shape[0], *input.shape[2:]]
    if size_of(target) != wanted and not (input.dim() == 1 and target.dim() == 0):
        raise RuntimeError(f"nll_loss: Expected target size {wanted}, got {size_of(target)}")


def _check_weight(input: Tensor, weight: Tensor | None) -> None:
    if weight is None:
        return
    count = input.shape[0 if input.dim() == 1 else 1]
    if weight.numel() != count or (weight.dim() != 1 and input.dim() <= 2):
        raise RuntimeError(
            f"nll_loss: weight tensor should be defined either for all {count} classes or no classes but got "
            f"weight tensor of shape: {size_of(weight)}"
        )
    if weight.dtype != input.dtype:
        raise RuntimeError(f"nll_loss: expected weight of scalar type {input.dtype} but found {weight.dtype}")
    if weight.requires_grad and torch.is_grad_enabled():
        raise RuntimeError(
            "The function 'nll_loss' is not differentiable with respect to argument 'weight'. This input "
            "cannot have requires_grad True."
        )
