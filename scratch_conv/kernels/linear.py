"""Linear layers: matrix products.

    y[g, m, o] = Σ_i x[g, m, i] · w[g, o, i] + b[g, o]

The derivatives of a product of matrices are products with one of the two transposed:

    c = a·b:  da = dc·bᵀ,  db = aᵀ·dc

Shapes: x (G, M, I), w (G, O, I), b (G, O), y (G, M, O): G products, each with a weight of its own. A linear
layer is one of them; there are several in an ensemble of layers, or with a gradient for each sample.
"""

import math
from itertools import pairwise

import numpy as np

from scratch_conv.kernels.threads import get_num_threads, parallel
from scratch_conv.kernels.windows import Array

__all__ = ["linear", "matrix_product"]

_WORTH_A_THREAD = 2**20
"""Fewer multiplications are not worth a thread: waking it takes as much time."""


def linear(x: Array, w: Array, bias: Array | None) -> Array:
    """Return y (G, M, O) = x wᵀ for x (G, M, I) and w (G, O, I), plus a bias (G, O)."""
    y = matrix_product(x, w.swapaxes(1, 2))
    if bias is not None:
        y += bias[:, None]
    return y


def matrix_product(a: Array, b: Array) -> Array:
    """Return the product (G, M, N) of a (G, M, K) and b (G, K, N)."""
    product = np.empty((*a.shape[:2], b.shape[2]), dtype=a.dtype)

    def work(block: tuple[slice, ...]) -> None:
        groups, rows, columns = block
        np.matmul(a[groups, rows], b[groups, :, columns], out=product[block])

    parallel(work, _blocks(product.shape, a.shape[2]))
    return product


def _blocks(shape: tuple[int, ...], inner: int) -> list[tuple[slice, ...]]:
    """Cut a product of this shape along its longest axis; each element is a sum of `inner` products."""
    axis = shape.index(max(shape))
    multiplications = math.prod(shape) * inner
    count = max(1, min(get_num_threads(), shape[axis], multiplications // _WORTH_A_THREAD))
    bounds = [shape[axis] * block // count for block in range(count + 1)]
    before, after = (slice(None),) * axis, (slice(None),) * (2 - axis)
    return [(*before, slice(*ends), *after) for ends in pairwise(bounds)]
