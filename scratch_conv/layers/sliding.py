"""The layers' arguments for a sliding window."""

from typing import Any

import numpy as np

from scratch_conv.kernels import Window
from scratch_conv.kernels.windows import Pair, same_padding
from scratch_conv.layers.layer import Layer

__all__ = ["Size", "output_size", "pair", "pooling_window", "sliding_window"]

Size = int | tuple[int, int]
"""One number for rows and columns, or one for each."""


def sliding_window(kernel_size: Size, stride: Size, padding: Size | str, dilation: Size = 1) -> Window:
    """Return the window of a layer.

    Raises:
        ValueError: an argument is too small, or neither a number, nor a pair, nor "same" or "valid".
    """
    taps, steps = pair("kernel_size", kernel_size, least=1), pair("dilation", dilation, least=1)
    strides = pair("stride", stride, least=1)
    if padding == "same":
        if strides != (1, 1):
            raise ValueError(f"padding='same' keeps the size of the image, which stride={stride} does not")
        return Window(taps, strides, tuple(map(same_padding, taps, steps)), steps)
    margins = pair("padding", 0 if padding == "valid" else padding, least=0)
    return Window(taps, strides, tuple(zip(margins, margins, strict=True)), steps)


def pooling_window(kernel_size: Size, stride: Size, padding: Size, dilation: Size = 1) -> Window:
    """Return the window of a pooling layer; as in torch, each position covers some pixels.

    Raises:
        ValueError: an argument is too small, or the padding over half the window.
    """
    window = sliding_window(kernel_size, stride, padding, dilation)
    if any(sides[0] > taps // 2 for taps, sides in zip(window.kernel_size, window.padding, strict=True)):
        raise ValueError(f"padding must be at most half of {kernel_size=}; got {padding}")
    return window


def pair(name: str, value: Any, least: int) -> Pair:
    """Return one number as a pair, and a pair as it is.

    Raises:
        ValueError: it is neither, or too small.
    """
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(each, (int, np.integer)) and each >= least for each in both):
        raise ValueError(f"{name} must be an integer of at least {least}, or a pair of them; got {value!r}")
    return int(both[0]), int(both[1])


def output_size(layer: Layer, window: Window, size: Pair, ceil_mode: bool = False) -> Pair:
    """Return the number of positions of a window on images of a size.

    Raises:
        ValueError: there is none.
    """
    rows, columns = window.output_size(size, ceil_mode)
    if min(rows, columns) < 1:
        raise ValueError(f"{layer!r}: does not fit into an image of {size[0]}x{size[1]}")
    return rows, columns
