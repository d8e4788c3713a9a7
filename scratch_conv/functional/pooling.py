"""Pooling."""

from typing import Any

import torch
from torch import Tensor

from scratch_conv import arguments
from scratch_conv.autograd import MaxPool2d, call, max_pool2d_indices
from scratch_conv.functional.calling import IntOrPair, overridable, size_of
from scratch_conv.kernels.geometry import Pair, Window


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


def _check_max_pool2d(
    input: Tensor, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> None:
    if input.dim() not in (3, 4):
        raise RuntimeError(
            f"max_pool2d: non-empty 3D or 4D (batch mode) tensor expected for input, "
            f"but got input of size: {size_of(input)}"
        )
    if 0 in input.shape[-3:]:
        raise RuntimeError(
            f"Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, "
            f"but got:{size_of(input)}"
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
            f"Given input size: {size_of(input)}. Calculated output size: {size}. Output size is too small"
        )
