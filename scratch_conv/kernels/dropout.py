"""Dropout with a given mask.

    y = x · mask / (1 - p)

It is linear in x and its own transpose: every order of derivative is this function.

Shapes: x (any), mask of x's shape or of what broadcasts to it (one number a channel, for all its pixels).
"""

import numpy as np

from scratch_conv.kernels.elementwise import over_elements
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.windows import Array

__all__ = ["alpha_drop", "alpha_numbers", "drop"]

_SATURATION = 1.7580993408473766
"""What selu tends to for large negative numbers, in absolute value: scale · alpha of its paper."""


def drop(x: Array, mask: Array, scale: float) -> Array:
    """Return x · mask · scale: where the mask is 0, x times zero, as in torch."""
    y = np.empty_like(x)

    def work(y: Array, x: Array, mask: Array) -> None:
        np.multiply(x, mask, out=y)
        y *= y.dtype.type(scale)

    over_elements(work, y, x, np.broadcast_to(mask, x.shape))
    return y


def alpha_drop(x: Array, mask: Array, scale: float, kept: float, dropped: float) -> Array:
    """Return x · mask · scale, and one number added where the mask is 1, another one where it is 0.

    With both of them 0 this is the derivative, of every order.
    """
    y = np.empty_like(x)
    step, moves = x.dtype.type(kept - dropped), bool(kept or dropped)

    def work(y: Array, x: Array, mask: Array) -> None:
        np.multiply(x, mask, out=y)
        y *= y.dtype.type(scale)
        if moves:
            added = np.multiply(mask, step, out=scratch("added", y.shape, y.dtype))
            added += y.dtype.type(dropped)
            y += added

    over_elements(work, y, x, np.broadcast_to(mask, x.shape))
    return y


def alpha_numbers(p: float) -> tuple[float, float, float]:
    """Return the scale of alpha dropout, and what it adds to what is kept and to what is dropped.

    With them mean and variance stay 0 and 1 (Klambauer et al., Self-normalizing neural networks, 2017).
    """
    scale = ((_SATURATION**2 * p + 1) * (1 - p)) ** -0.5
    kept = _SATURATION * scale * p
    return scale, kept, kept - _SATURATION * scale
