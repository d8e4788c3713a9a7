"""Two-dimensional max pooling and its derivatives.

    y[n, c, p, q] = max_{i, j} x[n, c, p·stride + i·dilation - padding, q·stride + j·dilation - padding]

over the taps (i, j) that fall inside the picture. Pooling remembers where each maximum came from; its
derivative sends each gradient back to that place (a scatter), and the derivative of the scatter reads from
there (a gather). Scatter and gather are each other's transposes, so every order of derivative is one of them.

Shapes: x (N, C, H, W), y (N, C, OH, OW). `indices` (N, C, OH, OW), int64, are places in the flattened
picture, row · W + column, as `torch.nn.functional.max_pool2d(..., return_indices=True)` gives them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scratch_conv.kernels.geometry import Array, Padding, Pair, output_size, pad, reach, unpadded, windows


def max_pool2d(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """Take the maximum under each window of x (N, C, H, W): gives y (N, C, OH, OW) and its indices.

    Among equal maxima the first in reading order wins, and NaN wins over every number; of several NaN the
    last wins (the order in which torch compares).
    """
    size = max_pool2d_output_size((x.shape[2], x.shape[3]), kernel_size, stride, padding, dilation, ceil_mode)
    margin = _margin((x.shape[2], x.shape[3]), kernel_size, stride, padding, dilation, size)
    view = windows(pad(x, margin, _lowest(x.dtype)), kernel_size, stride, dilation, size)
    y = np.full((*x.shape[:2], *size), _lowest(x.dtype), dtype=x.dtype)
    indices = np.empty(y.shape, dtype=np.int64)
    indices[:] = _first_place_inside(x.shape[3], kernel_size, stride, padding, dilation, size)
    for (i, j), places in _places(x.shape[3], kernel_size, stride, padding, dilation, size):
        candidates = view[:, :, i, j]
        wins = (candidates > y) | (candidates != candidates)
        np.copyto(y, candidates, where=wins)
        np.copyto(indices, places, where=wins)
    return y, indices


def max_pool2d_scatter(
    grad_output: Array,
    indices: Array,
    input_size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Array:
    """Carry the gradient of y (N, C, OH, OW) back to x (N, C, H, W): dx[index] += dy.

    One pass a tap, over the gradients whose maximum that tap was: within a pass no pixel is met twice, so
    overlapping windows add up without a scattered addition.
    """
    size = (grad_output.shape[2], grad_output.shape[3])
    margin = _margin(input_size, kernel_size, stride, padding, dilation, size)
    (top, bottom), (left, right) = margin
    padded = np.zeros(
        (*grad_output.shape[:2], top + input_size[0] + bottom, left + input_size[1] + right),
        dtype=grad_output.dtype,
    )
    view = windows(padded, kernel_size, stride, dilation, size)
    for (i, j), places in _places(input_size[1], kernel_size, stride, padding, dilation, size):
        pixels = view[:, :, i, j]
        np.add(pixels, grad_output, out=pixels, where=indices == places)
    return unpadded(padded, margin, input_size)


def max_pool2d_gather(x: Array, indices: Array) -> Array:
    """Read x (N, C, H, W) where the maxima were: gives y (N, C, OH, OW), y = x[index]."""
    flat = x.reshape(*x.shape[:2], -1)
    places = indices.reshape(*indices.shape[:2], -1)
    return np.take_along_axis(flat, places, axis=2).reshape(indices.shape)


def max_pool2d_output_size(
    input_size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Pair:
    """Give (OH, OW) for pictures of `input_size` (H, W)."""
    height, width = (
        output_size(
            input_size[axis],
            kernel_size[axis],
            stride[axis],
            (padding[axis], padding[axis]),
            dilation[axis],
            ceil_mode,
        )
        for axis in (0, 1)
    )
    return height, width


def _margin(
    input_size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, size: Pair
) -> Padding:
    """Give the padding with which every window lies inside, those hanging over the end too."""
    ends = [
        (size[axis] - 1) * stride[axis] + reach(kernel_size[axis], dilation[axis]) - padding[axis]
        for axis in (0, 1)
    ]
    return (
        (padding[0], max(padding[0], ends[0] - input_size[0])),
        (padding[1], max(padding[1], ends[1] - input_size[1])),
    )


def _places(
    width: int, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, size: Pair
) -> Iterator[tuple[Pair, Array]]:
    """For each tap, in reading order: its position in the kernel, and the indices (OH, OW) that it reads."""
    rows = np.arange(size[0], dtype=np.int64) * stride[0] - padding[0]
    columns = np.arange(size[1], dtype=np.int64) * stride[1] - padding[1]
    for i, j in np.ndindex(*kernel_size):
        yield (i, j), (rows[:, None] + i * dilation[0]) * width + columns + j * dilation[1]


def _first_place_inside(
    width: int, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, size: Pair
) -> Array:
    """Give the first index (OH, OW) of each window that is not padding: what wins if all is -inf."""
    rows, columns = (
        _first_inside(np.arange(size[axis], dtype=np.int64) * stride[axis] - padding[axis], dilation[axis])
        for axis in (0, 1)
    )
    return rows[:, None] * width + columns


def _first_inside(starts: Array, dilation: int) -> Array:
    """Move each start before the picture forward, in steps of `dilation`, to its first place inside."""
    steps = -(np.minimum(starts, 0) // dilation)
    return starts + steps * dilation


def _lowest(dtype: np.dtype[Any]) -> Any:
    """Give the value that every other of this dtype beats or equals."""
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
