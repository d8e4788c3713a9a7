"""Batch normalization and its derivatives.

    y = γ · x̂ + β,   x̂ = (x - μ) · s,   s = 1 / √(σ² + ε)

for each channel, with the mean μ and the variance σ² of the batch, or with given ones. In training, μ and σ²
depend on x too, so that with n elements a channel (Ioffe and Szegedy, Batch normalization, 2015, section 3)

    dβ = Σ dy,   dγ = Σ dy · x̂,   dx = γ · s · (dy - dβ / n - x̂ · dγ / n)

The variance is the mean of (x - μ)², taken in a second pass: mean(x²) - μ² would cancel where |μ| is large.

Shapes: x and y (N, C, L), with the pixels in L; everything that belongs to a channel (C,).
"""

import numpy as np

from scratch_conv.kernels.geometry import Array, pieces
from scratch_conv.kernels.threads import parallel, scratch

_PIECE_BYTES = 2**19
"""Channels are normalized so many at a time that a piece stays near the core between the passes."""


def batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """Normalize x (N, C, L) by its own statistics: gives y, and the mean and the variance (C,)."""
    x = np.ascontiguousarray(x)
    y, count = np.empty_like(x), max(1, x.shape[0] * x.shape[2])
    mean, variance = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)

    def work(channels: slice) -> None:
        mean[channels] = _sum(x[:, channels]) / count
        distances = _distances(x[:, channels], mean[channels])
        variance[channels] = _sum_of_products(distances, distances) / count
        scale = _scale(variance[channels], weight, channels, eps)
        _stretch(distances, scale, bias, channels, y[:, channels])

    parallel(work, _pieces(x))
    return y, mean, variance


def batch_norm_grad(
    grad_output: Array, x: Array, mean: Array, variance: Array, weight: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Carry the gradient of y back to x (N, C, L), and to weight and bias (C,), through the statistics."""
    grad_output, x = np.ascontiguousarray(grad_output), np.ascontiguousarray(x)
    grad_input, count = np.empty_like(x), max(1, x.shape[0] * x.shape[2])
    grad_weight, grad_bias = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)

    def work(channels: slice) -> None:
        grads, part = grad_output[:, channels], grad_input[:, channels]
        distances = _distances(x[:, channels], mean[channels])
        inverse = inverse_deviation(variance[channels], eps)
        scale = _scale(variance[channels], weight, channels, eps)
        grad_bias[channels] = _sum(grads)
        grad_weight[channels] = _sum_of_products(grads, distances) * inverse
        distances *= (scale * inverse * grad_weight[channels] / count)[:, None]
        distances += (scale * grad_bias[channels] / count)[:, None]
        np.multiply(grads, scale[:, None], out=part)
        part -= distances

    parallel(work, _pieces(x))
    return grad_input, grad_weight, grad_bias


def batch_norm_inference(
    x: Array, mean: Array, variance: Array, weight: Array | None, bias: Array | None, eps: float
) -> Array:
    """Normalize x (N, C, L) by given statistics."""
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)

    def work(channels: slice) -> None:
        scale = _scale(variance[channels], weight, channels, eps)
        _stretch(_distances(x[:, channels], mean[channels]), scale, bias, channels, y[:, channels])

    parallel(work, _pieces(x))
    return y


def inverse_deviation(variance: Array, eps: float) -> Array:
    """Give s = 1 / √(σ² + ε)."""
    with np.errstate(all="ignore"):
        return 1 / np.sqrt(variance + variance.dtype.type(eps))


def running_average(running: Array, batch: Array, momentum: float, correction: float) -> Array:
    """Give (1 - momentum) · running + momentum · correction · batch."""
    return running * running.dtype.type(1 - momentum) + batch * running.dtype.type(momentum * correction)


def _scale(variance: Array, weight: Array | None, channels: slice, eps: float) -> Array:
    scale = inverse_deviation(variance, eps)
    return scale if weight is None else scale * weight[channels]


def _distances(x: Array, mean: Array) -> Array:
    """Give x - μ in scratch memory."""
    return np.subtract(x, mean[:, None], out=scratch("distances", x.shape, x.dtype))


def _stretch(distances: Array, scale: Array, bias: Array | None, channels: slice, y: Array) -> None:
    """Write (x - μ) · scale + β to y."""
    np.multiply(distances, scale[:, None], out=y)
    if bias is not None:
        y += bias[channels, None]


def _sum(x: Array) -> Array:
    """Sum x (N, C, L) over all but the channels: whole pictures first, whose additions run at full speed."""
    return x.sum(axis=0).sum(axis=1)


def _sum_of_products(a: Array, b: Array) -> Array:
    """Sum a · b over all but the channels, without an array of the products."""
    return np.einsum("ncl,ncl->cl", a, b).sum(axis=1)


def _pieces(x: Array) -> list[slice]:
    return pieces(x.shape[1], x[:, :1].nbytes, _PIECE_BYTES)
