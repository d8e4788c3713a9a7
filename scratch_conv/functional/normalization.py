"""Normalization."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import (
    BatchNorm,
    BatchNormInference,
    call,
    call_constant,
    may_preserve_version,
    preserved_version,
    update_running,
)
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, size_of

__all__ = ["batch_norm"]


@replaces(F.batch_norm)
@overridable
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel over the batch, as `torch.nn.functional.batch_norm` does.

    Args:
        input: (N, C, *), where * is any number of dimensions; or (0,).
        running_mean: (C,); in training it is moved towards the batch's mean; or None.
        running_var: (C,); in training it is moved towards the batch's unbiased variance; or None.
        weight: (C,), or None for 1.
        bias: (C,), or None for 0.
        training: whether to normalize by the batch's statistics rather than by the running ones.
        momentum: the batch's share in the new running statistics.
        eps: what is added to the variance.

    All of them have the input's dtype; beside float16 or bfloat16, all but the input may have float32.

    Returns:
        (input - mean) / √(variance + eps) · weight + bias, of the input's shape.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: there is one value a channel in training; eps is negative, or 0 in training; or one of
            the running statistics is missing.
        RuntimeError: shapes or dtypes do not fit; the running statistics are missing in evaluation, or
            require a gradient; or a tensor is not on the CPU.
        IndexError: the input has no channels.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    present = {name: tensor for name, tensor in given.items() if tensor is not None}
    arguments.tensors("batch_norm", input=input, **present)
    if not isinstance(eps, int):  # those too large for a float may be negative
        eps = arguments.number("batch_norm", "eps", eps)
    nothing = input.dim() == 1 and not input.numel()
    if not nothing:
        _check_batch_norm_numbers(input, training, eps)
    training = arguments.boolean("batch_norm", "training", training)
    momentum = arguments.number("batch_norm", "momentum", momentum)
    eps = arguments.number("batch_norm", "eps", eps)
    if nothing:
        return _scale_nothing(input, weight, bias)
    check_statistics(running_mean, running_var, training)
    _check_batch_norm(input, present, training)
    weight, bias = (None if each is None else each.reshape(input.shape[1]) for each in (weight, bias))
    if training:
        # Saved, as torch saves them, where autograd does not take their update for a write.
        saves = may_preserve_version() and bool(input.numel())
        saved = (running_mean, running_var) if saves else (None, None)
        output, mean, variance = call(BatchNorm, input, weight, bias, *saved, eps)
        if running_mean is not None and running_var is not None and input.numel():
            _learn(running_mean, mean, momentum, 0)
            _learn(running_var, variance, momentum, input.numel() // input.shape[1])
    else:
        statistics = [running_mean, running_var]
        if not input.numel():  # torch saves no statistics then, which may be of inference mode
            statistics = [each if each is None else each.clone() for each in statistics]
        output = call(BatchNormInference, input, weight, bias, *statistics, eps)
    return output


def _scale_nothing(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return an empty tensor that depends on the operands; torch does not ask it for channels."""
    output = input.clone()
    output = output if weight is None else output * weight[0]
    return output if bias is None else output + bias[0]


@replaces(torch.batch_norm)
def _batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, *rest: Any, **named: Any
) -> Any:
    """Take the arguments of `torch.batch_norm`, which end with whether to use cuDNN."""
    named.pop("cudnn_enabled", None)
    return batch_norm(input, running_mean, running_var, weight, bias, *rest[:3], **named)


def _learn(running: Tensor, batch: Tensor, momentum: float, count: int) -> None:
    """Update a running statistic; autograd takes it for unchanged, as in torch's own batch norm."""
    if torch.compiler.is_compiling():
        update_running(running, batch, momentum, count)
        return
    updated = running.resolve_neg()
    with preserved_version(running):
        call_constant(update_running, updated, batch, momentum, count)
        if running.is_neg():
            running.copy_(updated)


def _check_batch_norm_numbers(input: Tensor, training: bool, eps: float) -> None:
    if training and input.dim() and input.shape[0] * math.prod(input.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {size_of(input)}"
        )
    if training and eps <= 0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    if eps < 0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")


def check_statistics(running_mean: Tensor | None, running_var: Tensor | None, training: bool) -> None:
    """Refuse running statistics of which one is missing, or both where they are used; and trained ones."""
    if not training:
        for name, tensor in (("running_mean", running_mean), ("running_var", running_var)):
            if tensor is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None")
    for name, tensor in (("running_mean", running_mean), ("running_var", running_var)):
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise RuntimeError(f"batch_norm is not differentiable with respect to argument '{name}'")


def _check_batch_norm(input: Tensor, present: dict[str, Tensor], training: bool) -> None:
    if input.dim() < 2:
        expected = "batch_norm: expected input of at least 2 dimensions (N, C)"
        unindexed = not present or (training and input.dim() == 0)
        raise (IndexError if unindexed else RuntimeError)(f"{expected}, but got size {size_of(input)}")
    for name, tensor in present.items():
        one_dimensional = tensor.dim() == 1 or name in ("weight", "bias")
        if tensor.numel() != input.shape[1] or not one_dimensional:
            raise RuntimeError(
                f"{name} should contain {input.shape[1]} elements in one dimension, "
                f"but got size {size_of(tensor)}"
            )
    check_floating("batch_norm", input)
    check_dtypes("batch_norm", input, present)


def check_floating(function: str, input: Tensor) -> None:
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"{function} is not implemented for {input.dtype}")


def check_dtypes(function: str, input: Tensor, present: dict[str, Tensor]) -> None:
    """Refuse parameters and statistics, those that are present by name, of a dtype that does not fit."""
    dtypes = {tensor.dtype for tensor in present.values()}
    narrow = input.dtype in (torch.float16, torch.bfloat16)
    if dtypes - {input.dtype} and not (narrow and dtypes == {torch.float32}):
        raise RuntimeError(
            f"{function}: expected all tensors to have the input's dtype {input.dtype}"
            f"{', or all but the input torch.float32' if narrow else ''}, "
            f"but got {', '.join(f'{name} of {tensor.dtype}' for name, tensor in present.items())}"
        )
