"""Adaptive max pooling."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import (
    AdaptiveMaxPool,
    builtins_of,
    call,
    call_constant,
    is_channels_last,
    picked_indices,
    refuse_backward_after_writes,
    reshaped,
)
from scratch_conv.functional import arguments
from scratch_conv.functional import pooling_arguments as check
from scratch_conv.functional.calling import autocast_to_float32, overridable, replaces

__all__ = ["adaptive_max_pool2d", "adaptive_max_pool3d"]


@replaces(F.adaptive_max_pool2d)
@overridable
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Take the maximum in each bin, as `torch.nn.functional.adaptive_max_pool2d` does.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch; floating point.
        output_size: OH and OW; one int or two, of which None stands for the input's own.
        return_indices: whether to return the indices of the maxima too.

    Returns:
        (N, C, OH, OW) or (C, OH, OW); with `return_indices` a pair of it and the int64 indices, row · W +
        column, of the maxima. Output row p is over the rows from floor(p H / OH) up to ceil((p + 1) H / OH),
        columns likewise. Of equal maxima the first in reading order wins; NaN wins over all.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the input has no more dimensions than the output_size has numbers.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is not floating point.
    """
    arguments.tensors("adaptive_max_pool2d", input=input)
    size = check.adaptive_size("adaptive_max_pool2d", input, output_size, 2)
    return _adaptive_max_pool("adaptive_max_pool2d", input, size, return_indices)


@replaces(F.adaptive_max_pool2d_with_indices, *builtins_of(F.adaptive_max_pool2d_with_indices))
def _adaptive_max_pool2d_with_indices(*args: Any, **kwargs: Any) -> Any:
    return adaptive_max_pool2d(*args, **{**kwargs, "return_indices": True})


@replaces(F.adaptive_max_pool3d)
@overridable
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Take the maximum in each bin, as `torch.nn.functional.adaptive_max_pool3d` does.

    Args:
        input: (N, C, D, H, W), or (C, D, H, W) without a batch; floating point.
        output_size: OD, OH and OW; one int or three, of which None stands for the input's own.
        return_indices: whether to return the indices of the maxima too.

    Returns:
        (N, C, OD, OH, OW) or (C, OD, OH, OW); with `return_indices` a pair of it and the int64 indices,
        (slice · H + row) · W + column, of the maxima. Bins and ties are as in `adaptive_max_pool2d`.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the input has no more dimensions than the output_size has numbers.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is not floating point.
    """
    arguments.tensors("adaptive_max_pool3d", input=input)
    size = check.adaptive_size("adaptive_max_pool3d", input, output_size, 3)
    return _adaptive_max_pool("adaptive_max_pool3d", autocast_to_float32(input), size, return_indices)


@replaces(F.adaptive_max_pool3d_with_indices, *builtins_of(F.adaptive_max_pool3d_with_indices))
def _adaptive_max_pool3d_with_indices(*args: Any, **kwargs: Any) -> Any:
    return adaptive_max_pool3d(*args, **{**kwargs, "return_indices": True})


def _adaptive_max_pool(name: str, input: Tensor, size: tuple[Any, ...], return_indices: bool) -> Any:
    axes = len(size)
    check.binned(name, input, axes, positive=axes + 1)
    arguments.output_size(name, *(each or 1 for each in input.shape[:-axes]), *size)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    is_batch = input.dim() == axes + 2
    batched = input if is_batch else input.unsqueeze(0)
    channels_last = axes == 2 and is_batch and is_channels_last(input)
    output, narrow_indices = call(AdaptiveMaxPool, batched, size, channels_last)
    output = output if is_batch else reshaped(output, output.shape[1:])
    if not return_indices:
        return output
    indices = call_constant(picked_indices, narrow_indices, channels_last)
    indices = indices if is_batch else reshaped(indices, indices.shape[1:])
    refuse_backward_after_writes(output, indices)
    return output, indices
