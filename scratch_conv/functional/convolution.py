"""Convolution and transposed convolution."""

from typing import Any

import torch
from torch import Tensor

from scratch_conv.autograd import (
    Conv2d,
    Conv3d,
    ConvTranspose2d,
    ConvTranspose3d,
    call,
    computed_by_onednn,
    is_channels_last,
    reshaped,
)
from scratch_conv.functional import arguments
from scratch_conv.functional import convolution_arguments as check
from scratch_conv.functional.calling import IntOrPair, autocast, overridable, replaces
from scratch_conv.kernels.windows import Padding, Pair, Size, effective_kernel_size, same_padding

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


@replaces(torch.conv1d)
@overridable
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve a batch of signals, as `torch.nn.functional.conv1d` does: `conv2d` on images of one row.

    Args:
        input: (N, C, L), or (C, L) without a batch.
        weight: (O, C / groups, K), of the input's dtype.
        bias: (O,), of the input's dtype, or None.
        stride: steps of the window; an int or a sequence of one.
        padding: zeros on each side; an int or a sequence of one, 'valid' (none), or 'same' (as many as keep
            the size; an uneven one goes to the end).
        dilation: distance between the kernel's taps; an int or a sequence of one.
        groups: the number of groups that the channels are split into, each convolved on its own.

    Returns:
        (N, O, OL) or (O, OL), with OL = floor((L + 2 padding - dilation (K - 1) - 1) / stride) + 1.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes, dtypes or numbers do not fit; or a tensor is not on the CPU.
    """
    return _convolve("conv1d", input, weight, bias, stride, padding, dilation, groups)


@replaces(torch.conv2d)
@overridable
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve a batch of images (cross-correlation), as `torch.nn.functional.conv2d` does.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch.
        weight: (O, C / groups, KH, KW), of the input's dtype.
        bias: (O,), of the input's dtype, or None.
        stride: steps of the window, in pixels; one int or two (vertical, horizontal).
        padding: zeros on each side, in pixels; one int or two, 'valid' (none), or 'same' (as many as
            keep the size; an uneven one goes to the end).
        dilation: distance between the kernel's taps, in pixels; one int or two.
        groups: the number of groups that the channels are split into, each convolved on its own.

    Returns:
        (N, O, OH, OW) or (O, OH, OW), with
        OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes, dtypes or numbers do not fit; or a tensor is not on the CPU.
    """
    return _convolve("conv2d", input, weight, bias, stride, padding, dilation, groups)


@replaces(torch.conv3d)
@overridable
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve a batch of volumes, as `torch.nn.functional.conv3d` does.

    Args:
        input: (N, C, D, H, W), or (C, D, H, W) without a batch.
        weight: (O, C / groups, KD, KH, KW), of the input's dtype.
        bias: (O,), of the input's dtype, or None.
        stride: steps of the window; one int or three (along depth, height, width).
        padding: zeros on each side; one int or three, 'valid' (none), or 'same' (as many as keep the size; an
            uneven one goes to the end).
        dilation: distance between the kernel's taps; one int or three.
        groups: the number of groups that the channels are split into, each convolved on its own.

    Returns:
        (N, O, OD, OH, OW) or (O, OD, OH, OW), with
        OD = floor((D + 2 padding - dilation (KD - 1) - 1) / stride) + 1.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes, dtypes or numbers do not fit; or a tensor is not on the CPU.
    """
    return _convolve("conv3d", input, weight, bias, stride, padding, dilation, groups)


@replaces(torch.conv_transpose1d)
@overridable
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> Tensor:
    """Apply a transposed convolution to signals, as `torch.nn.functional.conv_transpose1d` does.

    It is `conv_transpose2d` on images of one row.

    Args:
        input: (N, C, L), or (C, L) without a batch.
        weight: (C, O / groups, K), of the input's dtype.
        bias: (O,), of the input's dtype, or None.
        stride: distance between the windows that the elements spread over; an int or a sequence of one.
        padding: elements that are cut off each side of the output; an int or a sequence of one.
        output_padding: elements that are added to the end of the output, fewer than the stride or the
            dilation; an int or a sequence of one.
        groups: the number of groups that the channels are split into, each convolved on its own.
        dilation: distance between the kernel's taps; an int or a sequence of one.

    Returns:
        (N, O, OL) or (O, OL), with OL = (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes, dtypes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the tensors are of an integer dtype other than int64.
    """
    numbers = (stride, padding, output_padding, groups, dilation)
    return _convolve_transposed("conv_transpose1d", input, weight, bias, *numbers)


@replaces(torch.conv_transpose2d)
@overridable
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> Tensor:
    """Apply a transposed convolution ("deconvolution"), as `torch.nn.functional.conv_transpose2d` does.

    It is the gradient of `conv2d` with respect to its input, as a function of the gradient that comes in.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch.
        weight: (C, O / groups, KH, KW), of the input's dtype.
        bias: (O,), of the input's dtype, or None.
        stride: distance between the windows that the pixels spread over; one int or two (vertical,
            horizontal).
        padding: pixels that are cut off each side of the output; one int or two.
        output_padding: pixels that are added to the end of the output, fewer than the stride or the dilation;
            one int or two.
        groups: the number of groups that the channels are split into, each convolved on its own.
        dilation: distance between the kernel's taps, in pixels; one int or two.

    Returns:
        (N, O, OH, OW) or (O, OH, OW), with
        OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes, dtypes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the tensors are of an integer dtype other than int64.
    """
    numbers = (stride, padding, output_padding, groups, dilation)
    return _convolve_transposed("conv_transpose2d", input, weight, bias, *numbers)


@replaces(torch.conv_transpose3d)
@overridable
def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> Tensor:
    """Apply a transposed convolution to volumes, as `torch.nn.functional.conv_transpose3d` does.

    It is the gradient of `conv3d` with respect to its input, as a function of the gradient that comes in.

    Args:
        input: (N, C, D, H, W), or (C, D, H, W) without a batch.
        weight: (C, O / groups, KD, KH, KW), of the input's dtype.
        bias: (O,), of the input's dtype, or None.
        stride: distance between the windows that the elements spread over; one int or three (along depth,
            height, width).
        padding: elements that are cut off each side of the output; one int or three.
        output_padding: elements that are added to the end of the output, fewer than the stride or the
            dilation; one int or three.
        groups: the number of groups that the channels are split into, each convolved on its own.
        dilation: distance between the kernel's taps; one int or three.

    Returns:
        (N, O, OD, OH, OW) or (O, OD, OH, OW), with
        OD = (D - 1) stride - 2 padding + dilation (KD - 1) + output_padding + 1.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes, dtypes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the tensors are of an integer dtype other than int64.
    """
    numbers = (stride, padding, output_padding, groups, dilation)
    return _convolve_transposed("conv_transpose3d", input, weight, bias, *numbers)


def _convolve(
    function: str,
    input: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> Tensor:
    check.tensors(function, input, weight, bias)
    if torch.is_autocast_enabled("cpu"):
        input, weight, bias = (autocast(tensor) for tensor in (input, weight, bias))
    axes = weight.dim() - 2
    groups = arguments.integer(function, "groups", groups)
    stride = arguments.integers(function, "stride", stride, axes)
    dilation = arguments.integers(function, "dilation", dilation, axes)
    sides = _padding(function, padding, weight, stride, dilation)
    check.numbers(function, weight, stride, sides, dilation, groups)
    check.convolution(function, input, weight, bias, sides, dilation, groups)
    if max(stride) >= 2**31:  # in bytes they may be beyond 64 bits; the window takes no step of that size
        sizes = zip(stride, input.shape[-axes:], sides, strict=True)
        stride = tuple(min(step, size + sum(added)) for step, size, added in sizes)
    dilation = _effective_dilation(weight, dilation)
    input, weight, bias = check.in_one_dtype(function, input, weight, bias)
    if weight.shape[1] == 0:  # without input channels, torch's output has none either
        weight, bias, groups = weight[:0], None if bias is None else bias[:0], 1
    batched = input if input.dim() == axes + 2 else input.unsqueeze(0)
    if axes == 1:
        output = _convolve_rows(batched, weight, bias, stride, sides, dilation, groups)
    else:
        channels_last = _is_channels_last(batched, weight, stride, dilation, groups)
        geometry = (channels_last, stride, _flat(sides), dilation, groups)
        output = call(Conv2d if axes == 2 else Conv3d, batched, weight, bias, *geometry)
    return output if input.dim() == axes + 2 else output.squeeze(0)


def _convolve_rows(
    input: Tensor, weight: Tensor, bias: Any, stride: Size, padding: Padding, dilation: Size, groups: int
) -> Tensor:
    """Convolve (N, C, L) as images (N, C, 1, L)."""
    rows, kernel = input.contiguous().unsqueeze(2), weight.unsqueeze(2)
    geometry = (is_channels_last(rows, kernel), (1, *stride), (0, 0, *_flat(padding)), (1, *dilation), groups)
    return _without_rows(call(Conv2d, rows, kernel, bias, *geometry))


def _convolve_transposed(
    function: str,
    input: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> Tensor:
    check.tensors(function, input, weight, bias)
    if torch.is_autocast_enabled("cpu"):
        input, weight, bias = (autocast(tensor) for tensor in (input, weight, bias))
    axes = weight.dim() - 2
    stride = arguments.integers(function, "stride", stride, axes)
    padding = arguments.integers(function, "padding", padding, axes)
    output_padding = arguments.integers(function, "output_padding", output_padding, axes)
    groups = arguments.integer(function, "groups", groups)
    dilation = arguments.integers(function, "dilation", dilation, axes)
    check.numbers(function, weight, stride, tuple((each, each) for each in padding), dilation, groups)
    check.transposed(function, input, weight, bias, stride, output_padding, dilation, groups)
    size = _transposed_size(input, weight, stride, padding, output_padding, dilation)
    check.transposed_size(function, input, size)
    dilation = _effective_dilation(weight, dilation)
    # Less padding at the end: the convolution whose transpose this is has no window over what output_padding
    # adds, even where that would have room for one.
    sides = tuple((each, each - more) for each, more in zip(padding, output_padding, strict=True))
    input, weight, bias = check.in_one_dtype(function, input, weight, bias)
    batched = input if input.dim() == axes + 2 else input.unsqueeze(0)
    if axes == 1:
        output = _transpose_rows(batched, weight, bias, size, stride, sides, dilation, groups)
    else:
        channels_last = _is_channels_last(batched, weight, stride, dilation, groups, output_padding)
        geometry = (channels_last, stride, _flat(sides), dilation, groups)
        transposed = ConvTranspose2d if axes == 2 else ConvTranspose3d
        output = call(transposed, batched, weight, bias, size, *geometry)
    return output if input.dim() == axes + 2 else output.squeeze(0)


def _transpose_rows(
    input: Tensor,
    weight: Tensor,
    bias: Any,
    size: Size,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
) -> Tensor:
    """Apply a transposed convolution to (N, C, L) as images (N, C, 1, L)."""
    rows, kernel = input.contiguous().unsqueeze(2), weight.unsqueeze(2)
    geometry = (is_channels_last(rows, kernel), (1, *stride), (0, 0, *_flat(padding)), (1, *dilation), groups)
    return _without_rows(call(ConvTranspose2d, rows, kernel, bias, (1, *size), *geometry))


def _without_rows(images: Tensor) -> Tensor:
    """Drop the axis of one row, and nothing else of the strides; as `reshaped`, without making it a view."""
    batch, channels, _, columns = images.shape
    dropped = reshaped(images, (batch, channels, columns))
    if torch.compiler.is_compiling() or dropped.stride() == images.squeeze(2).stride():
        return dropped
    return images.squeeze(2).clone()  # `reshaped` chose other strides of axes of one


def _flat(padding: Padding) -> Size:
    """Return the padding before and after each axis one after the other, as operators take it."""
    return tuple(size for sides in padding for size in sides)


def _is_channels_last(
    input: Tensor, weight: Tensor, stride: Size, dilation: Size, groups: int, output_padding: Size = (0,)
) -> bool:
    """Return whether torch's output is channels_last; of volumes it is so where oneDNN computes it."""
    volumes = len(stride) == 3
    return is_channels_last(input, weight) and (
        not volumes or computed_by_onednn(input, weight, stride, dilation, groups, output_padding)
    )


def _padding(
    function: str, padding: Any, weight: Tensor, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[Pair, ...]:
    """Return the padding before and after each axis."""
    padding = padding.decode() if isinstance(padding, bytes) else padding
    if not isinstance(padding, str):
        return tuple((size, size) for size in arguments.integers(function, "padding", padding, len(stride)))
    if padding == "valid":
        return ((0, 0),) * len(stride)
    if padding != "same":
        raise RuntimeError(f"{function}: Invalid padding string: '{padding}'; expected 'same' or 'valid'")
    if max(stride) > 1 or min(stride) < 1:
        raise RuntimeError(f"{function}: padding='same' is not supported for strided convolutions: {stride=}")
    return tuple(same_padding(size, step) for size, step in zip(weight.shape[2:], dilation, strict=True))


def _effective_dilation(weight: Tensor, dilation: Any) -> Any:
    """Return the distance between the taps, 1 instead of a huge one where there is one tap alone."""
    if max(dilation) < 2**31:
        return dilation
    return tuple(1 if taps == 1 else step for taps, step in zip(weight.shape[2:], dilation, strict=True))


def _transposed_size(
    input: Tensor, weight: Tensor, stride: Size, padding: Size, output_padding: Size, dilation: Size
) -> Size:
    axes = len(stride)
    return tuple(
        (input.shape[axis - axes] - 1) * stride[axis]
        - 2 * padding[axis]
        + effective_kernel_size(weight.shape[axis + 2], dilation[axis])
        + output_padding[axis]
        for axis in range(axes)
    )
