"""Two-dimensional convolution by the algorithm that is fastest for its shapes.

`_fastest` has the rules, each with what it saves as measured: `python -m benchmarks.choosing` measures again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import prod

import numpy as np

from scratch_conv.kernels.convolution import banded, im2col, kn2row, mec, naive, winograd
from scratch_conv.kernels.convolution.shapes import Algorithm, Shapes
from scratch_conv.kernels.threads import get_num_threads
from scratch_conv.kernels.windows import Array, Pair, Window

__all__ = [
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "convolution_algorithm",
    "enable_winograd",
    "using_winograd",
    "winograd_enabled",
]

ALGORITHMS: dict[str, Algorithm] = {
    "im2col": im2col,
    "mec": mec,
    "kn2row": kn2row,
    "banded": banded,
    "winograd": winograd,
    "naive": naive,
}

_ENOUGH_FOR_WINOGRAD = 32
"""The fewest channels, output channels and tiles with which Winograd is used.

With fewer of any, the transforms cost more than they save. From there on its error is also covered by the
bound of a direct sum, gamma_K Σ|x||w|, where numbers next to each other are of similar size: the largest of a
quarter of a million errors was 82 times that at 3 channels, 1.3 at 8, 0.14 at 32 and 0.03 at 128 (normally
distributed numbers, those of the images cut off below zero).
"""

_ENOUGH_FOR_KN2ROW = 32
"""The fewest channels and output channels with which one product for all tap rows is faster than several."""

_FEW_PIXELS = 64
"""With at most so many pixels an image, a product of many weights with each image is slow."""

_MANY_WEIGHTS = 2**18

_SMALL = 2**16
"""The most numbers that im2col copies in less time than the other algorithms need to start."""

_FEW_OUTPUTS = 96, 256
"""The least and the most outputs of an image for which im2col computes a strided convolution.

With fewer, MEC puts those of several images side by side; with more, copying columns takes longer.
"""

_MANY_PHASES = 64
"""With more phases, for each of which MEC calls NumPy several times, copying columns takes less time."""

_NARROW = 28
"""The widest images for which banded matrices are less work than a pass over the pixels for each tap."""

_MANY_ROWS = 64
"""The fewest rows, of all images, for which a product with a banded matrix takes longer than its call."""

_forced: Algorithm | None = None
_winograd_enabled = False
"""Direct sums are the default: see `enable_winograd`."""


def conv2d(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW), adding bias (O,)."""
    size = window.output_size((x.shape[2], x.shape[3]))
    shapes = Shapes(len(x), x.shape[1], len(w), (x.shape[2], x.shape[3]), size, window, groups, x.dtype)
    return _algorithm(shapes, w, x).conv(x, w, bias, window, groups)


def conv2d_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient with respect to w (O, C/G, KH, KW)."""
    n, outs, *size = grad_output.shape
    input_size = x.shape[2], x.shape[3]
    shapes = Shapes(n, x.shape[1], outs, input_size, (size[0], size[1]), window, groups, x.dtype)
    return _algorithm(shapes, grad_output, x).conv_grad_weight(grad_output, x, window, groups)


def conv2d_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Return the gradient with respect to x (N, C, H, W) of `input_size` (H, W)."""
    n, outs, *size = grad_output.shape
    shapes = Shapes(n, w.shape[1] * groups, outs, input_size, (size[0], size[1]), window, groups, w.dtype)
    algorithm = _algorithm(shapes, w, grad_output, backwards=True)
    return algorithm.conv_grad_input(grad_output, w, input_size, window, groups)


@contextmanager
def convolution_algorithm(name: str) -> Iterator[None]:
    """Compute every convolution in the block that the named algorithm accepts by that one.

    Without images, channels or output channels there is nothing to compute, and it is not called.

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

    It makes many convolutions of 3x3 and 5x5 faster (up to 1.8 times, with many channels), and is forbidden
    by default: every convolution is then a direct sum, whose error is at most gamma_K Σ|x||w| over the K
    terms of each result, whatever the numbers are.

    Winograd's has a bound of its own (see `winograd_transforms`), which depends on all pixels near a result,
    not only on those that it is a sum of. For numbers of similar size it is a few times that of direct sums.
    But an outlier disturbs results that do not see it (next to 10^6 by 0.6 what is about 0.8), and what
    should be zero, like the gradient outside of a receptive field, is a rounding error. No look at magnitudes
    would make it safe: even where all pixels are equal, and all weights, its bound is up to nine times that
    of direct sums with 3x3 taps, fifteen times with 5x5. Where an operand holds whole numbers only, sums are
    direct.

    Raises:
        TypeError: `enabled` is not a bool.
    """
    if not isinstance(enabled, bool):
        raise TypeError(f"expected True or False, got {enabled!r}")
    global _winograd_enabled
    _winograd_enabled = enabled


def winograd_enabled() -> bool:
    """Return whether Winograd's algorithm is allowed."""
    return _winograd_enabled


@contextmanager
def using_winograd(enabled: bool) -> Iterator[None]:
    """Allow or forbid Winograd's algorithm within the block; see `enable_winograd`.

    It holds for all threads, as the flags of `torch.backends` do: use it in one thread at a time.
    """
    before = _winograd_enabled
    enable_winograd(enabled)
    try:
        yield
    finally:
        enable_winograd(before)


def _algorithm(shapes: Shapes, *operands: Array, backwards: bool = False) -> Algorithm:
    if 0 in shapes[:3]:  # nothing is summed
        return im2col
    if _forced is not None and _forced.accepts(shapes):
        return _forced
    return _fastest(shapes, *operands, backwards=backwards)


def _fastest(shapes: Shapes, *operands: Array, backwards: bool = False) -> Algorithm:
    """Return the algorithm for a convolution, or `backwards` for its gradient with respect to the input."""
    # Without a copy: 1.0 to 1.4 times as fast as MEC, 2 to 5 times where images have few pixels.
    if im2col.is_pointwise(shapes.window):
        # 0.75 of the time, 0.4 for the gradient with respect to the weights: im2col has one for each image.
        if kn2row.accepts(shapes) and _few_pixels_for_the_weights(shapes):
            return kn2row
        return im2col
    # MEC works through the rows between dilated taps, and through each phase of a stride.
    if (
        im2col.is_mostly_padding(shapes.window, shapes.input_size, shapes.output_size)
        or _phases(shapes) > _MANY_PHASES
    ):
        return im2col
    # 1.0 to 2 times as fast as MEC, except for the gradient with respect to the input.
    if _columns(shapes) <= _SMALL:
        return mec if backwards else im2col
    # 1.1 to 1.7 times as fast as MEC.
    if _strided_to_few(shapes):
        return im2col
    # 1.2 to 2.4 times as fast as MEC where the BLAS has AVX-512; else 1.3 times with 7 columns, 1.0 with
    # 14 and 0.85 with 28.
    if banded.accepts(shapes) and _narrow_with_many_rows(shapes):
        return banded
    # 0.7 to 1.8 times as fast as MEC, the more channels the faster, where there is enough of everything.
    # Whole numbers are masks, impulses, shifts or counts, whose results should be exact.
    winograd_may = _winograd_enabled and winograd.accepts(shapes) and _enough_for_winograd(shapes)
    if winograd_may and not any(map(_are_whole, operands)):
        return winograd
    # 0.9 of MEC's time (0.65 to 1.1) on an idle machine, 0.98 (0.73 to 1.3) on a busy one; 1.2 to 2 times
    # it where more rows than are made, by a quarter, are multiplied.
    if kn2row.accepts(shapes) and _enough_for_kn2row(shapes) and _similar_rows(shapes, backwards):
        return kn2row
    return mec


def _columns(shapes: Shapes) -> int:
    """Count the numbers that im2col copies."""
    return shapes.batch * shapes.channels * prod(shapes.window.kernel_size) * prod(shapes.output_size)


def _phases(shapes: Shapes) -> int:
    return prod(map(min, shapes.window.stride, shapes.window.kernel_size))


def _strided_to_few(shapes: Shapes) -> bool:
    first, last = _FEW_OUTPUTS
    return shapes.window.stride != (1, 1) and shapes.groups == 1 and first <= prod(shapes.output_size) <= last


def _narrow_with_many_rows(shapes: Shapes) -> bool:
    rows = shapes.batch * shapes.output_size[0]
    return shapes.input_size[1] <= _NARROW and rows >= _MANY_ROWS


def _enough_for_winograd(shapes: Shapes) -> bool:
    tiles = shapes.batch * winograd.tiles_of(shapes)
    return min(shapes.channels, shapes.out_channels, tiles) >= _ENOUGH_FOR_WINOGRAD


def _enough_for_kn2row(shapes: Shapes) -> bool:
    """Return whether there are tap rows, many channels, not in groups, and an image for every thread."""
    many = min(shapes.channels, shapes.out_channels) >= _ENOUGH_FOR_KN2ROW and shapes.groups == 1
    return many and shapes.window.kernel_size[0] > 1 and shapes.batch >= get_num_threads()


def _similar_rows(shapes: Shapes, backwards: bool) -> bool:
    """Return whether there are almost as many rows of results as rows that kn2row multiplies."""
    read, made = shapes.input_size[0], shapes.output_size[0]
    return 4 * made <= 5 * read if backwards else 4 * read <= 5 * made


def _few_pixels_for_the_weights(shapes: Shapes) -> bool:
    weights = shapes.channels * shapes.out_channels if shapes.groups == 1 else 0
    few = prod(shapes.output_size) <= _FEW_PIXELS and shapes.batch >= get_num_threads()
    return few and weights >= _MANY_WEIGHTS


def _are_whole(operand: Array) -> bool:
    """Return whether all are whole numbers: most other data have a fraction in their first plane."""
    blocks = chain([operand[:1, :1]], operand)
    return all(bool((block == np.rint(block)).all()) for block in blocks)
