"""Softmax, its logarithm, and their derivatives, along the middle axis.

    softmax:      p[k] = exp(x[k] - m) / Σ_j exp(x[j] - m),          m = max_j x[j]
    log-softmax:  l[k] = x[k] - m - log Σ_j exp(x[j] - m)

Without the shift by m the exponentials would overflow (Blanchard, Higham and Higham, Accurately computing the
log-sum-exp and softmax functions, 2021). The derivatives are written in terms of the results:

    softmax:      dx = p · (dp - Σ_j p[j] · dp[j])
    log-softmax:  dx = dl - exp(l) · Σ_j dl[j]

Shapes: every array is (A, K, B), with K classes.
"""

from typing import Any

import numpy as np

from scratch_conv.kernels.elementwise import over_elements
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.sums import column_sums
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, axis_blocks

__all__ = ["exponential", "log_softmax", "log_softmax_grad", "softmax", "softmax_grad"]

_BLOCK_BYTES = 2**18
"""So much of an array at a time stays in the core's own cache between the passes."""


def softmax(x: Array) -> Array:
    """Return p, the softmax of x along the middle axis."""
    p = np.empty(x.shape, dtype=x.dtype)

    def work(block: Any) -> None:
        weights = np.subtract(x[block], _greatest(x[block]), out=p[block])
        np.exp(weights, out=weights)
        weights /= _sum(weights)

    parallel(work, _blocks(x))
    return p


def softmax_grad(grad_output: Array, p: Array) -> Array:
    """Return the gradient with respect to x of p = softmax(x). The map is its own transpose."""
    grad_input = np.empty(p.shape, dtype=p.dtype)
    class_blocks = _class_blocks(p)

    def work(block: Any) -> None:
        products = np.multiply(grad_output[block], p[block], out=grad_input[block])
        total = _sum(products)
        for classes in class_blocks:
            weights, grads = p[block][:, classes], products[:, classes]
            grads -= np.multiply(weights, total, out=scratch("products", grads.shape, p.dtype))

    parallel(work, _blocks(p))
    return grad_input


def log_softmax(x: Array) -> Array:
    """Return l, the logarithm of the softmax of x along the middle axis."""
    y = np.empty(x.shape, dtype=x.dtype)
    class_blocks = _class_blocks(x)

    def work(block: Any) -> None:
        shifted = np.subtract(x[block], _greatest(x[block]), out=y[block])
        shifted -= np.log(sum(_sum_of_exponentials(shifted[:, classes]) for classes in class_blocks))

    parallel(work, _blocks(x))
    return y


def log_softmax_grad(grad_output: Array, y: Array) -> Array:
    """Return the gradient with respect to x of y = log_softmax(x)."""
    grad_input = np.empty(y.shape, dtype=y.dtype)

    def work(block: Any) -> None:
        products = np.exp(y[block], out=grad_input[block])
        products *= _sum(grad_output[block])
        np.subtract(grad_output[block], products, out=products)

    parallel(work, _blocks(y))
    return grad_input


def exponential(x: Array) -> Array:
    """Return exp(x), which is its own derivative."""
    y = np.empty_like(x)
    over_elements(lambda y, x: np.exp(x, out=y), y, x)
    return y


def _sum_of_exponentials(x: Array) -> Array:
    return _sum(np.exp(x, out=scratch("exponentials", x.shape, x.dtype)))


def _sum(x: Array) -> Array:
    return column_sums(x)[:, None]


def _greatest(x: Array) -> Array:
    return x.max(axis=1, keepdims=True, initial=-np.inf)


def _blocks(x: Array) -> list[Any]:
    """Cut along the longer of the first and the last axis, so that no vector of classes is cut."""
    outer, _, inner = x.shape
    axis = 0 if outer >= inner else 2
    along = x.swapaxes(0, axis)
    blocks = axis_blocks(len(along), along[:1].nbytes, _BLOCK_BYTES)
    return [(slice(None),) * axis + (block,) for block in blocks]


def _class_blocks(x: Array) -> list[slice]:
    """Cut the classes of a block: they are so many where a single vector takes more memory than a block."""
    vectors_bytes = x.nbytes // max(1, x.shape[0], x.shape[2])
    return axis_blocks(x.shape[1], vectors_bytes // max(1, x.shape[1]), _BLOCK_BYTES)
