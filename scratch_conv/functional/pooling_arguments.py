"""Arguments of pooling along any number of axes, parsed and checked as torch does."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from scratch_conv.functional import arguments
from scratch_conv.functional.calling import size_of
from scratch_conv.kernels.windows import Size, Window


def stride(function: str, stride: Any, kernel_size: Size) -> Size:
    """Return the stride, which is the kernel_size where it is left out."""
    if stride is None or (isinstance(stride, (tuple, list)) and not stride):
        return kernel_size
    return arguments.integers(function, "stride", stride, len(kernel_size))


def sides(padding: Size) -> tuple[int, ...]:
    """Return the padding before and after each axis, as operators take it."""
    return tuple(side for each in padding for side in (each, each))


def pooled_size(
    function: str,
    input: Tensor,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
) -> Size:
    """Return the output's size, (OH, OW) of images, or refuse what torch cannot pool.

    Raises:
        RuntimeError: shapes or numbers do not fit.
    """
    axes = len(kernel_size)
    expected = f"{axes + 1}D or {axes + 2}D (batch mode) tensor"
    if input.dim() not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"{function}: non-empty {expected} expected for input, but got input of size: {size_of(input)}"
        )
    if 0 in input.shape[-axes - 1 :]:
        raise RuntimeError(
            f"Expected {expected} with optional 0 dim batch size for input, but got:{size_of(input)}"
        )
    for name, numbers in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        if name == "stride" and 0 in numbers:
            raise RuntimeError(f"{function}: stride should not be zero")
        if min(numbers) <= 0:
            raise RuntimeError(f"{function}: {name} should be greater than zero, but got {numbers}")
        if max(numbers) >= 2**31:
            raise RuntimeError(f"{function}: integer out of range: {name}={numbers}")
    if min(padding) < 0:
        raise RuntimeError(f"{function}: pad must be non-negative, but got pad: {padding}")
    if any(pad > taps // 2 for pad, taps in zip(padding, kernel_size, strict=True)):
        raise RuntimeError(
            f"{function}: pad should be at most half of the kernel size, "
            f"but got {padding=}, {kernel_size=} and {dilation=}"
        )
    window = Window(kernel_size, stride, tuple((pad, pad) for pad in padding), dilation)
    size = window.output_size(tuple(input.shape[-axes:]), ceil_mode)
    if min(size) < 1:
        raise RuntimeError(
            f"Given input size: {size_of(input)}. Calculated output size: {size}. Output size is too small"
        )
    return size


def adaptive_size(function: str, input: Tensor, output_size: Any, axes: int) -> tuple[Any, ...]:
    """Return the output's size, with the input's in place of None.

    Raises:
        TypeError: it is neither an int nor a collection of ints.
        ValueError: the input has no more dimensions than the output_size has numbers.
        RuntimeError: the output_size has not as many numbers as there are axes, or a negative one.
    """
    if isinstance(output_size, (int, torch.SymInt)):
        size = arguments.integers(function, "output_size", output_size, axes)
    elif not isinstance(output_size, Collection):  # a tuple, a set, a tensor, an array
        raise TypeError(
            f"{function}(): argument 'output_size' must be int or tuple of ints, "
            f"not {type(output_size).__name__}"
        )
    else:
        sizes = list(output_size)
        if input.dim() <= len(sizes):
            raise ValueError(
                f"{function}: Input dimension should be at least {len(sizes) + 1} "
                f"for {output_size=}, but got input of size: {size_of(input)}"
            )
        if len(sizes) == axes:
            own = input.shape[-axes:]
            sizes = [length if size is None else size for size, length in zip(sizes, own, strict=True)]
        size = arguments.integers(function, "output_size", sizes, axes)
        if len(sizes) != axes:
            raise RuntimeError(f"{function}: output_size must be {axes} numbers, but got {output_size=}")
    if min(size) < 0:
        raise RuntimeError(
            f"{function}: elements of output_size must be greater than or equal to 0, but received {size}"
        )
    return size


def binned(function: str, input: Tensor, axes: int, positive: int) -> None:
    """Refuse what torch cannot cut into bins along its last axes.

    Args:
        function: the name of the function.
        input: the tensor.
        axes: how many axes are cut.
        positive: how many of the last axes may not be empty.

    Raises:
        RuntimeError: as torch does.
    """
    if input.dim() not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"{function}(): Expected {axes + 1}D or {axes + 2}D tensor, "
            f"but got input of size: {size_of(input)}"
        )
    if 0 in input.shape[1:][-positive:]:
        raise RuntimeError(
            f"{function}(): Expected input to have non-zero size for non-batch dimensions, "
            f"but input has sizes {size_of(input)}"
        )


def averaged(function: str, input: Tensor, axes: int) -> None:
    """Refuse what torch cannot average along its last axes, for an output of size 1: a mean, of any shape.

    Raises:
        IndexError: there are fewer axes.
        RuntimeError: the input is of integers.
    """
    if input.dim() < axes:
        raise IndexError(f"{function}: expected {axes} axes at least, but got size {size_of(input)}")
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        raise RuntimeError(
            f"{function}: expected input of a floating point or complex dtype, but got {input.dtype}"
        )
