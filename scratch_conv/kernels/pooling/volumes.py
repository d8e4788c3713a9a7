"""Max pooling of volumes: in each slice, then over the slices of what is left.

    y[n, c, o, p, q] = max_i max_{j, k} x[n, c, o·stride + i·dilation - padding, ...]

An index is that of the slice, and of the pixel in that slice: among equal maxima the first in reading order,
among NaN the last, as in each of the steps.

Shapes: x (N, C, D, H, W), y and indices (N, C, OD, OH, OW); an index is (slice · H + row) · W + column,
int32.
"""

import math
from collections.abc import Callable

import numpy as np

from scratch_conv.kernels.pooling.adaptive_maximum import adaptive_max_pool2d
from scratch_conv.kernels.pooling.maximum import max_pool2d
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Size, Window, axis_blocks

__all__ = ["adaptive_max_pool3d", "max_pool3d"]

_BLOCK_BYTES = 2**20


def max_pool3d(x: Array, window: Window, ceil_mode: bool) -> tuple[Array, Array]:
    """Return the maximum y (N, C, OD, OH, OW) under each window of x (N, C, D, H, W), and its index.

    Where all is padding or -inf, y is -inf. The index of a window without any tap in x is ~index.

    Raises:
        ValueError: A volume has more pixels than int32 has indices for.
    """
    kernel_size, stride, padding, dilation = window
    in_plane = Window(kernel_size[1:], stride[1:], padding[1:], dilation[1:])
    over_depth = Window((kernel_size[0], 1), (stride[0], 1), (padding[0], (0, 0)), (dilation[0], 1))
    y, indices = _maxima(
        x,
        lambda slices: max_pool2d(slices, in_plane, ceil_mode),
        lambda maxima: max_pool2d(maxima, over_depth, ceil_mode),
        window.output_size(x.shape[2:], ceil_mode),
    )
    met = _met(window, x.shape[2:], y.shape[2:])
    if met is not None:
        indices[..., ~met] = ~indices[..., ~met]
    return y, indices


def adaptive_max_pool3d(x: Array, output_size: Size) -> tuple[Array, Array]:
    """Return the maxima y (N, C, OD, OH, OW) in each bin of x (N, C, D, H, W), and their indices.

    Bins are those of `adaptive_max_pool2d`, along three axes.

    Raises:
        ValueError: A volume has more pixels than int32 has indices for.
    """
    depth, height, width = output_size
    if output_size == (1, 1, 1):
        y, indices = adaptive_max_pool2d(x.reshape(*x.shape[:2], 1, math.prod(x.shape[2:])), (1, 1))
        return y.reshape(*y.shape, 1), indices.reshape(*y.shape, 1)
    return _maxima(
        x,
        lambda slices: adaptive_max_pool2d(slices, (height, width)),
        lambda maxima: adaptive_max_pool2d(maxima, (depth, height * width)),
        output_size,
    )


_Pooling = Callable[[Array], tuple[Array, Array]]


def _maxima(x: Array, in_slices: _Pooling, over_slices: _Pooling, output_size: Size) -> tuple[Array, Array]:
    """Pool images (N, C · D, H, W), then what is left of each, (N, C, D, OH · OW)."""
    n, c, depth, height, width = x.shape
    if depth * height * width > 2**31:
        raise ValueError(f"max_pool3d: expected volumes of at most 2**31 pixels, got {x.shape[2:]}")
    maxima, places = in_slices(x.reshape(n, c * depth, height, width))
    outputs = math.prod(output_size[1:])
    y, indices = over_slices(maxima.reshape(n, c, depth, outputs))
    flat_places = places.reshape(n * c, depth * outputs)
    flat_indices = indices.reshape(n * c, output_size[0], outputs)
    numbers = np.arange(outputs, dtype=np.int32)

    def work(some: slice) -> None:
        for of_volume, chosen in zip(flat_places[some], flat_indices[some], strict=True):
            in_slice = of_volume.take(chosen, mode="clip")
            chosen -= numbers
            chosen //= np.int32(outputs)
            chosen *= np.int32(height * width)
            chosen += in_slice

    if indices.size:
        parallel(work, axis_blocks(n * c, flat_places[:1].nbytes, _BLOCK_BYTES))
    return y.reshape(n, c, *output_size), indices.reshape(n, c, *output_size)


def _met(window: Window, input_size: Size, output_size: Size) -> Array | None:
    """Return which windows (OD, OH, OW) meet the volume, None for all. Dilated, one may step over it."""
    if window.dilation == (1, 1, 1):
        return None  # as the padding is at most half a window
    met = []
    for axis, (size, count) in enumerate(zip(input_size, output_size, strict=True)):
        under = [window.under(axis, position, size)[1] for position in range(count)]
        met.append(np.array([pixels.start is not None for pixels in under], np.bool_))
    depth, height, width = met
    if depth.all() and height.all() and width.all():
        return None
    return np.multiply.outer(np.multiply.outer(depth, height), width)
