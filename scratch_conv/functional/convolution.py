"""Convolution."""

from typing import Any

import torch
from torch import Tensor

from scratch_conv import arguments
from scratch_conv.autograd import Conv2d, call
from scratch_conv.functional.calling import IntOrPair, autocast, overridable, size_of
from scratch_conv.kernels.geometry import Padding, Pair, reach, same_padding


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
    """Convolve a batch of pictures (cross-correlation), as `torch.nn.functional.conv2d` does.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch.
        weight: (O, C / groups, KH, KW), of the input's dtype.
        bias: (O,), of the input's dtype, or None.
        stride: steps of the window, in pixels; one int or two (vertical, horizontal).
        padding: zeros on each side, in pixels; one int or two, 'valid' (none), or 'same' (as many as
            keep the size; an uneven one goes to the end).
        dilation: distance between the kernel's taps, in pixels; one int or two.
        groups: into how many groups of channels the convolution falls apart.

    Returns:
        (N, O, OH, OW) or (O, OH, OW), with
        OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes, dtypes or numbers do not fit; or a tensor is not on the CPU.
    """
    arguments.tensors("conv2d", input=input, weight=weight, **({} if bias is None else {"bias": bias}))
    _check_conv2d_dimensions(input, weight)
    if torch.is_autocast_enabled("cpu"):
        input, weight, bias = (autocast(tensor) for tensor in (input, weight, bias))
    groups = arguments.integer("conv2d", "groups", groups)
    stride = arguments.pair("conv2d", "stride", stride)
    dilation = arguments.pair("conv2d", "dilation", dilation)
    both = _conv2d_padding(padding, weight, stride, dilation)
    _check_conv2d(input, weight, bias, stride, both, dilation, groups)
    batched = input if input.dim() == 4 else input.unsqueeze(0)
    output = call(Conv2d, batched, weight, bias, stride, (*both[0], *both[1]), dilation, groups)
    return output if input.dim() == 4 else output.squeeze(0)


def _conv2d_padding(padding: Any, weight: Tensor, stride: Pair, dilation: Pair) -> Padding:
    if not isinstance(padding, str):
        rows, columns = arguments.pair("conv2d", "padding", padding)
        return (rows, rows), (columns, columns)
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        raise RuntimeError(f"conv2d: Invalid padding string: '{padding}'; expected 'same' or 'valid'")
    if stride != (1, 1):
        raise RuntimeError(f"conv2d: padding='same' is not supported for strided convolutions: {stride=}")
    kernel_size = weight.shape[2:]
    return same_padding(kernel_size[0], dilation[0]), same_padding(kernel_size[1], dilation[1])


def _check_conv2d_dimensions(input: Tensor, weight: Tensor) -> None:
    if input.dim() not in (3, 4):
        raise RuntimeError(
            f"Expected 3D (unbatched) or 4D (batched) input to conv2d, "
            f"but got input of size: {size_of(input)}"
        )
    if weight.dim() != 4:
        raise RuntimeError(f"Expected 4D weight to conv2d, but got weight of size: {size_of(weight)}")
    if 0 in input.shape[-2:] and 0 not in input.shape[:-2]:
        raise RuntimeError(
            f"conv2d: Only zero batch or zero channel inputs are supported, "
            f"but got input of size: {size_of(input)}"
        )


def _check_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> None:
    _check_conv2d_numbers(weight, stride, padding, dilation, groups)
    _check_conv2d_channels(input, weight, bias, groups)
    _check_conv2d_dtypes(input, weight, bias)
    padded = [input.shape[axis - 2] + sum(padding[axis]) for axis in (0, 1)]
    kernel = [reach(weight.shape[axis + 2], dilation[axis]) for axis in (0, 1)]
    if padded[0] < kernel[0] or padded[1] < kernel[1]:
        raise RuntimeError(
            f"Calculated padded input size per channel: ({padded[0]} x {padded[1]}). "
            f"Kernel size: ({kernel[0]} x {kernel[1]}). Kernel size can't be greater than actual input size"
        )


def _check_conv2d_numbers(
    weight: Tensor, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> None:
    if groups <= 0:
        raise RuntimeError(f"conv2d: non-positive groups is not supported, but got {groups=}")
    if min(stride) <= 0:
        raise RuntimeError(f"conv2d: non-positive stride is not supported, but got {stride=}")
    if min(*padding[0], *padding[1]) < 0:
        raise RuntimeError(f"conv2d: negative padding is not supported, but got {padding=}")
    if min(dilation) <= 0:
        raise RuntimeError(f"conv2d: dilation should be greater than zero, but got {dilation=}")
    if min(weight.shape[2:]) <= 0:
        raise RuntimeError(
            f"conv2d: kernel size should be greater than zero, but got weight of size {size_of(weight)}"
        )


def _check_conv2d_channels(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    out_channels, channels_in_group = weight.shape[:2]
    channels = input.shape[-3]
    if out_channels < groups or out_channels % groups:
        fault = "at least" if out_channels < groups else "divisible by"
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be {fault} {groups} at dimension 0, "
            f"but got weight of size {size_of(weight)} instead"
        )
    if channels != channels_in_group * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {size_of(weight)}, expected input{size_of(input)} "
            f"to have {channels_in_group * groups} channels, but got {channels} channels instead"
        )
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != out_channels):
        raise RuntimeError(
            f"Given weight of size {size_of(weight)}, expected bias to be 1-dimensional with {out_channels} "
            f"elements, but got bias of size {size_of(bias)} instead"
        )


def _check_conv2d_dtypes(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input.dtype == torch.bool:
        raise NotImplementedError("conv2d is not implemented for 'Bool'")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != input.dtype:
            raise RuntimeError(
                f"conv2d: Input type ({input.dtype}) and {name} type ({tensor.dtype}) should be the same"
            )
