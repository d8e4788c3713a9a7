"""Dropout."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import AlphaDrop, Drop, call, in_torch_func, reshaped
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, warn

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]


@replaces(F.dropout)
@overridable
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero elements at random and scale up the others, as `torch.nn.functional.dropout` does.

    The mask is drawn from torch's generator by torch's own call: the same seed drops the same elements.

    Args:
        input: of any shape; float64, float32, float16 or bfloat16 in training, unless p is 0 or 1.
        p: the probability of an element to be zeroed, 0 to 1.
        training: whether to drop anything at all; in evaluation the input itself is returned.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        input · mask / (1 - p), of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: p is not a probability.
        RuntimeError: p is NaN; or the input is not on the CPU, or is of whole numbers, and some of them are
            dropped.
        NotImplementedError: it is complex, and neither all nor none of it is dropped.
    """
    return _dropped("dropout", input, p, training, inplace, by_channel=False)


@replaces(F.dropout2d)
@overridable
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels at random, as `torch.nn.functional.dropout2d` does.

    Args:
        input: (N, C, H, W); or (N, C, L), with torch's warning.
        p: the probability of a channel to be zeroed, 0 to 1.
        training: whether to drop anything at all; in evaluation the input itself is returned.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns and Raises are those of `dropout`.
    """
    arguments.types("dropout2d", input=input)
    if input.dim() == 3:
        warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior "
            "is desired - input is interpreted as shape (N, C, L), where C is the channel dim. To maintain "
            "the 1D channel-wise dropout behavior, please switch to using dropout1d instead.",
            stacklevel=3,
        )
    elif input.dim() != 4:
        warn(
            f"dropout2d: Received a {input.dim()}-D input to dropout2d, which is deprecated and will result "
            f"in an error in a future release. To retain the behavior and silence this warning, please use "
            f"dropout instead.",
            stacklevel=3,
        )
    return _dropped("dropout2d", input, p, training, inplace, by_channel=True)


@replaces(F.dropout1d)
@overridable
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels at random, as `torch.nn.functional.dropout1d` does.

    Args:
        input: (N, C, L), or (C, L) without a batch.
        p: the probability of a channel to be zeroed, 0 to 1.
        training: whether to drop anything at all; in evaluation the input itself is returned.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns and Raises are those of `dropout`; RuntimeError also for other numbers of dimensions.
    """
    arguments.types("dropout1d", input=input)
    _probability("dropout1d", p)
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input. Note that dropout1d "
            f"exists to provide channel-wise dropout on inputs with 1 spatial dimension, a channel "
            f"dimension, and an optional batch dimension (i.e. 2D or 3D inputs)."
        )
    return _channels_dropped("dropout1d", input, p, training, inplace, batched=input.dim() == 3)


@replaces(F.dropout3d)
@overridable
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels at random, as `torch.nn.functional.dropout3d` does.

    Args:
        input: (N, C, D, H, W), or (C, D, H, W) without a batch; (C, *) with torch's warning.
        p: the probability of a channel to be zeroed, 0 to 1.
        training: whether to drop anything at all; in evaluation the input itself is returned.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns and Raises are those of `dropout`.
    """
    arguments.types("dropout3d", input=input)
    _probability("dropout3d", p)
    if input.dim() not in (4, 5):
        warn(
            f"dropout3d: Received a {input.dim()}-D input to dropout3d, which is deprecated and will result "
            f"in an error in a future release. To retain the behavior and silence this warning, please use "
            f"dropout instead. Note that dropout3d exists to provide channel-wise dropout on inputs with 3 "
            f"spatial dimensions, a channel dimension, and an optional batch dimension (i.e. 4D or 5D "
            f"inputs).",
            stacklevel=3,
        )
    return _channels_dropped("dropout3d", input, p, training, inplace, batched=input.dim() == 5)


def _channels_dropped(
    name: str, input: Tensor, p: Any, training: Any, inplace: Any, *, batched: bool
) -> Tensor:
    """Drop channels, of an input without a batch too, which is then a batch of one."""
    if batched:
        return _dropped(name, input, p, training, inplace, by_channel=True)
    output = _dropped(name, input.unsqueeze(0), p, training, inplace, by_channel=True)
    return input if inplace else output.squeeze(0)


@replaces(torch.dropout)
def _dropout(input: Any, p: Any, train: Any) -> Any:
    return dropout(input, p, train)


@replaces(torch.dropout_)
def _dropout_(input: Any, p: Any, train: Any) -> Any:
    return dropout(input, p, train, inplace=True)


@replaces(F.alpha_dropout)
@overridable
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Set elements at random to what selu saturates at, as `torch.nn.functional.alpha_dropout` does.

    What is kept and what is dropped is scaled and moved, so that mean and variance stay those of selu's
    results, 0 and 1 (Klambauer et al., "Self-normalizing neural networks", 2017).

    Args:
        input: of any shape; float64, float32, float16 or bfloat16 in training, unless p is 0 or 1.
        p: the probability of an element to be dropped, 0 to 1.
        training: whether to drop anything at all; in evaluation the input itself is returned.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns and Raises are those of `dropout`; for p = 1 zeros.
    """
    return _dropped("alpha_dropout", input, p, training, inplace, by_channel=False, alpha=True)


@replaces(F.feature_alpha_dropout)
@overridable
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Set whole channels at random, as `torch.nn.functional.feature_alpha_dropout` does.

    Args:
        input: (N, C, *).
        p: the probability of a channel to be dropped, 0 to 1.
        training: whether to drop anything at all; in evaluation the input itself is returned.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns and Raises are those of `alpha_dropout`; RuntimeError also for fewer than two dimensions.
    """
    return _dropped("feature_alpha_dropout", input, p, training, inplace, by_channel=True, alpha=True)


@replaces(torch.alpha_dropout)
def _alpha_dropout(input: Any, p: Any, train: Any) -> Any:
    return alpha_dropout(input, p, train)


@replaces(torch.alpha_dropout_)
def _alpha_dropout_(input: Any, p: Any, train: Any) -> Any:
    return alpha_dropout(input, p, train, inplace=True)


@replaces(torch.feature_alpha_dropout)
def _feature_alpha_dropout(input: Any, p: Any, train: Any) -> Any:
    return feature_alpha_dropout(input, p, train)


@replaces(torch.feature_alpha_dropout_)
def _feature_alpha_dropout_(input: Any, p: Any, train: Any) -> Any:
    return feature_alpha_dropout(input, p, train, inplace=True)


def _dropped(
    name: str, input: Tensor, p: Any, training: Any, inplace: bool, *, by_channel: bool, alpha: bool = False
) -> Tensor:
    arguments.types(name, input=input)
    probability = _probability(name, p)
    inplace = bool(inplace)  # which some tensors and arrays refuse
    if not arguments.boolean(name, "training", training) or probability == 0 or input.numel() == 0:
        return input
    arguments.tensors(name, input=input)
    if by_channel and probability < 1 and input.dim() < 2:
        raise RuntimeError(f"{name}: expected at least 2 dimensions in the input, but got {input.dim()}")
    if input.dtype.is_complex and probability < 1:
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    if not (input.dtype.is_floating_point or input.dtype.is_complex or probability == 1):
        raise RuntimeError(f"{name}: result type Float can't be cast to the input's type {input.dtype}")
    if probability == 1:  # nothing is drawn, and nothing is kept
        output = _product(input, torch.zeros_like(input), 0.0)
    else:
        product = _alpha_product if alpha else _product
        output = product(input, _mask(input, 1 - probability, by_channel), probability)
    return input.copy_(output) if inplace else output


def _probability(name: str, p: Any) -> float:
    probability = math.inf if isinstance(p, int) and not 0 <= p <= 1 else arguments.number(name, "p", p)
    if not 0 <= probability <= 1:  # torch looks for NaN later than for other numbers, by another check
        error = RuntimeError if math.isnan(probability) else ValueError
        raise error(f"dropout probability has to be between 0 and 1, but got {p}")
    return probability


def _product(input: Tensor, mask: Tensor, probability: float) -> Tensor:
    if input.dim() > arguments.MOST_DIMENSIONS:
        rows = (*input.shape[:2], -1)
        return reshaped(call(Drop, input.reshape(rows), mask.reshape(rows), probability), input.shape)
    output: Tensor = call(Drop, input, mask, probability)
    return output


def _alpha_product(input: Tensor, mask: Tensor, probability: float) -> Tensor:
    if input.dim() > arguments.MOST_DIMENSIONS:
        rows = (*input.shape[:2], -1)
        return reshaped(_alpha_product(input.reshape(rows), mask.reshape(rows), probability), input.shape)
    output: Tensor = call(AlphaDrop, input, mask, probability, True)
    return output


def _mask(input: Tensor, kept: float, by_channel: bool) -> Tensor:
    """Draw ones with the probability `kept`, and zeros: for every element or every channel.

    In torch's order, which is that of the memory; but under the transforms of `torch.func` of the indices.
    """
    shape = (*input.shape[:2], *[1] * (input.dim() - 2)) if by_channel else input.shape
    if in_torch_func():  # with an unbatched tensor, for vmap to make one mask of, or one for each
        return torch.bernoulli(torch.empty(shape, dtype=input.dtype, device=input.device), kept)
    return (input.new_empty(shape) if by_channel else torch.empty_like(input)).bernoulli_(kept)
