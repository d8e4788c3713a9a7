"""The rectified linear unit and its derivative.

    y = max(x, 0)

Its derivative passes a gradient on where y > 0, as a gate: it is linear in the gradient and its own
transpose, so that every order of derivative is this gate. NaN passes both.

Shapes: all arrays of one call have the same shape.
"""

from functools import lru_cache

import numpy as np

from scratch_conv.kernels.elementwise import over_elements
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.windows import Array

__all__ = ["relu", "relu_gate"]


def relu(x: Array, out: Array | None = None) -> Array:
    """Return y = max(x, 0), written to `out` if it is given, which may be x itself."""
    y = np.empty_like(x) if out is None else out
    over_elements(lambda y, x: np.maximum(x, _zeros(x.size, x.dtype), out=y), y, x)
    return y


def relu_gate(values: Array, y: Array) -> Array:
    """Return the gradient with respect to x: the values, dy, where y > 0 or y is NaN, else 0.

    It masks bits: a product with 0 or 1 would turn an infinity into NaN, and a masked copy is slower.
    """
    if values.itemsize > 8:  # as no integers are
        return np.where(y <= 0, values.dtype.type(0), values)
    gated = np.empty_like(values)
    bits = np.dtype(f"i{values.dtype.itemsize}")

    def work(gated: Array, values: Array, y: Array) -> None:
        off = np.less_equal(y, 0, out=scratch("off", y.shape, np.bool_)).view(np.int8)
        off -= 1  # 0, or -1: all bits
        np.bitwise_and(values.view(bits), off, out=gated.view(bits))

    over_elements(work, gated, values, y)
    return gated


@lru_cache(maxsize=4)
def _zeros(size: int, dtype: np.dtype[np.generic]) -> Array:
    """Return zeros: the maximum of two arrays takes half the time of that of an array and a number."""
    return np.zeros(size, dtype)
