"""Dropout with a given mask.

    y = x · mask / (1 - p)

It is linear in x and its own transpose: every order of derivative is this function.

Shapes: x (any), mask of x's shape or of what broadcasts to it (one number a channel, for all its pixels).
"""

import numpy as np

from scratch_conv.kernels.elementwise import over_elements
from scratch_conv.kernels.windows import Array

__all__ = ["drop"]


def drop(x: Array, mask: Array, scale: float) -> Array:
    """Return x · mask · scale: where the mask is 0, x times zero, as in torch."""
    y = np.empty_like(x)

    def work(y: Array, x: Array, mask: Array) -> None:
        np.multiply(x, mask, out=y)
        y *= y.dtype.type(scale)

    over_elements(work, y, x, np.broadcast_to(mask, x.shape))
    return y
