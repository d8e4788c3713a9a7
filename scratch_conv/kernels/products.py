"""Products of two arrays, summed: derivatives of higher order consist of them.

    c = Σ factor · a · b     summed over the axes on which c has the size 1 and a or b more

It is linear in a and in b, and its derivatives are products of the same kind:

    da = Σ factor · dc · b   summed to the shape of a,      db = Σ factor · dc · a   to the shape of b

Shapes: a, b and c have the same number of axes; on every axis each has either the full size or 1.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scratch_conv.kernels.sums import summed
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, axis_blocks

__all__ = ["summed_product"]

_SMALL = 2**13
"""So few products are summed as a whole, in less time than it takes to cut them into blocks."""

_BLOCK_BYTES = 2**20
"""The products of a block stay in the core's own cache until they are summed."""


def summed_product(a: Array, b: Array, shape: Sequence[int], factor: float) -> Array:
    """Return factor · a · b, summed or repeated to the given shape."""
    full = np.broadcast_shapes(a.shape, b.shape)
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1 and full[axis] != 1)
    with np.errstate(all="ignore"):
        if axes and math.prod(full) > _SMALL:
            product = summed(_sums_of_blocks(a, b, full, axes), axes)
        else:
            product = np.multiply(a, b)
            product = summed(product, axes) if axes else product
        if factor != 1:
            product *= product.dtype.type(factor)
    return product if product.shape == tuple(shape) else np.broadcast_to(product, tuple(shape)).copy()


def _sums_of_blocks(a: Array, b: Array, full: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Sum a · b over all but the longest of the axes, of which one sum a block is left."""
    longest = max(axes, key=lambda axis: full[axis])
    dtype = np.result_type(a, b)
    bytes_each = math.prod(full) // full[longest] * dtype.itemsize
    blocks = axis_blocks(full[longest], bytes_each, _BLOCK_BYTES)
    kept = [1 if axis in axes else size for axis, size in enumerate(full)]
    kept[longest] = len(blocks)
    sums = np.empty(kept, dtype)
    by_block = np.moveaxis(sums, longest, 0)

    def work(number: int) -> None:
        parts = [
            operand if operand.shape[longest] == 1 else operand[_along(longest, blocks[number])]
            for operand in (a, b)
        ]
        by_block[number] = summed(np.multiply(*parts), axes).squeeze(longest)

    parallel(work, range(len(blocks)))
    return sums


def _along(axis: int, block: slice) -> tuple[Any, ...]:
    return (*[slice(None)] * axis, block)
