"""Group normalization and its derivatives: of layers, of groups of channels, and of single channels.

    y = γ · x̂ + β,   x̂ = (x - μ) · s,   s = 1 / √(σ² + ε)

with the mean μ and the variance σ² of a group, some neighbouring channels of one sample (Wu and He, Group
normalization, 2018). One group of all channels is layer normalization (Ba, Kiros and Hinton, 2016), a group a
channel is instance normalization (Ulyanov, Vedaldi and Lempitsky, 2016). With n elements a group and g = γ dy

    dx = s · (g - Σ g / n - x̂ · Σ g x̂ / n)   over a group,      dβ = Σ dy,   dγ = Σ dy · x̂   over a channel

The sums are products of matrices with vectors: the BLAS takes a third of the time of a pass.

Shapes: x and y (N, C, L), with the pixels in L; γ and β (C,); statistics (N, G) of G groups. Inside, arrays
are (N, G, K, L) with K channels a group, and each group is a row of K · L.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from scratch_conv.kernels.elementwise import row_by_row
from scratch_conv.kernels.normalization import inverse_deviation
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.sums import inner_products
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, plane_blocks

__all__ = ["group_norm", "group_norm_grad"]

_BLOCK_BYTES = 2**21
"""The arrays of a block together. Of half of it two threads took 1.4 times as long: its calls are short."""

_LONG = 2**7
"""Channels of fewer pixels have their numbers repeated for each: NumPy's passes over so few are slow."""

_STRIPS = 2**4
"""So many sums of the channels' gradients are taken apart, whatever the number of threads."""

_SUMS_BYTES = 2**22
"""Fewer are, where the sums together would take more than this."""


def group_norm(
    x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Normalize the groups of x (N, C, L); return y, the means (N, G) and the variances (N, G)."""
    shape, x = x.shape, _by_group(x, groups)
    y, mean, variance = np.empty_like(x), np.zeros(x.shape[:2], x.dtype), np.zeros(x.shape[:2], x.dtype)
    gain, shift = _of_channels(weight, x), _of_channels(bias, x)

    def work(block: Any) -> None:
        rows, distances = _rows(x[block]), _rows(y[block])
        count = rows.shape[1]
        means = _row_sums(rows) / count
        if not np.isfinite(means).all():  # a sum may overflow where its mean does not
            means = _row_sums(rows / count)
        np.subtract(rows, means[:, None], out=distances)
        variances = inner_products(distances[:, None], distances)[:, 0] / count
        mean[block].flat, variance[block].flat = means, variances
        affine = (None if each is None else each[block[1]] for each in (gain, shift))
        _scale_and_shift(y[block], inverse_deviation(variance[block], eps), *affine)

    parallel(_row_by_row(work, x), _blocks(x, 2))
    return y.reshape(shape), mean, variance


def group_norm_grad(
    grad_output: Array, x: Array, mean: Array, variance: Array, weight: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return the gradients with respect to x (N, C, L), weight (C,) and bias (C,)."""
    shape, groups = x.shape, mean.shape[1]
    grad_output, x = _by_group(grad_output, groups), _by_group(x, groups)
    grad_input, (_, _, channels, pixels) = np.empty_like(x), x.shape
    gain, count = _of_channels(weight, x), channels * pixels
    weights = np.ones((groups, channels), x.dtype) if weight is None else weight.reshape(groups, channels)
    blocks, sums_bytes = _blocks(x, 5), 2 * weights.nbytes
    strips = max(1, min(_STRIPS, len(blocks), _SUMS_BYTES // max(1, sums_bytes)))
    grads = np.zeros((2, strips, groups, channels), x.dtype)

    def work(strip: int) -> None:
        for block in blocks[strip::strips]:
            incoming, result, some = grad_output[block], grad_input[block], block[1]
            inverse = inverse_deviation(variance[block], eps)
            distances = _scratch("distances", incoming)
            np.subtract(x[block], _beside(mean[block]), out=distances)
            products = np.multiply(incoming, distances, out=_scratch("products", incoming))
            products, sums = _channel_sums(products), _channel_sums(incoming)
            grads[0, strip, some] += inner_products(products.transpose(1, 2, 0), inverse.T)
            grads[1, strip, some] += inner_products(sums.transpose(1, 2, 0), np.ones(len(sums), x.dtype))
            mean_gradient, projection = (
                inner_products(each.transpose(1, 0, 2), weights[some]).T / count for each in (sums, products)
            )
            distances *= _beside(projection * inverse * inverse)
            distances += _beside(mean_gradient)
            scaled = incoming if gain is None else _times(incoming, gain[some], result)
            np.subtract(scaled, distances, out=result)
            result *= _beside(inverse)

    parallel(_row_by_row(work, x), range(strips))
    grad_weight, grad_bias = grads.sum(axis=1).reshape(2, -1)
    return grad_input.reshape(shape), grad_weight, grad_bias


def _row_by_row(work: Callable[[Any], None], x: Array) -> Callable[[Any], None]:
    """Let work on x (N, G, K, L) pass over it row by row, or channel by channel where these are long."""
    channels, pixels = x.shape[2:]

    def on_rows(item: Any) -> None:
        with row_by_row(pixels if pixels >= _LONG else channels * pixels):
            work(item)

    return on_rows


def _by_group(x: Array, groups: int) -> Array:
    """View x (N, C, L) as (N, G, K, L)."""
    samples, channels, pixels = x.shape
    return np.ascontiguousarray(x).reshape(samples, groups, channels // groups, pixels)


def _rows(x: Array) -> Array:
    """View x (N, G, K, L) as rows, one a group."""
    samples, groups, channels, pixels = x.shape
    return x.reshape(samples * groups, channels * pixels)


def _row_sums(rows: Array) -> Array:
    return inner_products(rows, np.ones(rows.shape[1], rows.dtype))


def _channel_sums(x: Array) -> Array:
    """Sum (N, G, K, L) to (N, G, K)."""
    *outer, pixels = x.shape
    return x[..., 0] if pixels == 1 else _row_sums(x.reshape(-1, pixels)).reshape(outer)


def _of_channels(values: Array | None, x: Array) -> Array | None:
    """Return a channel's numbers (C,) as (G, K, 1); for a few pixels each, as (G, K · L, 1)."""
    if values is None:
        return None
    repeated = np.repeat(values, x.shape[3]) if x.shape[3] < _LONG else values
    return repeated.reshape(x.shape[1], -1, 1)


def _beside(of_groups: Array) -> Array:
    """View (N, G) as (N, G, 1, 1)."""
    return of_groups[:, :, None, None]


def _times(x: Array, gain: Array, out: Array) -> Array:
    """Write x · γ to `out`, which is returned."""
    shape = (*x.shape[:2], gain.shape[1], -1)
    np.multiply(x.reshape(shape), gain, out=out.reshape(shape))
    return out


def _scale_and_shift(y: Array, inverse: Array, gain: Array | None, shift: Array | None) -> None:
    """Turn x - μ in y (N, G, K, L) into (x - μ) · s · γ + β."""
    of_long_channels = gain is not None and gain.shape[1] == y.shape[2] and y.shape[3] > 1
    if gain is not None and of_long_channels:
        y *= _beside(inverse) * gain
    else:
        y *= _beside(inverse)
        if gain is not None:
            _times(y, gain, y)
    if shift is not None:
        y.reshape(*y.shape[:2], shift.shape[1], -1)[...] += shift


def _scratch(name: str, like: Array) -> Array:
    return scratch(name, like.shape, like.dtype)


def _blocks(x: Array, arrays: int) -> list[tuple[slice, ...]]:
    """Cut the samples; the groups, where one sample of so many arrays is too large."""
    return plane_blocks(x.shape[:2], arrays * x.nbytes, _BLOCK_BYTES) if x.size else []
