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
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, axis_blocks

__all__ = ["exponential", "log_softmax", "log_softmax_grad", "softmax", "softmax_grad"]

_BLOCK_BYTES = 2**18
"""So much of an array at a time stays in the core's own cache between the passes."""


def softmax(x: Array) -> Array:
    """Turn x into weights that sum to one."""
    p = np.empty(x.shape, dtype=x.dtype)

    def work(block: Any) -> None:
        part = np.subtract(x[block], _greatest(x[block]), out=p[block])
        np.exp(part, out=part)
        part /= part.sum(axis=1, keepdims=True)

    parallel(work, _blocks(x))
    return p


def softmax_grad(grad_output: Array, p: Array) -> Array:
    """Carry the gradient of softmax's result p back to x. The map is its own transpose."""
    grad_input = np.empty(p.shape, dtype=p.dtype)
    runs = _runs_of_classes(p)

    def work(block: Any) -> None:
        part = np.multiply(grad_output[block], p[block], out=grad_input[block])
        total = part.sum(axis=1, keepdims=True)
        for classes in runs:
            weights, grads = p[block][:, classes], part[:, classes]
            grads -= np.multiply(weights, total, out=scratch("share", grads.shape, p.dtype))

    parallel(work, _blocks(p))
    return grad_input


def log_softmax(x: Array) -> Array:
    """Give the logarithm of softmax."""
    y = np.empty(x.shape, dtype=x.dtype)
    runs = _runs_of_classes(x)

    def work(block: Any) -> None:
        part = np.subtract(x[block], _greatest(x[block]), out=y[block])
        part -= np.log(sum(_sum_of_exponentials(part[:, classes]) for classes in runs))

    parallel(work, _blocks(x))
    return y


def log_softmax_grad(grad_output: Array, y: Array) -> Array:
    """Carry the gradient of log-softmax's result y back to x."""
    grad_input = np.empty(y.shape, dtype=y.dtype)

    def work(block: Any) -> None:
        part = np.exp(y[block], out=grad_input[block])
        part *= grad_output[block].sum(axis=1, keepdims=True)
        np.subtract(grad_output[block], part, out=part)

    parallel(work, _blocks(y))
    return grad_input


def exponential(x: Array) -> Array:
    """Give exp(x), which is its own derivative."""
    y = np.empty_like(x)
    over_elements(lambda y, x: np.exp(x, out=y), y, x)
    return y


def _sum_of_exponentials(x: Array) -> Array:
    total: Array = np.exp(x, out=scratch("exponentials", x.shape, x.dtype)).sum(axis=1, keepdims=True)
    return total


def _greatest(x: Array) -> Array:
    return x.max(axis=1, keepdims=True, initial=-np.inf)


def _blocks(x: Array) -> list[Any]:
    """Cut along the longer of the first and the last axis: each class vector stays whole."""
    outer, _, inner = x.shape
    axis = 0 if outer >= inner else 2
    along = x.swapaxes(0, axis)
    parts = axis_blocks(len(along), along[:1].nbytes, _BLOCK_BYTES)
    return [(slice(None),) * axis + (part,) for part in parts]


def _runs_of_classes(x: Array) -> list[slice]:
    """Cut the classes: vectors may be so long that a single one takes more memory than a block."""
    block_bytes = x.nbytes // max(1, x.shape[0], x.shape[2])
    return axis_blocks(x.shape[1], block_bytes // max(1, x.shape[1]), _BLOCK_BYTES)
