"""Convolution and transposed convolution."""

from typing import Any

import torch
from torch import Tensor

from scratch_conv.autograd import Conv2d, ConvTranspose2d, call, is_channels_last, reshaped
from scratch_conv.functional import arguments
from scratch_conv.functional import convolution_arguments as check
from scratch_conv.functional.calling import IntOrPair, autocast, overridable, replaces
from scratch_conv.kernels.windows import Pair, effective_kernel_size, same_padding

__all__ = ["conv1d", "conv2d", "conv_transpose2d"]


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
    function = "conv_transpose2d"
    check.tensors(function, input, weight, bias)
    if torch.is_autocast_enabled("cpu"):
        input, weight, bias = (autocast(tensor) for tensor in (input, weight, bias))
    stride = arguments.pair(function, "stride", stride)
    padding = arguments.pair(function, "padding", padding)
    output_padding = arguments.pair(function, "output_padding", output_padding)
    groups = arguments.integer(function, "groups", groups)
    dilation = arguments.pair(function, "dilation", dilation)
    both = ((padding[0],) * 2, (padding[1],) * 2)
    check.numbers(function, weight, stride, both, dilation, groups)
    check.transposed(function, input, weight, bias, stride, output_padding, dilation, groups)
    size = _transposed_size(input, weight, stride, padding, output_padding, dilation)
    check.transposed_size(function, input, size)
    dilation = _effective_dilation(weight, dilation)
    # Less padding at the end: the convolution whose transpose this is has no window over what output_padding
    # adds, even where that would have room for one.
    flat = (padding[0], padding[0] - output_padding[0], padding[1], padding[1] - output_padding[1])
    weight, bias = check.as_input(input, weight, bias)
    batched = input if input.dim() == 4 else input.unsqueeze(0)
    geometry = (is_channels_last(batched, weight), stride, flat, dilation, groups)
    output = call(ConvTranspose2d, batched, weight, bias, size, *geometry)
    return output if input.dim() == 4 else output.squeeze(0)


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
    weight, bias = check.as_input(input, weight, bias)
    if weight.shape[1] == 0:  # without input channels, torch's output has none either
        weight, bias, groups = weight[:0], None if bias is None else bias[:0], 1
    batched = input if input.dim() == axes + 2 else input.unsqueeze(0)
    if axes == 1:
        output = _convolve_rows(batched, weight, bias, stride[0], sides[0], dilation[0], groups)
    else:
        geometry = (is_channels_last(batched, weight), stride, (*sides[0], *sides[1]), dilation, groups)
        output = call(Conv2d, batched, weight, bias, *geometry)
    return output if input.dim() == axes + 2 else output.squeeze(0)


def _convolve_rows(
    input: Tensor, weight: Tensor, bias: Any, stride: int, padding: Pair, dilation: int, groups: int
) -> Tensor:
    """Convolve (N, C, L) as images (N, C, 1, L)."""
    rows, kernel = input.contiguous().unsqueeze(2), weight.unsqueeze(2)
    geometry = (is_channels_last(rows, kernel), (1, stride), (0, 0, *padding), (1, dilation), groups)
    output = call(Conv2d, rows, kernel, bias, *geometry)
    return reshaped(output, (*output.shape[:2], output.shape[3]))


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
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, output_padding: Pair, dilation: Pair
) -> Pair:
    height, width = (
        (input.shape[axis - 2] - 1) * stride[axis]
        - 2 * padding[axis]
        + effective_kernel_size(weight.shape[axis + 2], dilation[axis])
        + output_padding[axis]
        for axis in (0, 1)
    )
    return height, width
