"""Losses that compare input and target by elements."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import Difference, PairLoss, Ratio, call, product, reshaped
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, size_of, warn
from scratch_conv.functional.reducing import NARROW, legacy_reduction, reduction_of, widened

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "huber_loss",
    "l1_loss",
    "mse_loss",
    "smooth_l1_loss",
]


@replaces(F.mse_loss, real=True)
@overridable
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Square the differences, as `torch.nn.functional.mse_loss` does.

    Args:
        input: of any shape, real; at least one of the tensors is of floating point.
        target: of the input's shape, else both are broadcast, with torch's warning.
        size_average: deprecated, see `reduction`.
        reduce: deprecated, see `reduction`.
        reduction: 'none', 'sum', or 'mean': over the elements, or over the weights.
        weight: of the input's shape, or None for 1.

    Returns:
        Σ weight (input - target)², of the wider dtype: (), or of the shape of the differences for 'none'.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the weight has another size than the input, or `reduction` is another.
        RuntimeError: the shapes do not broadcast, or a tensor is not on the CPU.
        NotImplementedError: all are of whole numbers or bool, or one is complex.
    """
    pair = _pair("mse_loss", input, target, weight)
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    if weight is not None:
        return _weighted("mse_loss", "square", pair, input, weight, reduction)
    return _promoted("mse_loss", "square", (), pair, reduction)


@replaces(F.l1_loss, real=True)
@overridable
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Take the absolute differences, as `torch.nn.functional.l1_loss` does.

    Args and Raises are those of `mse_loss`; but whole numbers without a weight, unless for 'mean', are taken,
    and bool is not.

    Returns:
        Σ weight |input - target|, of the wider dtype: (), or of the shape of the differences for 'none'.
    """
    pair = _pair("l1_loss", input, target, weight)
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    if weight is not None:
        return _weighted("l1_loss", "absolute", pair, input, weight, reduction)
    return _absolute("l1_loss", pair, reduction)


@replaces(F.smooth_l1_loss)
@overridable
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Square small differences and take large ones, as `torch.nn.functional.smooth_l1_loss` does.

    Args:
        input: of any shape, real; at least one of the tensors is of floating point.
        target: of the input's shape, else both are broadcast, with torch's warning.
        size_average: deprecated, see `reduction`.
        reduce: deprecated, see `reduction`.
        reduction: 'none', 'sum' or 'mean'.
        beta: where the loss becomes a line; at 0 it is `l1_loss`.

    Returns:
        Σ d² / (2 beta) where |d| < beta, else |d| - beta / 2, for d = input - target, of the wider dtype: (),
        or of the shape of the differences for 'none'.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: `reduction` is another.
        RuntimeError: the shapes do not broadcast, beta is negative, or a tensor is not on the CPU.
        NotImplementedError: all are of whole numbers or bool, or one is complex.
    """
    pair = _pair("smooth_l1_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    beta = arguments.number("smooth_l1_loss", "beta", beta)
    if beta == 0:
        return _absolute("smooth_l1_loss", pair, reduction)
    if not beta > 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return _promoted("smooth_l1_loss", "smooth_absolute", (beta,), pair, reduction)


@replaces(F.huber_loss)
@overridable
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Square small differences and scale large ones, as `torch.nn.functional.huber_loss` does.

    Args:
        input: of any shape, of floating point.
        target: real, of the input's shape, else both are broadcast, with torch's warning.
        reduction: 'none', 'sum', or 'mean', over the elements, whatever their weights.
        delta: where the loss becomes a line, above 0.
        weight: of the input's shape, or None for 1.

    Returns:
        Σ weight · (d² / 2 where |d| < delta, else delta (|d| - delta / 2)), for d = input - target: (), or of
        the shape of the differences for 'none'; of the dtype of the input, or that of the weight if it is
        wider.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the weight has another size than the input, or `reduction` is another.
        RuntimeError: the shapes do not broadcast, delta is not positive, the input's dtype cannot hold the
            loss, or a tensor is not on the CPU.
        NotImplementedError: all are of whole numbers or bool, or the input is complex.
    """
    one, other = _pair("huber_loss", input, target, weight)
    if weight is not None and weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")
    reduction = reduction_of(None, None, reduction)
    delta = arguments.number("huber_loss", "delta", delta)
    if not delta > 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if torch.is_autocast_enabled("cpu"):
        one, other = widened(one), widened(other)
    dtype = one.dtype
    _check_result("huber_loss", one, other, dtype)
    if weight is not None:
        _check_real("huber_loss", weight)
        dtype = torch.promote_types(dtype, weight.dtype)
        losses = _computed("huber", (delta,), one, other, "none", _inside(dtype))  # rounded once, weighted
        return _weighted_after(losses, _with_axes(weight, losses.dim()), reduction, dtype)
    return _computed("huber", (delta,), one, other, reduction, dtype)


@replaces(F.binary_cross_entropy)
@overridable
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Compare probabilities with those wanted, as `torch.nn.functional.binary_cross_entropy` does.

    Args:
        input: probabilities from 0 to 1, of any shape, of floating point.
        target: probabilities of the same shape and dtype.
        weight: of a shape that broadcasts to the input's, or None for 1. It gets no gradient.
        size_average: deprecated, see `reduction`.
        reduce: deprecated, see `reduction`.
        reduction: 'none', 'sum', or 'mean', over the elements, whatever their weights.

    Returns:
        -Σ weight (target log input + (1 - target) log(1 - input)), where no logarithm is less than -100: (),
        or of the input's shape for 'none'.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the shapes of input and target differ, or `reduction` is another.
        RuntimeError: a probability lies outside of 0 to 1, the dtypes differ, the weight does not broadcast
            or requires a gradient, or a tensor is not on the CPU.
        NotImplementedError: the tensors are of whole numbers, bool or complex.
    """
    name = "binary_cross_entropy"
    _check_tensors(name, input, target, weight=weight)
    reduction = reduction_of(size_average, reduce, reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}) is "
            f"deprecated. Please ensure they have the same size."
        )
    _check_factor(name, "weight", weight, input)
    if torch.is_autocast_enabled("cpu"):
        input, target, weight = (widened(tensor) for tensor in (input, target, weight))
    if input.dtype != target.dtype:
        raise RuntimeError(f"{name}: Found dtype {target.dtype} but expected {input.dtype}")
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    return _computed("bce", (), input, target, reduction, input.dtype, weight)


@replaces(F.binary_cross_entropy_with_logits, real=True)
@overridable
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Compare logits with wanted probabilities, as `torch.nn.functional` does.

    Args:
        input: logits of any shape, of floating point.
        target: probabilities of the same shape, of floating point.
        weight: of a shape that broadcasts to the input's, or None for 1. It gets no gradient.
        size_average: deprecated, see `reduction`.
        reduce: deprecated, see `reduction`.
        reduction: 'none', 'sum', or 'mean', over the elements, whatever their weights.
        pos_weight: the weight of the first of the two terms, of a shape that broadcasts to the input's, or
            None for 1. It gets no gradient.

    Returns:
        -Σ weight (pos_weight target log σ(input) + (1 - target) log(1 - σ(input))), of the target's dtype:
        (), or of the input's shape for 'none'.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the shapes of input and target differ, or `reduction` is another.
        RuntimeError: the target is of whole numbers; a weight does not broadcast, or requires a gradient; or
            a tensor is not on the CPU.
        NotImplementedError: the input is of whole numbers, or a tensor is complex, or the target bool.
    """
    name = "binary_cross_entropy_with_logits"
    _check_tensors(name, input, target, weight=weight, pos_weight=pos_weight)
    reduction = reduction_of(size_average, reduce, reduction)
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})")
    if torch.is_autocast_enabled("cpu"):
        input, target, weight, pos_weight = map(widened, (input, target, weight, pos_weight))
    if not input.dtype.is_floating_point or target.dtype == torch.bool or target.dtype.is_complex:
        raise NotImplementedError(f"{name} is not implemented for {input.dtype} and {target.dtype}")
    if not target.dtype.is_floating_point:
        raise RuntimeError(
            f"{name}: result type {input.dtype} can't be cast to the desired output type {target.dtype}"
        )
    for which, factor in (("weight", weight), ("pos_weight", pos_weight)):
        _check_factor(name, which, factor, input)
    dtype = target.dtype
    if pos_weight is None:
        return _computed("logits", (), input, target, reduction, dtype, weight)
    computed = torch.promote_types(input.dtype, target.dtype)
    computed = _inside(computed)
    input, target = input.to(computed), target.to(computed)
    positive = _product(weight, pos_weight, computed)
    of_positives = _computed("positives", (), input, target, reduction, computed, positive)
    of_negatives = _computed("negatives", (), input, target, reduction, computed, weight)
    return (of_positives + of_negatives).to(dtype)


@replaces(torch.binary_cross_entropy_with_logits, real=True)
def _with_logits(
    input: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Any:
    word = ("none", "mean", "sum")[reduction]
    return binary_cross_entropy_with_logits(input, target, weight, reduction=word, pos_weight=pos_weight)


def _pair(
    function: str, input: Tensor, target: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return input and target with as many axes each, which broadcast; torch warns where sizes differ."""
    _check_tensors(function, input, target, weight=weight)
    if target.shape == input.shape:
        return input, target
    warn(
        f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). "
        f"This will likely lead to incorrect results due to broadcasting. "
        f"Please ensure they have the same size.",
        stacklevel=4,
    )
    _broadcast(input.shape, target.shape)
    axes = max(input.dim(), target.dim())
    return _with_axes(input, axes), _with_axes(target, axes)


def _broadcast(*shapes: torch.Size) -> torch.Size:
    return torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]


def _with_axes(tensor: Tensor, axes: int) -> Tensor:
    """View a tensor with axes of size 1 in front, so that there are as many."""
    return tensor if tensor.dim() == axes else tensor[(None,) * (axes - tensor.dim())]


def _check_tensors(function: str, input: Tensor, target: Tensor, **others: Tensor | None) -> None:
    present = {name: tensor for name, tensor in others.items() if tensor is not None}
    arguments.tensors(function, input=input, target=target, **present)


def _check_real(function: str, *tensors: Tensor) -> None:
    for tensor in tensors:
        if tensor.dtype.is_complex:
            raise NotImplementedError(f"{function} is not implemented for {tensor.dtype}")


def _check_result(function: str, input: Tensor, target: Tensor, dtype: torch.dtype) -> None:
    """Refuse what torch cannot compute the loss of, or cannot store in a dtype."""
    promoted = torch.promote_types(input.dtype, target.dtype)
    _check_real(function, input)
    kinds = [(each.is_complex, each.is_floating_point, each != torch.bool) for each in (promoted, dtype)]
    if kinds[0] > kinds[1]:  # as torch.can_cast says, which no compiler traces
        raise RuntimeError(f"{function}: result type {promoted} can't be cast to the output type {dtype}")
    if not promoted.is_floating_point:
        raise NotImplementedError(f"{function} is not implemented for {promoted}")


def _check_factor(function: str, name: str, factor: Tensor | None, input: Tensor) -> None:
    """Refuse a weight that does not broadcast to the input, or requires a gradient."""
    if factor is None:
        return
    if _broadcast(input.shape, factor.shape) != input.shape:
        raise RuntimeError(
            f"{function}: output with shape {size_of(input)} doesn't match the broadcast shape with "
            f"{name} of size {size_of(factor)}"
        )
    if factor.dtype.is_complex:
        raise RuntimeError(f"{function}: result type {factor.dtype} can't be cast to {input.dtype}")
    if factor.requires_grad and torch.is_grad_enabled():
        raise RuntimeError(
            f"The function '{function}' is not differentiable with respect to argument '{name}'. "
            f"This input cannot have requires_grad True."
        )


def _promoted(
    function: str, name: str, parameters: Sequence[float], pair: tuple[Tensor, Tensor], reduction: str
) -> Tensor:
    """Return a loss of the dtype to which those of input and target are promoted."""
    reduction = reduction_of(None, None, reduction)
    input, target = map(widened, pair) if torch.is_autocast_enabled("cpu") else pair
    _check_real(function, input, target)
    dtype = torch.promote_types(input.dtype, target.dtype)
    if not dtype.is_floating_point:
        raise NotImplementedError(f"{function} is not implemented for {dtype}")
    return _computed(name, parameters, input, target, reduction, dtype)


def _absolute(function: str, pair: tuple[Tensor, Tensor], reduction: str) -> Tensor:
    """Return the l1 loss, of differences that are kept for the backward pass, as torch keeps them."""
    reduction = reduction_of(None, None, reduction)
    input, target = map(widened, pair) if torch.is_autocast_enabled("cpu") else pair
    _check_real(function, input, target)
    if torch.bool in (input.dtype, target.dtype):
        raise NotImplementedError(f"{function}: a difference of bool is not implemented")
    dtype = torch.promote_types(input.dtype, target.dtype)
    differences = _kept_differences(input, target, dtype)
    if dtype.is_floating_point or reduction == "none":
        return _computed("absolute", (), *differences, reduction, dtype)
    if reduction == "mean":
        raise RuntimeError(f"{function}: the mean is of floating point, got {dtype}")
    losses = _computed("absolute", (), *differences, "none", dtype).to(torch.int64)
    return reshaped(product(losses, losses.new_ones((1,) * losses.dim()), (1,) * losses.dim()), ())


def _weighted(
    function: str, name: str, pair: tuple[Tensor, Tensor], given: Tensor, weight: Tensor, reduction: str
) -> Tensor:
    """Return a weighted loss, the mean of which is over the weights; torch computes it by other operators."""
    if weight.shape != given.shape:
        raise ValueError("Weights and input must have the same size.")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"Invalid reduction mode: {reduction}. Expected one of 'none', 'mean', 'sum'.")
    input, target = pair
    _check_real(function, input, target, weight)
    dtype = torch.promote_types(torch.promote_types(input.dtype, target.dtype), weight.dtype)
    if not dtype.is_floating_point or torch.bool in (input.dtype, target.dtype):
        raise NotImplementedError(f"{function} with a weight is not implemented for {dtype}")
    differences = _kept_differences(input, target, dtype, weight)
    computed = differences[0].dtype
    by = weight.to(computed)
    if reduction != "mean":
        return _computed(name, (), *differences, reduction, dtype, by)
    loss = _computed(name, (), *differences, "sum", computed, by)
    ones = by.new_ones((1,) * by.dim())
    weights = reshaped(product(by, ones, (1,) * by.dim()), ())
    ratio: Tensor = call(Ratio, loss, weights).to(dtype)
    return ratio


def _weighted_after(losses: Tensor, weight: Tensor, reduction: str, dtype: torch.dtype) -> Tensor:
    """Return losses times a weight, reduced: each is kept for the other's gradient alone, as torch does."""
    computed = _inside(dtype)
    factors = losses.to(computed), weight.to(computed)
    full = _broadcast(losses.shape, weight.shape)
    if reduction == "none":
        return product(*factors, full).to(dtype)
    count = math.prod(full) if reduction == "mean" else 1
    loss = reshaped(product(*factors, (1,) * len(full), 1.0, max(count, 1)), ()).to(dtype)
    return loss if count else loss + math.nan  # whose gradients are zeros


def _inside(dtype: torch.dtype) -> torch.dtype:
    """Return what is computed in for results of a dtype: float32 for half precision."""
    return torch.float32 if dtype in NARROW else dtype


def _kept_differences(
    input: Tensor, target: Tensor, dtype: torch.dtype, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return input and target, or their difference and 0, in float32 at least.

    Of the losses that torch composes it keeps the difference for the backward pass, in place of its operands.
    """
    dtype = _inside(dtype)
    input, target = input.to(dtype), target.to(dtype)
    trained = any(each is not None and each.requires_grad for each in (input, target, weight))
    if not (torch.is_grad_enabled() and trained):
        return input, target
    differences: Tensor = call(Difference, input, target)
    return differences, differences.new_zeros((1,) * differences.dim())


def _product(weight: Tensor | None, pos_weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the product of two weights that broadcast."""
    if weight is None:
        return pos_weight
    axes = max(weight.dim(), pos_weight.dim())
    one, other = (_with_axes(each.to(dtype), axes) for each in (weight, pos_weight))
    return product(one, other, _broadcast(one.shape, other.shape))


def _computed(
    name: str,
    parameters: Sequence[float],
    input: Tensor,
    target: Tensor,
    reduction: str,
    dtype: torch.dtype,
    weight: Tensor | None = None,
) -> Tensor:
    """Call one of the family of losses.

    Args:
        name: its name in the family.
        parameters: those of the family.
        input: a tensor.
        target: a tensor of as many axes, which broadcasts with it.
        reduction: 'none', 'sum' or 'mean', over the elements.
        dtype: that of the result; halves of precision are computed in float32.
        weight: what each loss is multiplied by, or None; it broadcasts with the losses.
    """
    computed = torch.promote_types(input.dtype, target.dtype)
    computed = _inside(computed)
    full = _broadcast(input.shape, target.shape)
    if len(full) > arguments.MOST_DIMENSIONS:
        flat = [each.expand(full).reshape(-1) for each in (input, target)]
        by = None if weight is None else weight.expand(full).reshape(-1)
        loss = _computed(name, parameters, flat[0], flat[1], reduction, dtype, by)
        return reshaped(loss, full) if reduction == "none" else loss
    axes, by = len(full), None
    if weight is not None:
        if not computed.is_floating_point or weight.dtype == torch.float64:
            computed = torch.promote_types(computed, dtype)
        by = _with_axes(weight.to(computed), axes)
    shape = full if reduction == "none" else (1,) * axes
    count = math.prod(full) if reduction == "mean" else 1
    pair = input.to(computed), target.to(computed)
    rest = name, [0, 0], list(parameters), list(shape), max(count, 1)
    loss = call(PairLoss, *pair, by, *rest)
    loss = (loss if reduction == "none" else reshaped(loss, ())).to(dtype)
    return loss if count else loss + math.nan  # whose gradients are zeros
