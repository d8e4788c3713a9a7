"""Images as columns of blocks, and back."""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import Col2Im, Im2Col, builtins_of, call, reshaped
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import IntOrPair, overridable, replaces, size_of
from scratch_conv.kernels.windows import Pair, Window

__all__ = ["fold", "unfold"]


@replaces(F.unfold, *builtins_of(F.unfold))
@overridable
def unfold(
    input: Tensor,
    kernel_size: IntOrPair,
    dilation: IntOrPair = 1,
    padding: IntOrPair = 0,
    stride: IntOrPair = 1,
) -> Tensor:
    """Return the blocks under a sliding window as columns (im2col), as `torch.nn.functional.unfold` does.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch; floating point, complex or bool.
        kernel_size: the window, in taps; one int or two (vertical, horizontal).
        dilation: distance between the taps, in pixels; one int or two.
        padding: zeros on each side, in pixels; one int or two.
        stride: steps of the window, in pixels; one int or two.

    Returns:
        (N, C·KH·KW, L) or (C·KH·KW, L), contiguous: a column for each of the L positions of the window.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit, or the input is not on the CPU.
        IndexError: the input has fewer than three dimensions.
        NotImplementedError: it is of whole numbers.
    """
    arguments.tensors("unfold", input=input)
    numbers = _window_of("unfold", kernel_size, dilation, padding, stride)
    if input.dim() < 3:
        raise IndexError(f"unfold: Dimension out of range, with input of size {size_of(input)}")
    if input.dim() > 4 or 0 in input.shape[input.dim() - 3 :]:
        raise RuntimeError(
            f"unfold: Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {size_of(input)}"
        )
    blocks = _blocks((input.shape[-2], input.shape[-1]), *numbers)
    if min(blocks) < 1:
        raise RuntimeError(
            f"unfold: Given input with spatial size {tuple(input.shape[-2:])}, {kernel_size=}, {dilation=}, "
            f"{padding=}, calculated shape of the array of sliding blocks as {blocks}, but its components "
            f"must be at least one."
        )
    arguments.output_size("unfold", *(size or 1 for size in input.shape[:-2]), *numbers[0], *blocks)
    _check_dtype("unfold", input)
    batched = input if input.dim() == 4 else input.unsqueeze(0)
    output: Tensor = call(Im2Col, batched, *numbers)
    return output if input.dim() == 4 else reshaped(output, output.shape[1:])


@replaces(F.fold, *builtins_of(F.fold))
@overridable
def fold(
    input: Tensor,
    output_size: IntOrPair,
    kernel_size: IntOrPair,
    dilation: IntOrPair = 1,
    padding: IntOrPair = 0,
    stride: IntOrPair = 1,
) -> Tensor:
    """Add up overlapping blocks into images (col2im), as `torch.nn.functional.fold` does.

    Args:
        input: (N, C·KH·KW, L), or (C·KH·KW, L) without a batch; floating point, complex or bool.
        output_size: H and W; one int or two.
        kernel_size: the window of the `unfold` of which this is the transpose; one int or two.
        dilation: its dilation; one int or two.
        padding: its padding; one int or two.
        stride: its stride; one int or two.

    Returns:
        (N, C, H, W) or (C, H, W), contiguous.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or numbers do not fit, or the input is not on the CPU.
        NotImplementedError: the input is of whole numbers.
    """
    arguments.tensors("fold", input=input)
    size = _pair("fold", "output_size", output_size)
    numbers = _window_of("fold", kernel_size, dilation, padding, stride)
    if input.dim() not in (2, 3) or 0 in input.shape[input.dim() - 2 :]:
        raise RuntimeError(
            f"fold: Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero "
            f"dimensions for input, but got: {size_of(input)}"
        )
    if min(size) < 1:
        raise RuntimeError(f"fold: Expected output spatial size to be positive, but got: {output_size=}")
    rows, columns = input.shape[-2:]
    if rows % math.prod(numbers[0]):
        raise RuntimeError(
            f"fold: Expected size of input's dimension 1 to be divisible by the product of kernel_size, but "
            f"got {rows} rows and {kernel_size=}"
        )
    blocks = _blocks(size, *numbers)
    if min(blocks) < 1 or math.prod(blocks) != columns:
        raise RuntimeError(
            f"fold: Given {output_size=}, {kernel_size=}, {dilation=}, {padding=}, {stride=}, expected size "
            f"of input's dimension 2 to match the calculated number of sliding blocks {blocks}, but got "
            f"{columns}"
        )
    arguments.output_size("fold", *(each or 1 for each in (*input.shape[:-1], *size)))
    _check_dtype("fold", input)
    batched = input if input.dim() == 3 else input.unsqueeze(0)
    output: Tensor = call(Col2Im, batched, size, *numbers)
    return output if input.dim() == 3 else reshaped(output, output.shape[1:])


def _pair(function: str, name: str, value: Any) -> Pair:
    """Return an int, or what holds two of them, as two."""
    given = tuple(value) if isinstance(value, Iterable) else (value, value)
    numbers = arguments.shape(function, name, given)
    if len(numbers) != 2:
        raise RuntimeError(f"{function}: It is expected {name} equals to 2, but got {name}={value!r}")
    return numbers[0], numbers[1]


def _window_of(function: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> list[Pair]:
    """Return what describes a window as pairs, or refuse it."""
    given = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    pairs = {name: _pair(function, name, value) for name, value in given.items()}
    for name, numbers in pairs.items():
        if min(numbers) < (0 if name == "padding" else 1):
            least = "non-negative" if name == "padding" else "greater than zero"
            raise RuntimeError(f"{function}: {name} should be {least}, but got {name}={numbers}")
    return list(pairs.values())


def _blocks(size: Pair, kernel_size: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Pair:
    """Return how many blocks there are, along both axes."""
    return Window(kernel_size, stride, ((padding[0],) * 2, (padding[1],) * 2), dilation).output_size(size)


def _check_dtype(function: str, input: Tensor) -> None:
    if not (input.dtype.is_floating_point or input.dtype.is_complex or input.dtype == torch.bool):
        raise NotImplementedError(f"{function} is not implemented for {input.dtype}")
