"""Padding."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import Pad, PadEdges, builtins_of, call, reshaped, suggests_channels_last
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, size_of

__all__ = ["pad"]

_MODES = ("constant", "reflect", "replicate", "circular")


@replaces(F.pad, *builtins_of(F.pad))
@overridable
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Surround a tensor by elements, as `torch.nn.functional.pad` does.

    Args:
        input: of any dtype, for the mode constant also of any shape; else (N, C, *) or (C, *) with one to
            three more axes, and not of bools.
        pad: how many elements to add before and after the last axis, then the one before it, and so on;
            negative numbers crop. For other modes than constant, of all axes but N and C.
        mode: constant, reflect (the input backwards, without its edge), replicate (its edge) or circular (its
            other end).
        value: what to surround it by in the mode constant; 0 where it is None.

    Returns:
        A new tensor, channels_last where the input is, but for the mode circular. Under `torch.autocast`
        float32 for half precision in the modes replicate and, of one or two axes, reflect.

    Raises:
        TypeError: an argument has a type that torch does not take.
        OverflowError: the value is an int beyond the largest float.
        RuntimeError: shapes or numbers do not fit, the value does not fit the dtype, or the input is not on
            the CPU.
        NotImplementedError: there is no such mode, or it does not pad so many axes, or bools.
    """
    arguments.tensors("pad", input=input)
    padding = arguments.shape("pad", "pad", pad)
    if not isinstance(mode, str):
        raise TypeError(f"pad(): argument 'mode' must be str, not {type(mode).__name__}")
    number = 0.0 if value is None else arguments.number("pad", "value", value)
    if mode not in _MODES:
        raise NotImplementedError(f"pad: Unrecognised padding mode {mode}")
    if len(padding) % 2:
        raise RuntimeError(f"pad: Padding length must be divisible by 2, but got pad={list(padding)}")
    if len(padding) > 2 * input.dim():
        raise RuntimeError(
            f"pad: Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(padding)} and input of dimension {input.dim()}"
        )
    if mode == "constant":
        return _constant(input, padding, number)
    if value is not None and number != 0:
        raise RuntimeError(f'pad: Padding mode "{mode}" doesn\'t take in value argument, but got {value=}')
    axes = len(padding) // 2
    if axes not in (1, 2, 3) or input.dim() not in (axes + 1, axes + 2):
        raise NotImplementedError(
            f"pad: Padding size {len(padding)} is not supported for {input.dim()}D input tensor: the mode "
            f"{mode} pads all axes of (N, C, *) or (C, *) but these, one to three"
        )
    _check_edges(input, padding, mode)
    kept = mode == "circular" or (mode == "reflect" and axes == 3)
    if input.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled("cpu") and not kept:
        input = input.float()
    channels_last = mode != "circular" and suggests_channels_last(input)
    output: Tensor = call(PadEdges, input, padding, mode, channels_last)
    return output


def _constant(input: Tensor, padding: tuple[int, ...], value: float) -> Tensor:
    axes = _padded_axes(input, padding)
    for size, before, after in axes:
        if size + min(before, 0) + min(after, 0) < 0:
            raise RuntimeError(
                f"pad: The input size {size}, plus negative padding {before} and {after} resulted in a "
                f"negative output size, which is invalid"
            )
    others = input.shape[: input.dim() - len(axes)]
    if max(padding, default=0) > 0:
        _check_value(input.dtype, value)
        arguments.output_size("pad", 1, *others, *(before + size + after for size, before, after in axes))
    if input.dim() > arguments.MOST_DIMENSIONS and len(others) > 1:
        output = _constant(input.reshape(math.prod(others), *input.shape[len(others) :]), padding, value)
        return reshaped(output, (*others, *output.shape[1:]))
    result: Tensor = call(Pad, input, padding, value, suggests_channels_last(input))
    return result


def _padded_axes(input: Tensor, padding: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return for each axis that is padded, the last one first, its size and what is added on both sides."""
    sizes = reversed(input.shape[input.dim() - len(padding) // 2 :])
    return list(zip(sizes, padding[::2], padding[1::2], strict=True))


def _check_value(dtype: torch.dtype, value: float) -> None:
    """Refuse a value that overflows in a dtype; what is not whole is cut off."""
    if dtype == torch.bool:
        return
    if dtype.is_floating_point or dtype.is_complex:
        fits = not math.isfinite(value) or abs(value) <= torch.finfo(dtype).max
    else:
        info = torch.iinfo(dtype)
        fits = info.min <= value <= info.max
    if not fits:
        raise RuntimeError(f"pad: value cannot be converted to {dtype} without overflow, but got {value=}")


def _check_edges(input: Tensor, padding: tuple[int, ...], mode: str) -> None:
    """Refuse sizes that torch cannot surround by their own elements."""
    axes, sizes = len(padding) // 2, input.shape
    batched = input.dim() == axes + 2
    if mode != "circular" and 0 in sizes[batched:]:
        raise RuntimeError(
            f"pad: Expected {axes + 1}D or {axes + 2}D (batch mode) tensor with possibly 0 batch size and "
            f"other non-zero dimensions for input, but got: {size_of(input)}"
        )
    longest = max(before + size + after for size, before, after in _padded_axes(input, padding))
    # Torch takes an empty result of reflection if it is not so along every axis.
    least = 1 if mode == "replicate" or (mode == "reflect" and longest < 1) else 0
    for size, before, after in _padded_axes(input, padding):
        if mode == "reflect" and max(before, after) >= size:
            raise RuntimeError(
                f"pad: Padding size should be less than the corresponding input dimension, but got: padding "
                f"({before}, {after}) of an axis of input {size_of(input)}"
            )
        if before + size + after < least:
            raise RuntimeError(
                f"pad: input {size_of(input)} is too small for padding {list(padding)}: "
                f"the output would have {before + size + after} elements along an axis"
            )
        kept = size + min(before, 0) + min(after, 0)
        if mode == "circular" and max(before, after) > (kept if before + size + after else size):
            raise RuntimeError(
                f"pad: Padding value causes wrapping around more than once, with padding ({before}, {after}) "
                f"of an axis of input {size_of(input)}"
            )
    arguments.output_size("pad", *(size or 1 for size in sizes), *(max(0, each) or 1 for each in padding))
    if input.dtype == torch.bool and mode != "circular":
        raise NotImplementedError(f"pad with mode {mode} is not implemented for {input.dtype}")
