"""Pooling."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    MaxPool2d,
    builtins_of,
    call,
    call_constant,
    is_channels_last,
    max_pool2d_indices,
    refuse_backward_after_writes,
    reshaped,
)
from scratch_conv.functional import arguments
from scratch_conv.functional import pooling_arguments as check
from scratch_conv.functional.calling import IntOrPair, overridable, replaces, size_of

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"]


@replaces(F.adaptive_avg_pool2d, *builtins_of(F.adaptive_avg_pool2d))
@overridable
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Average into an output of a given size, as `torch.nn.functional.adaptive_avg_pool2d` does.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch; for the output size 1 any (..., H, W).
        output_size: OH and OW; one int or two, of which None stands for the input's own.

    Returns:
        (N, C, OH, OW) or (C, OH, OW). Output row p averages the rows from floor(p H / OH) up to
        ceil((p + 1) H / OH), columns likewise.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the input has no more dimensions than the output_size has numbers.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is of integers or complex (which torch does average to size 1).
    """
    arguments.tensors("adaptive_avg_pool2d", input=input)
    size = check.adaptive_size("adaptive_avg_pool2d", input, output_size, 2)
    _check_adaptive_avg_pool2d("adaptive_avg_pool2d", input, size)
    if input.dtype in (torch.bool, torch.uint8):  # accepted for an empty output only
        return input.new_empty((*input.shape[:-2], *size))
    batched = input
    if input.dim() != 4:
        batched = input.reshape(1, math.prod(input.shape[:-2]), *input.shape[-2:])
    output = call(AdaptiveAvgPool2d, batched, size, is_channels_last(batched))
    return output if input.dim() == 4 else reshaped(output, (*input.shape[:-2], *size))


@replaces(F.avg_pool2d)
@overridable
def avg_pool2d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Average under each window, as `torch.nn.functional.avg_pool2d` does.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch; floating point or int64.
        kernel_size: the window, in pixels; one int or two (vertical, horizontal).
        stride: steps of the window, in pixels; the kernel_size where it is None.
        padding: zeros on each side, in pixels, at most half the window; one int or two.
        ceil_mode: whether a last window may hang over the end, if it starts inside.
        count_include_pad: whether the padding counts as pixels of a window.
        divisor_override: what to divide the sums by instead of the number of pixels.

    Returns:
        (N, C, OH, OW) or (C, OH, OW).

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        IndexError: the input has fewer than three dimensions.
        NotImplementedError: the input is bool, complex, or of integers other than int64.
    """
    arguments.tensors("avg_pool2d", input=input)
    kernel_size = arguments.pair("avg_pool2d", "kernel_size", kernel_size)
    stride = check.stride("avg_pool2d", stride, kernel_size)
    padding = arguments.pair("avg_pool2d", "padding", padding)
    ceil_mode = arguments.boolean("avg_pool2d", "ceil_mode", ceil_mode)
    count_include_pad = arguments.boolean("avg_pool2d", "count_include_pad", count_include_pad)
    if divisor_override is not None:
        divisor_override = arguments.integer("avg_pool2d", "divisor_override", divisor_override, strict=True)
    if divisor_override == 0:
        raise RuntimeError("avg_pool2d: divisor must be not zero, but got divisor_override=0")
    if input.dim() < 3:
        raise IndexError(f"avg_pool2d: expected 3D or 4D input, but got input of size: {size_of(input)}")
    size = check.pooled_size("avg_pool2d", input, kernel_size, stride, padding, (1, 1), ceil_mode)
    if not (input.dtype.is_floating_point or input.dtype == torch.int64):
        raise NotImplementedError(f"avg_pool2d is not implemented for {input.dtype}")
    batched = input if input.dim() == 4 else input.unsqueeze(0)
    window = (kernel_size, stride, check.sides(padding))
    counting = (count_include_pad, divisor_override)
    output = call(AvgPool2d, batched, size, is_channels_last(batched), *counting, *window)
    return output if input.dim() == 4 else reshaped(output, output.shape[1:])


@replaces(F.max_pool2d, torch.max_pool2d)
@overridable
def max_pool2d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Take the maximum under each window, as `torch.nn.functional.max_pool2d` does.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch.
        kernel_size: the window, in taps; one int or two (vertical, horizontal).
        stride: steps of the window, in pixels; the kernel_size where it is None.
        padding: -inf on each side, in pixels, at most half the window; one int or two.
        dilation: distance between the taps, in pixels; one int or two.
        ceil_mode: whether a last window may hang over the end, if it starts inside.
        return_indices: whether to return the indices of the maxima too.

    Returns:
        (N, C, OH, OW) or (C, OH, OW); with `return_indices` a pair of it and the int64 indices, row · W +
        column, of the maxima. Of equal maxima the first in reading order wins; NaN wins over all.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is bool or complex.
    """
    arguments.tensors("max_pool2d", input=input)
    kernel_size = arguments.pair("max_pool2d", "kernel_size", kernel_size)
    stride = check.stride("max_pool2d", stride, kernel_size)
    padding = arguments.pair("max_pool2d", "padding", padding)
    dilation = arguments.pair("max_pool2d", "dilation", dilation)
    ceil_mode = arguments.boolean("max_pool2d", "ceil_mode", ceil_mode)
    check.pooled_size("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode)
    if input.dtype == torch.bool or input.dtype.is_complex:
        raise NotImplementedError(f"max_pool2d is not implemented for {input.dtype}")
    batched = input if input.dim() == 4 else input.unsqueeze(0)
    window = (kernel_size, stride, check.sides(padding), dilation)
    output, narrow_indices = call(MaxPool2d, batched, ceil_mode, *window)
    output = output if input.dim() == 4 else reshaped(output, output.shape[1:])
    if not return_indices:
        return output
    indices = call_constant(max_pool2d_indices, narrow_indices)
    indices = indices if input.dim() == 4 else reshaped(indices, indices.shape[1:])
    refuse_backward_after_writes(output, indices)
    return output, indices


@replaces(F.max_pool2d_with_indices, *builtins_of(F.max_pool2d_with_indices))
def _max_pool2d_with_indices(*args: Any, **kwargs: Any) -> Any:
    return max_pool2d(*args, **{**kwargs, "return_indices": True})


def _check_adaptive_avg_pool2d(function: str, input: Tensor, size: tuple[Any, ...]) -> None:
    arguments.output_size(function, *(each or 1 for each in input.shape[:-2]), *size)
    if size == (1, 1):  # torch takes the mean of all pixels, whatever they are
        check.averaged(function, input, 2)
        return
    check.binned(function, input, 2, positive=2)
    # torch does not look at the dtype where there is nothing to compute
    if not input.dtype.is_floating_point and 0 not in (*input.shape[:-2], *size):
        raise NotImplementedError(f"{function} is not implemented for {input.dtype}")
