"""Pooling of signals, (N, C, L): that of images of one row."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool,
    AvgPool2d,
    MaxPool2d,
    call,
    call_constant,
    is_channels_last,
    max_pool2d_indices,
    picked_indices,
    refuse_backward_after_writes,
    reshaped,
)
from scratch_conv.functional import arguments
from scratch_conv.functional import pooling_arguments as check
from scratch_conv.functional.calling import IntOrPair, overridable, replaces, size_of

__all__ = ["adaptive_avg_pool1d", "adaptive_max_pool1d", "avg_pool1d", "max_pool1d"]


@replaces(F.max_pool1d, torch.max_pool1d)
@overridable
def max_pool1d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Take the maximum under each window, as `torch.nn.functional.max_pool1d` does.

    Args:
        input: (N, C, L), or (C, L) without a batch; floating point, with `return_indices` also of integers.
        kernel_size: the window, in taps; an int or a sequence of one.
        stride: steps of the window; the kernel_size where it is None.
        padding: -inf on each side, at most half the window.
        dilation: distance between the taps.
        ceil_mode: whether a last window may hang over the end, if it starts inside.
        return_indices: whether to return the indices of the maxima too.

    Returns:
        (N, C, OL) or (C, OL); with `return_indices` a pair of it and the int64 indices of the maxima. Of
        equal maxima the first wins; NaN wins over all.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is bool or complex, or of integers without `return_indices`.
    """
    name = "max_pool1d"
    arguments.tensors(name, input=input)
    kernel_size = arguments.integers(name, "kernel_size", kernel_size, 1)
    stride = check.stride(name, stride, kernel_size)
    padding = arguments.integers(name, "padding", padding, 1)
    dilation = arguments.integers(name, "dilation", dilation, 1)
    ceil_mode = arguments.boolean(name, "ceil_mode", ceil_mode)
    check.pooled_size(name, input, kernel_size, stride, padding, dilation, ceil_mode)
    numbers = input.dtype != torch.bool and not input.dtype.is_complex
    if not (numbers if return_indices else input.dtype.is_floating_point):
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    rows = _rows(input)
    window = ((1, *kernel_size), (1, *stride), (0, 0, *check.sides(padding)), (1, *dilation))
    if not (return_indices or _goes_by_images(input)):
        output, _ = call(MaxPool2d, rows.contiguous(), ceil_mode, *window)
        return reshaped(output, (*input.shape[:-1], output.shape[-1]))
    output, narrow_indices = call(MaxPool2d, rows, ceil_mode, *window)
    output = _signals(output, input)
    if not return_indices:
        return output
    indices = _signals(call_constant(max_pool2d_indices, narrow_indices), input)
    refuse_backward_after_writes(output, indices)
    return output, indices


def _goes_by_images(input: Tensor) -> bool:
    """Return whether torch pools images of one row, and so keeps strides: where it may differentiate."""
    trained = input.requires_grad and torch.is_grad_enabled()
    return trained or input.device.type != "cpu"


@replaces(F.max_pool1d_with_indices, torch.max_pool1d_with_indices)
def _max_pool1d_with_indices(*args: Any, **kwargs: Any) -> Any:
    return max_pool1d(*args, **{**kwargs, "return_indices": True})


@replaces(F.avg_pool1d)
@overridable
def avg_pool1d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Average under each window, as `torch.nn.functional.avg_pool1d` does.

    Args:
        input: (N, C, L), or (C, L) without a batch; floating point or int64.
        kernel_size: the window; an int or a sequence of one.
        stride: steps of the window; the kernel_size where it is None.
        padding: zeros on each side, at most half the window.
        ceil_mode: whether a last window may hang over the end, if it starts inside.
        count_include_pad: whether the padding counts as elements of a window.

    Returns:
        (N, C, OL) or (C, OL).

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is bool, complex, or of integers other than int64.
    """
    name = "avg_pool1d"
    arguments.tensors(name, input=input)
    kernel_size = arguments.integers(name, "kernel_size", kernel_size, 1)
    stride = check.stride(name, stride, kernel_size)
    padding = arguments.integers(name, "padding", padding, 1)
    ceil_mode = arguments.boolean(name, "ceil_mode", ceil_mode)
    count_include_pad = arguments.boolean(name, "count_include_pad", count_include_pad)
    size = check.pooled_size(name, input, kernel_size, stride, padding, (1,), ceil_mode)
    if not (input.dtype.is_floating_point or input.dtype == torch.int64):
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    rows, counting = _rows(input), (count_include_pad, None)
    window = ((1, *kernel_size), (1, *stride), (0, 0, *check.sides(padding)))
    return _signals(call(AvgPool2d, rows, (1, *size), is_channels_last(rows), *counting, *window), input)


@replaces(F.adaptive_avg_pool1d)
@overridable
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Average into an output of a given size, as `torch.nn.functional.adaptive_avg_pool1d` does.

    Args:
        input: (N, C, L), or (C, L) without a batch; floating point, for the output size 1 also complex.
        output_size: OL; an int or a sequence of one.

    Returns:
        (N, C, OL) or (C, OL). Output p averages the elements from floor(p L / OL) up to ceil((p + 1) L / OL).

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is of integers or complex.
    """
    name = "adaptive_avg_pool1d"
    arguments.tensors(name, input=input)
    size = _adaptive_size(name, input, output_size)
    if size == (1,):
        check.averaged(name, input, 1)
    else:
        check.binned(name, input, 1, positive=1)
        if not input.dtype.is_floating_point and 0 not in (*input.shape[:-1], *size):
            raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
        if input.dtype in (torch.bool, torch.uint8):  # accepted for an empty output only
            return input.new_empty((*input.shape[:-1], *size))
    rows = _rows(input)
    return _signals(call(AdaptiveAvgPool2d, rows, (1, *size), is_channels_last(rows)), input)


@replaces(F.adaptive_max_pool1d)
@overridable
def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Take the maximum in each bin, as `torch.nn.functional.adaptive_max_pool1d` does.

    Args:
        input: (N, C, L), or (C, L) without a batch; floating point.
        output_size: OL; an int or a sequence of one.
        return_indices: whether to return the indices of the maxima too.

    Returns:
        (N, C, OL) or (C, OL); with `return_indices` a pair of it and the int64 indices of the maxima. Output
        p is over the elements from floor(p L / OL) up to ceil((p + 1) L / OL). Of equal maxima the first
        wins; NaN wins over all.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is not floating point.
    """
    name = "adaptive_max_pool1d"
    arguments.tensors(name, input=input)
    size = _adaptive_size(name, input, output_size)
    check.binned(name, input, 1, positive=2)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    rows = _rows(input)
    channels_last = is_channels_last(rows)
    output, narrow_indices = call(AdaptiveMaxPool, rows, (1, *size), channels_last)
    output = _signals(output, input)
    if not return_indices:
        return output
    indices = _signals(call_constant(picked_indices, narrow_indices, channels_last), input)
    refuse_backward_after_writes(output, indices)
    return output, indices


@replaces(F.adaptive_max_pool1d_with_indices, torch.adaptive_max_pool1d)
def _adaptive_max_pool1d_with_indices(*args: Any, **kwargs: Any) -> Any:
    return adaptive_max_pool1d(*args, **{**kwargs, "return_indices": True})


def _adaptive_size(name: str, input: Tensor, output_size: Any) -> tuple[int, ...]:
    size = arguments.integers(name, "output_size", output_size, 1)
    if input.dim() not in (2, 3):
        raise RuntimeError(f"{name}: Expected 2 to 3 dimensions, but got input of size: {size_of(input)}")
    if size[0] < 0:
        raise RuntimeError(f"{name}: output_size must be greater than or equal to 0, but received {size}")
    arguments.output_size(name, *(each or 1 for each in input.shape[:-1]), *size)
    return size


def _rows(input: Tensor) -> Tensor:
    """Return signals as images (N, C, 1, L); those without a batch in contiguous memory, as torch's are."""
    if input.dim() == 3:
        return input.unsqueeze(2)
    return input.contiguous().reshape(1, input.shape[0], 1, input.shape[1])


def _signals(rows: Tensor, input: Tensor) -> Tensor:
    """Return images of one row as signals; those of a batch as a view, as torch's are, with its strides."""
    return rows.squeeze(2) if input.dim() == 3 else reshaped(rows, (rows.shape[1], rows.shape[3]))
