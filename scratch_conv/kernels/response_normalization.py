"""Local response normalization and its derivative: division by a power of the neighbours' mean square.

    y = x · D^(-β),   D = k + (α / n) · Σ x²   over n neighbouring channels, n // 2 of them before

(Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, 2012, with
α / n for its α). With S the sum over the neighbours, and Sᵀ that over those of whom a channel is a neighbour,

    dx = dy · D^(-β) - (2 α β / n) · x · Sᵀ(dy · x · D^(-β-1))

Shapes: every array is (N, C, L), with the pixels in L.
"""

from collections.abc import Callable

import numpy as np

from scratch_conv.kernels.elementwise import over_elements
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, plane_blocks

__all__ = ["box_sum", "local_response_norm", "local_response_norm_grad", "power"]

_BLOCK_BYTES = 2**18
"""So much of an array at a time stays in the core's own cache between the passes."""


def local_response_norm(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Return x · D^(-β)."""

    def work(x: Array, y: Array) -> None:
        divisors = _divisors(x, size, alpha, k)
        np.divide(x, np.power(divisors, x.dtype.type(beta), out=divisors), out=y)

    return _over_pixels(work, x)


def local_response_norm_grad(
    grad_output: Array, x: Array, size: int, alpha: float, beta: float, k: float
) -> Array:
    """Return the gradient with respect to x."""
    before, after = size // 2, (size - 1) // 2
    slope = 2 * alpha * beta / size

    def work(grads: Array, x: Array, grad_input: Array) -> None:
        divisors = _divisors(x, size, alpha, k)
        np.divide(grads, np.power(divisors, x.dtype.type(beta), out=_scratch("powers", x)), out=grad_input)
        inner = np.multiply(grad_input, x, out=_scratch("inner", x))
        inner /= divisors
        _add_neighbours(inner, after, before, divisors)
        divisors *= x
        divisors *= x.dtype.type(slope)
        grad_input -= divisors

    return _over_pixels(work, grad_output, x)


def box_sum(x: Array, before: int, after: int) -> Array:
    """Sum each channel with so many before and after it; the transpose has these exchanged."""
    return _over_pixels(lambda x, y: _add_neighbours(x, before, after, y), x)


def power(x: Array, exponent: float) -> Array:
    """Return x to the power of a number."""
    y = np.empty_like(x)
    over_elements(lambda y, x: np.power(x, x.dtype.type(exponent), out=y), y, x)
    return y


def _divisors(x: Array, size: int, alpha: float, k: float) -> Array:
    """Return D in scratch memory."""
    squares = np.square(x, out=_scratch("squares", x))
    divisors = _scratch("divisors", x)
    _add_neighbours(squares, size // 2, (size - 1) // 2, divisors)
    divisors *= x.dtype.type(alpha / size)
    divisors += x.dtype.type(k)
    return divisors


def _add_neighbours(x: Array, before: int, after: int, out: Array) -> None:
    np.copyto(out, x)
    channels = x.shape[1]
    for shift in range(1, min(before, channels - 1) + 1):
        out[:, shift:] += x[:, :-shift]
    for shift in range(1, min(after, channels - 1) + 1):
        out[:, :-shift] += x[:, shift:]


def _over_pixels(work: Callable[..., None], *arrays: Array) -> Array:
    """Call `work(*arrays, result)` on blocks of all channels of some pixels; return the result."""
    arrays = tuple(map(np.ascontiguousarray, arrays))
    result = np.empty_like(arrays[-1])
    samples, channels, pixels = result.shape

    def on_block(block: tuple[slice, ...]) -> None:
        some = block[0], slice(None), block[1]
        work(*(array[some] for array in arrays), result[some])

    blocks = plane_blocks((samples, pixels), result.nbytes, _BLOCK_BYTES) if channels else []
    parallel(on_block, blocks)
    return result


def _scratch(name: str, like: Array) -> Array:
    return scratch(name, like.shape, like.dtype)
