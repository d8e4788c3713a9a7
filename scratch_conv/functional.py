"""Functions with the signatures and the semantics of `torch.nn.functional`, computed by NumPy."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from scratch_conv import arguments
from scratch_conv.autograd import Conv2d, MaxPool2d, call, max_pool2d_indices
from scratch_conv.kernels.geometry import Padding, Pair, Window, reach, same_padding

__all__ = ["conv2d", "max_pool2d"]

_F = TypeVar("_F", bound=Callable[..., Any])
_IntOrPair = int | tuple[int, ...]


def _overridable(function: _F) -> _F:
    """Let tensor subclasses, modes and FX proxies see the call first, as torch's own functions do."""

    @wraps(function)
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        relevant = (*args, *kwargs.values())
        if has_torch_function(relevant):
            return handle_torch_function(dispatch, relevant, *args, **kwargs)
        return function(*args, **kwargs)

    return dispatch  # type: ignore[return-value]


@_overridable
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _IntOrPair = 1,
    padding: _IntOrPair | str = 0,
    dilation: _IntOrPair = 1,
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
        input, weight, bias = (_autocast(tensor) for tensor in (input, weight, bias))
    groups = arguments.integer("conv2d", "groups", groups)
    stride = arguments.pair("conv2d", "stride", stride)
    dilation = arguments.pair("conv2d", "dilation", dilation)
    both = _conv2d_padding(padding, weight, stride, dilation)
    _check_conv2d(input, weight, bias, stride, both, dilation, groups)
    batched = input if input.dim() == 4 else input.unsqueeze(0)
    output = call(Conv2d, batched, weight, bias, stride, (*both[0], *both[1]), dilation, groups)
    return output if input.dim() == 4 else output.squeeze(0)


@_overridable
def max_pool2d(
    input: Tensor,
    kernel_size: _IntOrPair,
    stride: _IntOrPair | None = None,
    padding: _IntOrPair = 0,
    dilation: _IntOrPair = 1,
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
        return_indices: whether to give the places of the maxima too.

    Returns:
        (N, C, OH, OW) or (C, OH, OW); with `return_indices` a pair of it and the int64 places, row · W +
        column, of the maxima. Of equal maxima the first in reading order wins; NaN wins over all.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit; or a tensor is not on the CPU.
        NotImplementedError: the input is bool or complex.
    """
    arguments.tensors("max_pool2d", input=input)
    kernel_size = arguments.pair("max_pool2d", "kernel_size", kernel_size)
    if stride is None or (isinstance(stride, (tuple, list)) and not stride):
        stride = kernel_size
    stride = arguments.pair("max_pool2d", "stride", stride)
    padding = arguments.pair("max_pool2d", "padding", padding)
    dilation = arguments.pair("max_pool2d", "dilation", dilation)
    ceil_mode = arguments.boolean("max_pool2d", "ceil_mode", ceil_mode)
    _check_max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)
    batched = input if input.dim() == 4 else input.unsqueeze(0)
    window = (kernel_size, stride, (padding[0], padding[0], padding[1], padding[1]), dilation)
    output, taps = call(MaxPool2d, batched, ceil_mode, *window)
    output = output if input.dim() == 4 else output.squeeze(0)
    if not return_indices:
        return output
    indices = max_pool2d_indices(taps, input.shape[-1], *window)
    return output, indices if input.dim() == 4 else indices.squeeze(0)


def _autocast(tensor: Any) -> Any:
    """Bring a tensor to the dtype of `torch.autocast`, which leaves float64 and whole numbers alone."""
    narrows = tensor is not None and tensor.dtype.is_floating_point and tensor.dtype != torch.float64
    return tensor.to(torch.get_autocast_dtype("cpu")) if narrows else tensor


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
            f"Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: {_size(input)}"
        )
    if weight.dim() != 4:
        raise RuntimeError(f"Expected 4D weight to conv2d, but got weight of size: {_size(weight)}")
    if 0 in input.shape[-2:] and 0 not in input.shape[:-2]:
        raise RuntimeError(
            f"conv2d: Only zero batch or zero channel inputs are supported, "
            f"but got input of size: {_size(input)}"
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
            f"conv2d: kernel size should be greater than zero, but got weight of size {_size(weight)}"
        )


def _check_conv2d_channels(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    out_channels, channels_in_group = weight.shape[:2]
    channels = input.shape[-3]
    if out_channels < groups or out_channels % groups:
        fault = "at least" if out_channels < groups else "divisible by"
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be {fault} {groups} at dimension 0, "
            f"but got weight of size {_size(weight)} instead"
        )
    if channels != channels_in_group * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {_size(weight)}, expected input{_size(input)} to have "
            f"{channels_in_group * groups} channels, but got {channels} channels instead"
        )
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != out_channels):
        raise RuntimeError(
            f"Given weight of size {_size(weight)}, expected bias to be 1-dimensional with {out_channels} "
            f"elements, but got bias of size {_size(bias)} instead"
        )


def _check_conv2d_dtypes(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input.dtype == torch.bool:
        raise NotImplementedError("conv2d is not implemented for 'Bool'")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != input.dtype:
            raise RuntimeError(
                f"conv2d: Input type ({input.dtype}) and {name} type ({tensor.dtype}) should be the same"
            )


def _check_max_pool2d(
    input: Tensor, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> None:
    if input.dim() not in (3, 4):
        raise RuntimeError(
            f"max_pool2d: non-empty 3D or 4D (batch mode) tensor expected for input, "
            f"but got input of size: {_size(input)}"
        )
    if 0 in input.shape[-3:]:
        raise RuntimeError(
            f"Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, "
            f"but got:{_size(input)}"
        )
    if input.dtype == torch.bool or input.dtype.is_complex:
        raise NotImplementedError(f"max_pool2d is not implemented for {input.dtype}")
    for name, numbers in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        if min(numbers) <= 0:
            raise RuntimeError(f"max_pool2d: {name} should be greater than zero, but got {numbers}")
    if min(padding) < 0:
        raise RuntimeError(f"max_pool2d: pad must be non-negative, but got pad: {padding}")
    if any(padding[axis] > kernel_size[axis] // 2 for axis in (0, 1)):
        raise RuntimeError(
            f"max_pool2d: pad should be at most half of the kernel size, "
            f"but got {padding=}, {kernel_size=} and {dilation=}"
        )
    window = Window(kernel_size, stride, ((padding[0],) * 2, (padding[1],) * 2), dilation)
    size = window.output_size((input.shape[-2], input.shape[-1]), ceil_mode)
    if min(size) < 1:
        raise RuntimeError(
            f"Given input size: {_size(input)}. Calculated output size: {size}. Output size is too small"
        )


def _size(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
