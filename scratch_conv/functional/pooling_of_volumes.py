"""Pooling of volumes, (N, C, D, H, W)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import (
    AdaptiveAvgPool3d,
    AvgPool3d,
    MaxPool3d,
    builtins_of,
    call,
    call_constant,
    in_torch_func,
    is_channels_last,
    picked_indices,
    refuse_backward_after_writes,
    reshaped,
)
from scratch_conv.functional import arguments
from scratch_conv.functional import pooling_arguments as check
from scratch_conv.functional.calling import (
    IntOrPair,
    autocast_to_float32,
    overridable,
    replaces,
    size_of,
)

__all__ = ["adaptive_avg_pool3d", "avg_pool3d", "max_pool3d"]


@replaces(F.max_pool3d, torch.max_pool3d)
@overridable
def max_pool3d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Take the maximum under each window, as `torch.nn.functional.max_pool3d` does.

    Args:
        input: (N, C, D, H, W), or (C, D, H, W) without a batch.
        kernel_size: the window, in taps; one int or three (depth, height, width).
        stride: steps of the window, in pixels; the kernel_size where it is None.
        padding: -inf on each side, in pixels, at most half the window; one int or three.
        dilation: distance between the taps, in pixels; one int or three.
        ceil_mode: whether a last window may hang over the end, if it starts inside.
        return_indices: whether to return the indices of the maxima too.

    Returns:
        (N, C, OD, OH, OW) or (C, OD, OH, OW); with `return_indices` a pair of it and the int64 indices,
        (slice · H + row) · W + column, of the maxima. Of equal maxima the first in reading order wins; NaN
        wins over all.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is bool or complex.
    """
    name = "max_pool3d"
    arguments.tensors(name, input=input)
    kernel_size = arguments.integers(name, "kernel_size", kernel_size, 3)
    stride = check.stride(name, stride, kernel_size)
    padding = arguments.integers(name, "padding", padding, 3)
    dilation = arguments.integers(name, "dilation", dilation, 3)
    ceil_mode = arguments.boolean(name, "ceil_mode", ceil_mode)
    check.pooled_size(name, input, kernel_size, stride, padding, dilation, ceil_mode)
    if input.dtype == torch.bool or input.dtype.is_complex:
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    input = input if return_indices else autocast_to_float32(input)
    is_batch = input.dim() == 5
    batched = input if is_batch else input.unsqueeze(0)
    channels_last = is_channels_last(input) if is_batch else _is_channels_last_volume(batched)
    # Without a batch, torch's gradient is contiguous.
    formats = (channels_last, channels_last and is_batch)
    window = (kernel_size, stride, check.sides(padding), dilation)
    output, narrow_indices = call(MaxPool3d, batched, *formats, ceil_mode, *window)
    output = output if is_batch else reshaped(output, output.shape[1:])
    if not return_indices:
        return output
    indices = call_constant(picked_indices, narrow_indices, channels_last)
    indices = indices if is_batch else reshaped(indices, indices.shape[1:])
    refuse_backward_after_writes(output, indices)
    return output, indices


def _is_channels_last_volume(batched: Tensor) -> bool:
    """Return whether torch's maxima of one volume are channels_last: there it asks for dense memory."""
    if in_torch_func():  # vmap knows nothing but strides
        return is_channels_last(batched)
    return batched.is_contiguous(memory_format=torch.channels_last_3d) and not batched.is_contiguous()


@replaces(F.max_pool3d_with_indices, *builtins_of(F.max_pool3d_with_indices))
def _max_pool3d_with_indices(*args: Any, **kwargs: Any) -> Any:
    return max_pool3d(*args, **{**kwargs, "return_indices": True})


@replaces(F.avg_pool3d)
@overridable
def avg_pool3d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Average under each window, as `torch.nn.functional.avg_pool3d` does.

    Args:
        input: (N, C, D, H, W), or (C, D, H, W) without a batch; float32, float64 or int64.
        kernel_size: the window, in pixels, at most the input's size; one int or three (depth, height, width).
        stride: steps of the window, in pixels; the kernel_size where it is None.
        padding: zeros on each side, in pixels, at most half the window; one int or three.
        ceil_mode: whether a last window may hang over the end, if it starts inside.
        count_include_pad: whether the padding counts as pixels of a window.
        divisor_override: what to divide the sums by instead of the number of pixels.

    Returns:
        (N, C, OD, OH, OW) or (C, OD, OH, OW).

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input has another dtype.
    """
    name = "avg_pool3d"
    arguments.tensors(name, input=input)
    kernel_size = arguments.integers(name, "kernel_size", kernel_size, 3)
    stride = check.stride(name, stride, kernel_size)
    padding = arguments.integers(name, "padding", padding, 3)
    ceil_mode = arguments.boolean(name, "ceil_mode", ceil_mode)
    count_include_pad = arguments.boolean(name, "count_include_pad", count_include_pad)
    if divisor_override is not None:
        divisor_override = arguments.integer(name, "divisor_override", divisor_override, strict=True)
    if divisor_override == 0:
        raise RuntimeError(f"{name}: divisor must be not zero, but got divisor_override=0")
    size = check.pooled_size(name, input, kernel_size, stride, padding, (1, 1, 1), ceil_mode)
    if any(length < taps for length, taps in zip(input.shape[-3:], kernel_size, strict=True)):
        raise RuntimeError(
            f"{name}: input of size {size_of(input)} is smaller than the kernel, {kernel_size=}"
        )
    input = autocast_to_float32(input)
    if input.dtype not in (torch.float32, torch.float64, torch.int64):
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    batched = input if input.dim() == 5 else input.unsqueeze(0)
    window = (kernel_size, stride, check.sides(padding))
    output = call(AvgPool3d, batched, size, False, count_include_pad, divisor_override, *window)
    return output if input.dim() == 5 else reshaped(output, output.shape[1:])


@replaces(F.adaptive_avg_pool3d, *builtins_of(F.adaptive_avg_pool3d))
@overridable
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Average into an output of a given size, as `torch.nn.functional.adaptive_avg_pool3d` does.

    Args:
        input: (N, C, D, H, W), or (C, D, H, W) without a batch; for the output size 1 any (..., D, H, W).
        output_size: OD, OH and OW; one int or three, of which None stands for the input's own.

    Returns:
        (N, C, OD, OH, OW) or (C, OD, OH, OW). Output slice p averages the slices from floor(p D / OD) up to
        ceil((p + 1) D / OD), rows and columns likewise.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the input has no more dimensions than the output_size has numbers.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is of integers or complex (which torch does average to size 1).
    """
    name = "adaptive_avg_pool3d"
    arguments.tensors(name, input=input)
    size = check.adaptive_size(name, input, output_size, 3)
    arguments.output_size(name, *(each or 1 for each in input.shape[:-3]), *size)
    is_mean = size == (1, 1, 1)  # which torch takes of all pixels, whatever they are
    if is_mean:
        check.averaged(name, input, 3)
    else:
        check.binned(name, input, 3, positive=4)
        if not input.dtype.is_floating_point:
            raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    input = autocast_to_float32(input)
    batched = input
    if input.dim() != 5:
        batched = input.reshape(1, math.prod(input.shape[:-3]), *input.shape[-3:])
    output = call(AdaptiveAvgPool3d, batched, size, is_mean and is_channels_last(batched))
    return output if input.dim() == 5 else reshaped(output, (*input.shape[:-3], *size))
