"""Normalization in float32 against plain loops in float64, up to a few roundings of float32."""

import math
from typing import Any

import numpy as np
from drawn_arrays import FEW_ROUNDINGS, LAYOUTS, SEEDS, drawn, laid_out, whole
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels


def test_a_deviation_of_zero_has_an_infinite_inverse() -> None:
    np.testing.assert_array_equal(kernels.inverse_deviation(np.array([0.0, 4.0]), 0.0), [np.inf, 0.5])


@given(st.floats(-70, 20), st.floats(-60, 20))
def test_an_inverse_deviation_is_rounded_once(variance: float, eps: float) -> None:
    """Also where eps is smaller than all numbers of float32."""
    variances = np.array([0, 10.0**variance], np.float32)
    exact = 1 / np.sqrt(variances.astype(float) + 10.0**eps)
    inverse = kernels.inverse_deviation(variances, 10.0**eps)
    np.testing.assert_array_equal(inverse, exact.astype(np.float32), strict=True)


def test_an_inverse_deviation_of_long_doubles_has_all_their_digits() -> None:
    inverse = kernels.inverse_deviation(np.array([9], np.longdouble), 0.0)
    np.testing.assert_array_equal(inverse, [1 / np.longdouble(3)])
    assert inverse.dtype == np.longdouble


@given(st.integers(0, 4), SEEDS)
def test_running_average_is_its_definition(channels: int, seed: int) -> None:
    running, batch = (whole(seed + more, channels, dtype=np.float32) for more in (0, 1))
    expected = np.zeros_like(running)
    for c in range(channels):
        expected[c] = 0.75 * running[c] + 0.25 * 2 * batch[c]
    averaged = kernels.running_average(running, batch, 0.25, 2.0)
    np.testing.assert_array_equal(averaged, expected, strict=True)


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    SEEDS,
    st.booleans(),
    st.booleans(),
    LAYOUTS,
)
def test_batch_norm_and_its_derivatives_are_their_definitions(
    sizes: tuple[int, int, int], seed: int, affine: bool, far: bool, axes: Any
) -> None:
    """Far from zero, a variance by mean(x²) - μ² would cancel."""
    n, eps = sizes[0] * sizes[2], 0.01
    x = laid_out((drawn(seed, *sizes) + 1000 * far).astype(np.float32), axes)
    grads, weight, bias = drawn(seed + 1, *sizes), drawn(seed + 2, sizes[1]), drawn(seed + 3, sizes[1])
    w_given, b_given = (weight, bias) if affine else (None, None)
    y, mean, variance = kernels.batch_norm(x, w_given, b_given, eps)
    fixed = kernels.batch_norm_inference(x, mean, variance, w_given, b_given, eps)
    np.testing.assert_allclose(fixed, y, rtol=0, atol=0)
    dx, dw, db = kernels.batch_norm_grad(grads, x, mean, variance, w_given, eps)
    assert {result.dtype for result in (y, mean, variance, fixed, dx, dw, db)} == {x.dtype}
    for c in range(sizes[1]):
        row, g = x[:, c].astype(float), grads[:, c].astype(float)
        w, b = (float(weight[c]), float(bias[c])) if affine else (1.0, 0.0)
        mu = row.sum() / n
        var = ((row - mu) ** 2).sum() / n
        normal = (row - mu) / math.sqrt(var + eps)
        # The mean errs by roundings of |x|, and everything after it by that over the deviation.
        error = FEW_ROUNDINGS * (1 + abs(mu) / math.sqrt(var + eps)) * (1 + abs(w)) * (1 + np.abs(g).sum())
        np.testing.assert_allclose(mean[c], mu, rtol=FEW_ROUNDINGS, atol=FEW_ROUNDINGS)
        np.testing.assert_allclose(y[:, c], w * normal + b, atol=10 * error)
        np.testing.assert_allclose(db[c], g.sum(), atol=error)
        np.testing.assert_allclose(dw[c], (g * normal).sum(), atol=10 * n * error)
        centred = g - g.sum() / n - normal * (g * normal).sum() / n
        np.testing.assert_allclose(dx[:, c], w * centred / math.sqrt(var + eps), atol=100 * n * error)


@given(st.integers(1, 6), st.integers(1, 50), SEEDS)
def test_a_mean_that_is_a_whole_number_is_exact(images: int, pixels: int, seed: int) -> None:
    """As a sum of quotients would not be."""
    x = np.random.default_rng(seed).integers(0, 10, (images, 2, pixels)).astype(np.float32)
    x[0, :, 0] -= x.sum(axis=(0, 2)) % (images * pixels)
    _, mean, _ = kernels.batch_norm(x, None, None, 1e-5)
    np.testing.assert_array_equal(mean, x.sum(axis=(0, 2)) // (images * pixels), strict=True)


def test_a_mean_of_numbers_near_overflow_is_finite() -> None:
    """Though their sum is not, and an infinity in another channel concerns that one only."""
    x = np.full((4, 3, 25), 1e37, dtype=np.float32)
    x[0, 2, 0] = np.inf
    y, mean, _ = kernels.batch_norm(x, None, None, 1e-5)
    np.testing.assert_allclose(mean, [1e37, 1e37, np.inf], rtol=FEW_ROUNDINGS)
    assert not y[:, :2].any()
    assert np.isnan(y[:, 2]).all()


GROUPED = st.tuples(*[st.integers(1, 3)] * 3, st.sampled_from([1, 2, 150]))


@given(GROUPED, SEEDS, st.booleans(), st.booleans(), LAYOUTS)
def test_group_norm_and_its_derivatives_are_their_definitions(
    sizes: tuple[int, int, int, int], seed: int, affine: bool, far: bool, axes: Any
) -> None:
    """Far from zero, a variance by mean(x²) - μ² would cancel."""
    samples, groups, channels, pixels = sizes
    n, eps, shape = channels * pixels, 0.01, (samples, groups * channels, pixels)
    x = laid_out((drawn(seed, *shape) + 1000 * far).astype(np.float32), axes)
    grads, weight, bias = drawn(seed + 1, *shape), drawn(seed + 2, shape[1]), drawn(seed + 3, shape[1])
    given = (weight, bias) if affine else (None, None)
    y, mean, variance = kernels.group_norm(x, groups, given[0], given[1], eps)
    got = kernels.group_norm_grad(grads, x, mean, variance, given[0], eps)
    gain, shift = (weight, bias) if affine else (np.ones_like(weight), np.zeros_like(bias))
    grad_weight, grad_bias = np.zeros(shape[1]), np.zeros(shape[1])
    wide, dy = x.astype(float), grads.astype(float)
    for i in range(samples):
        for group in range(groups):
            some = slice(group * channels, (group + 1) * channels)
            rows, incoming = wide[i, some], dy[i, some] * gain[some, None].astype(float)
            mu, inverse = rows.mean(), 1 / math.sqrt(rows.var() + eps)
            normal = (rows - mu) * inverse
            np.testing.assert_allclose(mean[i, group], mu, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(variance[i, group], rows.var(), rtol=1e-4, atol=1e-6)
            slack: Any = {"rtol": 1e-4, "atol": 5e-3 if far else 1e-4}
            expected = normal * gain[some, None] + shift[some, None]
            np.testing.assert_allclose(y[i, some], expected, **slack)
            centred = incoming - incoming.sum() / n - normal * (incoming * normal).sum() / n
            np.testing.assert_allclose(got[0][i, some], inverse * centred, rtol=1e-3, atol=10 * slack["atol"])
            grad_weight[some] += (dy[i, some] * normal).sum(axis=1)
            grad_bias[some] += dy[i, some].sum(axis=1)
    many: Any = {"rtol": 1e-4, "atol": (5e-3 if far else 1e-4) * samples * pixels}
    np.testing.assert_allclose(got[1], grad_weight, **many)
    np.testing.assert_allclose(got[2], grad_bias, **many)


def test_a_group_of_numbers_near_overflow_has_a_finite_mean() -> None:
    x = np.full((1, 4, 1), 3e38, np.float32)
    y, mean, _ = kernels.group_norm(x, 1, None, None, 1e-5)
    np.testing.assert_array_equal(mean, x[:, :1, 0])
    np.testing.assert_array_equal(y, np.zeros_like(x))


@given(st.tuples(*[st.integers(1, 5)] * 3), st.integers(1, 6), SEEDS, LAYOUTS)
def test_local_response_norm_and_its_derivative_are_their_definitions(
    sizes: tuple[int, int, int], size: int, seed: int, axes: Any
) -> None:
    x, grads = laid_out(drawn(seed, *sizes), axes), drawn(seed + 1, *sizes)
    alpha, beta, k = 0.7, 0.6, 1.3
    y = kernels.local_response_norm(x, size, alpha, beta, k)
    dx = kernels.local_response_norm_grad(grads, x, size, alpha, beta, k)
    distance = np.arange(sizes[1]) - np.arange(sizes[1])[:, None]
    neighbours = ((-(size // 2) <= distance) & (distance <= (size - 1) // 2)).astype(float)
    wide, dy = x.astype(float), grads.astype(float)
    divisors = k + alpha / size * (neighbours @ wide**2)
    through = neighbours.T @ (dy * wide * divisors ** (-beta - 1))
    np.testing.assert_allclose(y, wide * divisors**-beta, rtol=FEW_ROUNDINGS)
    expected = dy * divisors**-beta - 2 * alpha * beta / size * wide * through
    largest = 1 + np.abs(wide).max() * np.abs(through).max() + np.abs(dy).max()
    np.testing.assert_allclose(dx, expected, rtol=0, atol=FEW_ROUNDINGS * largest)
    assert {y.dtype, dx.dtype} == {x.dtype}
