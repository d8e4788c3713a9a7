"""Shuffling: the same elements in another order. Each map is linear, and its transpose is its inverse.

    pixel_shuffle:     y[n, c, p r + i, q r + j] = x[n, (c r + i) r + j, p, q]
    channel_shuffle:   y[n, k G + g, ...] = x[n, g C/G + k, ...]

The inverse of the first is `pixel_unshuffle`, that of the second the same map with C/G groups. Shi et al.,
"Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural network"
(2016); Zhang et al., "ShuffleNet" (2017).

Shapes: images (N, C, H, W), in any order of memory; channel_shuffle of any number of axes. With
`channels_last`, y lies in memory as (N, H, W, C).
"""

from collections.abc import Callable
from itertools import product

from scratch_conv.kernels.padding import empty_images
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, plane_blocks

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]

_BLOCK_BYTES = 2**20
"""The results of a block take so much memory, which stays in the core's own cache."""


def pixel_shuffle(x: Array, factor: int, channels_last: bool = False) -> Array:
    """Return y (N, C, H·r, W·r) for x (N, C·r², H, W)."""
    n, channels, height, width = x.shape
    shape = (n, channels // factor**2, height * factor, width * factor)
    y = empty_images(shape, x.dtype, channels_last)
    few, many = _by_pixel(y, factor), _by_channel(x, factor)

    def work(block: tuple[slice, ...]) -> None:
        for i, j in product(range(factor), repeat=2):
            few[block][..., i, :, j] = many[block][:, :, i, j]

    _over_blocks(work, y, channels_last)
    return y


def pixel_unshuffle(x: Array, factor: int, channels_last: bool = False) -> Array:
    """Return y (N, C·r², H, W) for x (N, C, H·r, W·r)."""
    n, channels, height, width = x.shape
    shape = (n, channels * factor**2, height // factor, width // factor)
    y = empty_images(shape, x.dtype, channels_last)
    few, many = _by_pixel(x, factor), _by_channel(y, factor)

    def work(block: tuple[slice, ...]) -> None:
        for i, j in product(range(factor), repeat=2):
            many[block][:, :, i, j] = few[block][..., i, :, j]

    _over_blocks(work, x, channels_last)
    return y


def channel_shuffle(x: Array, groups: int, channels_last: bool = False) -> Array:
    """Return y of the shape (N, C, ...) of x."""
    n, channels, *sizes = x.shape
    y = empty_images(x.shape, x.dtype, channels_last)
    by_group = x.reshape(n, groups, channels // groups, *sizes)
    by_place = y.reshape(n, channels // groups, groups, *sizes)

    def work(block: tuple[slice, ...]) -> None:
        by_place[block] = by_group[block].swapaxes(1, 2)

    parallel(work, plane_blocks(x.shape[:1], x.nbytes, _BLOCK_BYTES))
    return y


def _by_pixel(few: Array, factor: int) -> Array:
    """View (N, C, H·r, W·r) as (N, C, H, r, W, r)."""
    n, channels, height, width = few.shape
    return few.reshape(n, channels, height // factor, factor, width // factor, factor)


def _by_channel(many: Array, factor: int) -> Array:
    """View (N, C·r², H, W) as (N, C, r, r, H, W)."""
    n, channels, height, width = many.shape
    return many.reshape(n, channels // factor**2, factor, factor, height, width)


def _over_blocks(work: Callable[[tuple[slice, ...]], None], few: Array, channels_last: bool) -> None:
    """Call `work` on blocks of images, or of their fewer channels where these are not last in memory."""
    leading = few.shape[:1] if channels_last else few.shape[:2]
    parallel(work, plane_blocks(leading, few.nbytes, _BLOCK_BYTES))
