"""Which algorithm computes a convolution: `_fastest` has the rules, each with what it saves as measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import prod
from types import ModuleType

import numpy as np

from scratch_conv.kernels.convolution import banded, im2col, mec, winograd
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.windows import Array, Pair, Window

ALGORITHMS: dict[str, ModuleType] = {
    "im2col": im2col,
    "mec": mec,
    "banded": banded,
    "winograd": winograd,
}

_ENOUGH_FOR_WINOGRAD = 32
"""Channels, output channels and tiles from which on Winograd is used.

With fewer of any, the transforms cost more than they save. And from there on its error is covered by the
bound of a direct sum, gamma_K Σ|x||w|: the largest of a quarter of a million errors was 82 times that at 3
channels, 1.3 at 8, 0.14 at 32 and 0.03 at 128 (normally distributed numbers, those of the pictures cut off
below zero). That is no promise for numbers of very different size next to each other; the bound that holds
for all is in `winograd`.
"""

_SMALL = 2**16
"""So many numbers, or fewer, im2col copies in less time than the other algorithms need to get started."""

_FEW_OUTPUTS = 96, 256
"""Of a strided convolution, so many outputs a picture are the columns of a product of their own.

Of fewer, MEC puts those of several pictures side by side; of more, copying columns takes longer.
"""

_NARROW = 28
"""Up to so many columns, banded matrices are less work than a pass over the pixels for each tap."""

_MANY_ROWS = 64
"""From so many rows on, of all pictures, a product with such a matrix takes longer than to call it."""

_forced: ModuleType | None = None
_winograd_enabled = True


def conv2d(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW), adding bias (O,)."""
    size = window.output_size((x.shape[2], x.shape[3]))
    shapes = Shapes(len(x), x.shape[1], len(w), (x.shape[2], x.shape[3]), size, window, groups, x.dtype)
    return _algorithm(shapes, im2col, w, x).conv2d(x, w, bias, window, groups)


def conv2d_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to w (O, C/G, KH, KW)."""
    n, outs, *size = grad_output.shape
    input_size = x.shape[2], x.shape[3]
    shapes = Shapes(n, x.shape[1], outs, input_size, (size[0], size[1]), window, groups, x.dtype)
    return _algorithm(shapes, im2col, grad_output, x).conv2d_grad_weight(grad_output, x, window, groups)


def conv2d_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to x (N, C, H, W) of `input_size` (H, W)."""
    n, outs, *size = grad_output.shape
    shapes = Shapes(n, w.shape[1] * groups, outs, input_size, (size[0], size[1]), window, groups, w.dtype)
    algorithm = _algorithm(shapes, mec, w, grad_output)
    return algorithm.conv2d_grad_input(grad_output, w, input_size, window, groups)


@contextmanager
def convolution_algorithm(name: str) -> Iterator[None]:
    """Compute every convolution in the block that the named algorithm accepts by that algorithm.

    Raises:
        KeyError: there is no algorithm of that name.
    """
    global _forced
    before, _forced = _forced, ALGORITHMS[name]
    try:
        yield
    finally:
        _forced = before


def enable_winograd(enabled: bool) -> None:
    """Allow or forbid Winograd's algorithm, in the whole process; see also `using_winograd`.

    It is allowed at first, and makes many convolutions of 3x3 faster. Its error, though within a bound of
    its own (see `winograd`), is a few times that of direct sums, and depends on all pixels near an output,
    not on those alone that it is a sum of. Where an operand holds whole numbers only, sums are direct in any
    case: shifts and counts stay exact.

    Raises:
        TypeError: `enabled` is no bool.
    """
    if not isinstance(enabled, bool):
        raise TypeError(f"expected True or False, got {enabled!r}")
    global _winograd_enabled
    _winograd_enabled = enabled


def winograd_enabled() -> bool:
    """Tell whether Winograd's algorithm is allowed."""
    return _winograd_enabled


@contextmanager
def using_winograd(enabled: bool) -> Iterator[None]:
    """Allow or forbid Winograd's algorithm within the block; see `enable_winograd`.

    That goes for all threads, as the flags of `torch.backends` do: use it in one at a time.
    """
    before = _winograd_enabled
    enable_winograd(enabled)
    try:
        yield
    finally:
        enable_winograd(before)


def _algorithm(shapes: Shapes, if_small: ModuleType, *operands: Array) -> ModuleType:
    if _forced is not None and _forced.accepts(shapes):
        return _forced
    return _fastest(shapes, if_small, *operands)


def _fastest(shapes: Shapes, if_small: ModuleType, *operands: Array) -> ModuleType:
    # 1.0 to 1.4 times as fast as MEC, 2 to 5 times where pictures are of few pixels.
    if im2col.is_pointwise(shapes.window):
        return im2col
    # 1.0 to 2 times as fast as MEC, but for the gradient of the input.
    if _columns(shapes) <= _SMALL:
        return if_small
    # 1.1 to 1.7 times as fast as MEC.
    if _strided_to_few(shapes):
        return im2col
    # 1.2 to 2.4 times as fast as MEC; with one thread 0.75 to 1 times from 20 columns on.
    if banded.accepts(shapes) and _narrow_with_many_rows(shapes):
        return banded
    # 1.2 to 2 times as fast as MEC, where there is enough of everything.
    if _winograd_enabled and winograd.accepts(shapes) and _enough_for_winograd(shapes):
        # Whole numbers are masks, impulses, shifts or counts, of which people expect exact results.
        return mec if any(map(_are_whole, operands)) else winograd
    return mec


def _columns(shapes: Shapes) -> int:
    """Count the numbers that im2col copies."""
    return shapes.batch * shapes.channels * prod(shapes.window.kernel_size) * prod(shapes.output_size)


def _strided_to_few(shapes: Shapes) -> bool:
    first, last = _FEW_OUTPUTS
    return shapes.window.stride != (1, 1) and shapes.groups == 1 and first <= prod(shapes.output_size) <= last


def _narrow_with_many_rows(shapes: Shapes) -> bool:
    rows = shapes.batch * shapes.output_size[0]
    return shapes.input_size[1] <= _NARROW and rows >= _MANY_ROWS


def _enough_for_winograd(shapes: Shapes) -> bool:
    tiles = shapes.batch * winograd.tiles_of(shapes)
    return min(shapes.channels, shapes.out_channels, tiles) >= _ENOUGH_FOR_WINOGRAD


def _are_whole(operand: Array) -> bool:
    """Tell whether all are whole numbers: other data show it soon, most in their first plane."""
    blocks = chain([operand[:1, :1]], operand)
    return all(bool((block == np.rint(block)).all()) for block in blocks)
