"""Products of two arrays, summed: derivatives of higher order consist of them.

    c = Σ factor · a · b     summed over the axes on which c has the size 1 and a or b more

It is linear in a and in b, and its derivatives are products of the same kind:

    da = Σ factor · dc · b   summed to the shape of a,      db = Σ factor · dc · a   to the shape of b

Shapes: a, b and c have the same number of axes; on every axis each has either the full size or 1.
"""

from collections.abc import Sequence

import numpy as np

from scratch_conv.kernels.windows import Array

__all__ = ["summed_product"]


def summed_product(a: Array, b: Array, shape: Sequence[int], factor: float) -> Array:
    """Return factor · a · b, summed or repeated to the given shape."""
    with np.errstate(all="ignore"):
        product = np.multiply(a, b)
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1 and product.shape[axis] != 1)
        if axes:
            product = product.sum(axis=axes, keepdims=True)
        if factor != 1:
            product *= product.dtype.type(factor)
    return product if product.shape == tuple(shape) else np.broadcast_to(product, tuple(shape)).copy()
