"""Max unpooling: zeros, but for the pixels that pooling picked.

    y[n, c, indices[n, c, k]] = x[n, c, k]

Its derivative reads from there (`gather_picked`), and the derivative of that adds there (`scatter_picked`).

Shapes: x and indices (N, C, ...), y (N, C, *output_size); an index is that into the flattened image or volume
of the output, of any integer dtype.
"""

import math

import numpy as np

from scratch_conv.kernels.pooling.picked import scatter_picked
from scratch_conv.kernels.windows import Array, Size

__all__ = ["max_unpool"]


def max_unpool(x: Array, indices: Array, output_size: Size) -> Array:
    """Return y (N, C, *output_size): zeros, and each element of x at its index; of several the last.

    Raises:
        IndexError: an index is not one of the output, unless that is empty.
    """
    pixels = math.prod(output_size)
    if not pixels:
        return np.empty((*x.shape[:2], *output_size), x.dtype)
    least, most = indices.min(initial=0), indices.max(initial=0)
    if least < 0 or most >= pixels:
        size = "x".join(map(str, output_size))
        raise IndexError(
            f"Found an invalid max index: {least if least < 0 else most} (output volumes are of size {size})"
        )
    return scatter_picked(x, indices, output_size, non_overlapping=True)
