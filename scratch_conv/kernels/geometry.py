"""The window arithmetic that every sliding-window operation shares.

Everything here is integer arithmetic on sizes, or a view of an array: no data is computed. The arithmetic
also accepts symbolic integers, so that shapes can be propagated without data.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
"""((top, bottom), (left, right)): how many rows and columns are added on each side."""


def reach(kernel_size: int, dilation: int) -> int:
    """Give the number of pixels from the first tap of a dilated kernel to its last, both included."""
    return dilation * (kernel_size - 1) + 1


def output_size(
    size: int, kernel_size: int, stride: int, padding: Pair, dilation: int, ceil_mode: bool = False
) -> int:
    """Count the positions of a window along one axis.

    With `ceil_mode` a last window may hang over the end of the padded axis, but only if it starts inside
    the input or the padding before it (`torch.nn.MaxPool2d`, note on ceil_mode).
    """
    before, after = padding
    room = size + before + after - reach(kernel_size, dilation)
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count


def same_padding(kernel_size: int, dilation: int) -> Pair:
    """Give the padding that keeps an axis's size at stride 1; an uneven pixel goes to the end."""
    total = dilation * (kernel_size - 1)
    return total // 2, total - total // 2


def windows(padded: Array, kernel_size: Pair, stride: Pair, dilation: Pair, output_size: Pair) -> Array:
    """View (N, C, H, W) as (N, C, KH, KW, OH, OW): for each tap of the kernel, the pixels under it.

    No data is copied. Pixels under several windows appear several times; within one tap no pixel appears
    twice, so `windows(...)[:, :, kh, kw] += ...` is safe.
    """
    n, c, h, w = padded.strides
    return as_strided(
        padded,
        shape=(*padded.shape[:2], *kernel_size, *output_size),
        strides=(n, c, h * dilation[0], w * dilation[1], h * stride[0], w * stride[1]),
    )


def pad(x: Array, padding: Padding, value: float = 0) -> Array:
    """Surround the pictures of (N, C, H, W) with `value`; without padding, `x` itself is returned."""
    (top, bottom), (left, right) = padding
    if not (top or bottom or left or right):
        return x
    n, c, h, w = x.shape
    padded = np.full((n, c, top + h + bottom, left + w + right), value, dtype=x.dtype)
    padded[:, :, top : top + h, left : left + w] = x
    return padded


def unpadded(padded: Array, padding: Padding, size: Pair) -> Array:
    """View the pictures of `size` (H, W) inside their padding: the transpose of `pad` with zeros."""
    (top, _), (left, _) = padding
    return padded[:, :, top : top + size[0], left : left + size[1]]
