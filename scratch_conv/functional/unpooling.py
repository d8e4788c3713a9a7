"""Max unpooling: the partial inverse of max pooling, by its indices."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import MaxUnpool, call, is_channels_last, reshaped
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import IntOrPair, autocast_to_float32, overridable, replaces, size_of
from scratch_conv.kernels.windows import Size

__all__ = ["max_unpool1d", "max_unpool2d", "max_unpool3d"]


@replaces(F.max_unpool1d)
@overridable
def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put each element at its index, as `torch.nn.functional.max_unpool1d` does.

    Args:
        input: (N, C, L), or (C, L) without a batch; floating point.
        indices: int64, in the shape of the input, from 0 to OL - 1.
        kernel_size: the window of the pooling that is undone; an int or a sequence of one.
        stride: its stride; the kernel_size where it is None.
        padding: its padding.
        output_size: OL alone, or after two numbers of no meaning; nearer than a stride to the default,
            (L - 1) stride + kernel_size - 2 padding.

    Returns:
        (N, C, OL) or (C, OL), contiguous, of zeros elsewhere. Where an index occurs twice, the last element
        stays (torch leaves open which); the gradient of each is the output's at its index.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the output_size does not fit, or has negative numbers.
        RuntimeError: shapes or numbers do not fit, an index is not one of the output, or a tensor is not on
            the CPU.
        NotImplementedError: the input is not floating point.
    """
    name = "max_unpool1d"
    arguments.tensors(name, input=input, indices=indices)
    size = _unpooled_size(name, input, *_numbers(1, kernel_size, stride, padding), output_size)
    # Images of one column, as in torch, whose memory format depends on that.
    return _unpool(name, input.unsqueeze(-1), indices.unsqueeze(-1), (*size, 1)).squeeze(-1)


@replaces(F.max_unpool2d)
@overridable
def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put each pixel at its index, as `torch.nn.functional.max_unpool2d` does.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch; floating point.
        indices: int64, in the shape of the input; row · OW + column of the output.
        kernel_size: the window of the pooling that is undone; one int or two.
        stride: its stride; the kernel_size where it is None.
        padding: its padding; one int or two.
        output_size: OH and OW, alone or after two numbers of no meaning; nearer than a stride to the default,
            (H - 1) stride + kernel_size - 2 padding.

    Returns:
        (N, C, OH, OW) or (C, OH, OW), of zeros elsewhere, channels_last where the input is. Where an index
        occurs twice, the last pixel stays (torch leaves open which); the gradient of each is the output's at
        its index.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the output_size does not fit, or has negative numbers.
        IndexError: a tuple has too few numbers.
        RuntimeError: shapes or numbers do not fit, an index is not one of the output, or a tensor is not on
            the CPU.
        NotImplementedError: the input is not floating point.
    """
    name = "max_unpool2d"
    arguments.tensors(name, input=input, indices=indices)
    size = _unpooled_size(name, input, *_numbers(2, kernel_size, stride, padding), output_size)
    return _unpool(name, input, indices, size)


@replaces(F.max_unpool3d)
@overridable
def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put each pixel at its index, as `torch.nn.functional.max_unpool3d` does.

    Args:
        input: (N, C, D, H, W), or (C, D, H, W) without a batch; floating point.
        indices: int64, in the shape of the input; (slice · OH + row) · OW + column of the output.
        kernel_size: the window of the pooling that is undone; one int or three.
        stride: its stride; the kernel_size where it is None.
        padding: its padding; one int or three.
        output_size: OD, OH and OW, alone or after two numbers of no meaning; nearer than a stride to the
            default, (D - 1) stride + kernel_size - 2 padding.

    Returns:
        (N, C, OD, OH, OW) or (C, OD, OH, OW), contiguous, of zeros elsewhere; of indices that occur twice as
        in `max_unpool2d`.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: the output_size does not fit, or has negative numbers.
        IndexError: a tuple has too few numbers.
        RuntimeError: shapes or numbers do not fit, an index is not one of the output, or a tensor is not on
            the CPU.
        NotImplementedError: the input is not floating point.
    """
    name = "max_unpool3d"
    arguments.tensors(name, input=input, indices=indices)
    numbers = _numbers(3, kernel_size, stride, padding)
    size = _unpooled_size(name, input, *numbers, output_size)
    for each, value in zip(("stride", "padding"), numbers[1:], strict=True):
        if len(arguments.shape(name, each, value)) != 3:
            raise RuntimeError(f"{name}: There should be exactly three elements in {each}, but got {value}")
    if min(numbers[1]) <= 0:
        raise RuntimeError(f"{name}: strides should be greater than zero, but got stride: {numbers[1]}")
    return _unpool(name, input, indices, size)


def _numbers(axes: int, kernel_size: Any, stride: Any, padding: Any) -> tuple[Any, Any, Any]:
    """Return what is not iterable for each axis; what is, as a tuple of any length, as in torch."""
    given = (kernel_size, kernel_size if stride is None else stride, padding)
    sizes, steps, sides = (tuple(each) if isinstance(each, Iterable) else (each,) * axes for each in given)
    return sizes, steps, sides


def _unpooled_size(
    name: str, input: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Size:
    """Return the output_size, or the default: that which all windows reach.

    Raises:
        TypeError: a number is none.
        ValueError: the output_size does not fit, or a number is negative.
        IndexError: there are fewer numbers of the stride or the padding than of the kernel_size.
        RuntimeError: there are not as many numbers as the function has axes.
    """
    axes = len(kernel_size)
    default = [
        (input.shape[axis - axes] - 1) * stride[axis] + kernel_size[axis] - 2 * padding[axis]
        for axis in range(axes)
    ]
    size = default
    if output_size is not None:
        size = output_size[2:] if len(output_size) == axes + 2 else output_size
        if len(size) != axes:
            raise ValueError(
                f"{name}: output_size should be a sequence containing {axes} or {axes + 2} elements, "
                f"but it has a length of {len(size)}"
            )
        for axis, near in enumerate(default):
            least, most = near - stride[axis], near + stride[axis]
            if not least < size[axis] < most:
                raise ValueError(
                    f"{name}: invalid output_size {size} (dim {axis} must be between {least} and {most})"
                )
    if any(each < 0 for each in size):
        raise ValueError(
            f"{name}: output_size must contain non-negative spatial dimensions, but got {list(size)}"
        )
    if not all(isinstance(each, (int, torch.SymInt)) for each in size):
        raise TypeError(f"{name}(): argument 'output_size' must be tuple of ints, but got {size}")
    expected = int(name[-2])
    if axes != expected:
        raise RuntimeError(f"{name}: There should be exactly {expected} elements in output_size, not {axes}")
    return arguments.shape(name, "output_size", size)


def _unpool(name: str, input: Tensor, indices: Tensor, size: Size) -> Tensor:
    axes = len(size)
    if indices.dtype != torch.int64:
        raise RuntimeError(f"{name}: elements in indices should be type int64 but got: {indices.dtype}")
    if input.dim() not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"{name}: Input should be a {axes + 1}d or {axes + 2}d Tensor, "
            f"but got a tensor with {input.dim()} dimensions."
        )
    if input.shape != indices.shape:
        raise RuntimeError(
            f"{name}: Expected shape of indices to be same as that of the input tensor ({size_of(input)}) "
            f"but got indices tensor with shape: {size_of(indices)}"
        )
    if 0 in input.shape[1:]:
        raise RuntimeError(
            f"{name}: Expected input to have non-zero size for non-batch dimensions, but got {size_of(input)}"
        )
    arguments.output_size(name, *(each or 1 for each in input.shape[:-axes]), *(each or 1 for each in size))
    input = autocast_to_float32(input)
    if not input.dtype.is_floating_point and 0 not in (*input.shape, *size):
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    if input.dim() == axes + 2:
        channels_last = axes == 2 and input.device.type != "meta" and is_channels_last(input)
        images: Tensor = call(MaxUnpool, input, indices, size, channels_last)
        return images
    output = call(MaxUnpool, input.unsqueeze(0), indices.unsqueeze(0), size, False)
    return reshaped(output, output.shape[1:])
