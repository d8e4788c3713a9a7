"""Batch normalization and its derivatives.

    y = γ · x̂ + β,   x̂ = (x - μ) · s,   s = 1 / √(σ² + ε)

for each channel, with the mean μ and the variance σ² of the batch, or with given ones. In training, μ and σ²
depend on x too, so that with n elements a channel (Ioffe and Szegedy, Batch normalization, 2015, section 3)

    dβ = Σ dy,   dγ = Σ dy · x̂,   dx = γ · s · (dy - dβ / n - x̂ · dγ / n)

The variance is the mean of (x - μ)², taken in a second pass: mean(x²) - μ² would cancel where |μ| is large.

Shapes: x and y (N, C, L), with the pixels in L; channel-wise values (C,). Inside, images are rows (N, C · L),
and channel-wise values are repeated for the pixels: so the passes run at full speed however few pixels there
are (with 64 of them, in half the time).
"""

from typing import Any

import numpy as np

from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.sums import column_sums, sums_of_products
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, axis_blocks, plane_blocks

__all__ = ["batch_norm", "batch_norm_grad", "batch_norm_inference", "inverse_deviation", "running_average"]

_BLOCK_BYTES = 2**20
"""Channels are normalized so many at a time that a block stays near the core between the passes."""

_MOST_BYTES = 2**24
"""The samples of a larger channel are cut too; their distances from the mean are computed twice then."""


def batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """Normalize x (N, C, L) by its own statistics; return y, the mean (C,) and the variance (C,)."""
    x = np.ascontiguousarray(x)
    y, count = np.empty_like(x), max(1, x.shape[0] * x.shape[2])
    mean, variance = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    cut = _row_blocks(x)

    def work(channels: slice) -> None:
        pixels, normalized = _rows(x, channels), _rows(y, channels)
        mean[channels] = sum(_sum(pixels[block], channels) for block in cut) / count
        if not np.isfinite(mean[channels]).all():  # a sum may overflow where its mean does not
            mean[channels] = sum(_sum(pixels[block] / count, channels) for block in cut)
        squares: Any = 0
        for block in cut:
            distances = _distances(pixels[block], mean[channels])
            squares = squares + _sum_of_products(distances, distances, channels)
        variance[channels] = squares / count
        scale = _scale(variance[channels], weight, channels, eps)
        for block in reversed(cut):
            if block is not cut[-1]:  # its distances are still in scratch memory
                distances = _distances(pixels[block], mean[channels])
            _scale_and_shift(distances, scale, None if bias is None else bias[channels], normalized[block])

    parallel(work, _blocks(x))
    return y, mean, variance


def batch_norm_grad(
    grad_output: Array, x: Array, mean: Array, variance: Array, weight: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return the gradients with respect to x (N, C, L), weight (C,) and bias (C,), through the statistics."""
    grad_output, x = np.ascontiguousarray(grad_output), np.ascontiguousarray(x)
    grad_input, count = np.empty_like(x), max(1, x.shape[0] * x.shape[2])
    grad_weight, grad_bias = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    cut = _row_blocks(x)

    def work(channels: slice) -> None:
        pixels, grads, grad_pixels = (_rows(array, channels) for array in (x, grad_output, grad_input))
        inverse = inverse_deviation(variance[channels], eps)
        scale = _scale(variance[channels], weight, channels, eps)
        sums: Any = 0
        products: Any = 0
        for block in cut:
            distances = _distances(pixels[block], mean[channels])
            sums = sums + _sum(grads[block], channels)
            products = products + _sum_of_products(grads[block], distances, channels)
        grad_bias[channels] = sums
        grad_weight[channels] = products * inverse
        for block in reversed(cut):
            if block is not cut[-1]:  # its distances are still in scratch memory
                distances = _distances(pixels[block], mean[channels])
            distances *= _repeated(inverse * grad_weight[channels] / count, distances)
            distances += _repeated(grad_bias[channels] / count, distances)
            np.subtract(grads[block], distances, out=distances)
            np.multiply(distances, _repeated(scale, distances), out=grad_pixels[block])

    parallel(work, _blocks(x))
    return grad_input, grad_weight, grad_bias


def batch_norm_inference(
    x: Array, mean: Array, variance: Array, weight: Array | None, bias: Array | None, eps: float
) -> Array:
    """Normalize x (N, C, L) by given statistics."""
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    cut = _row_blocks(x)

    def work(channels: slice) -> None:
        pixels, normalized = _rows(x, channels), _rows(y, channels)
        scale = _scale(variance[channels], weight, channels, eps)
        for block in cut:
            distances = _distances(pixels[block], mean[channels])
            _scale_and_shift(distances, scale, None if bias is None else bias[channels], normalized[block])

    parallel(work, _blocks(x))
    return y


def inverse_deviation(variance: Array, eps: float) -> Array:
    """Return s = 1 / √(σ² + ε), added in float64 at least, as an ε of 10^-46 would be zero in float32."""
    with np.errstate(all="ignore"):
        inverse = 1 / np.sqrt(variance.astype(np.result_type(variance, np.float64)) + eps)
        return inverse.astype(variance.dtype)


def running_average(running: Array, batch: Array, momentum: float, correction: float) -> Array:
    """Return (1 - momentum) · running + momentum · correction · batch."""
    return running * running.dtype.type(1 - momentum) + batch * running.dtype.type(momentum * correction)


def _rows(x: Array, channels: slice) -> Array:
    """View some channels of x (N, C, L) as rows (N, c · L)."""
    images, count, length = x.shape
    return x.reshape(images, count * length)[:, channels.start * length : channels.stop * length]


def _scale(variance: Array, weight: Array | None, channels: slice, eps: float) -> Array:
    scale = inverse_deviation(variance, eps)
    return scale if weight is None else scale * weight[channels]


def _distances(rows: Array, mean: Array) -> Array:
    """Return x - μ in scratch memory."""
    return np.subtract(rows, _repeated(mean, rows), out=scratch("distances", rows.shape, rows.dtype))


def _scale_and_shift(distances: Array, scale: Array, bias: Array | None, y: Array) -> None:
    """Write (x - μ) · scale + β to the rows of y."""
    np.multiply(distances, _repeated(scale, y), out=y)
    if bias is not None:
        y += _repeated(bias, y)


def _repeated(by_channel: Array, rows: Array) -> Array:
    """Repeat channel-wise values (c,) for the pixels of rows (N, c · L)."""
    return np.repeat(by_channel, rows.shape[1] // len(by_channel))


def _sum(rows: Array, channels: slice) -> Array:
    """Sum rows (N, c · L) to (c,): images first, whose additions run at full speed."""
    return _by_channel(column_sums(rows), channels)


def _sum_of_products(a: Array, b: Array, channels: slice) -> Array:
    """Sum the products of two arrays of rows to (c,), without an array of the products."""
    return _by_channel(sums_of_products(a, b), channels)


def _by_channel(sums: Array, channels: slice) -> Array:
    return sums.reshape(channels.stop - channels.start, -1).sum(axis=1)


def _blocks(x: Array) -> list[slice]:
    """Cut the channels."""
    return axis_blocks(x.shape[1], x[:, :1].nbytes, _BLOCK_BYTES)


def _row_blocks(x: Array) -> list[tuple[slice, ...]]:
    """Cut the rows of a block; only of a single channel that is too large there are several."""
    channel_bytes = x[:, :1].nbytes
    if channel_bytes <= _MOST_BYTES:
        return [(slice(None), slice(None))]
    return plane_blocks((x.shape[0], x.shape[2]), channel_bytes, _MOST_BYTES)
