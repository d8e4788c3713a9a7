"""The family of activations: values against their definitions, each slope against the one before it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from drawn_arrays import LAYOUTS, SEEDS, SIZES, laid_out
from hypothesis import given

from scratch_conv import kernels
from scratch_conv.kernels.activation.normal import probability
from scratch_conv.kernels.windows import Array

Definition = Callable[..., float]


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def limited(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


CUBIC = 2 * math.sqrt(2 / math.pi)
ROWS: dict[str, tuple[Definition, tuple[float, ...]]] = {
    "elu": (lambda x, a, s, i: s * x if x > 0 else a * s * math.expm1(i * x), (1.5, 1.2, 0.7)),
    "gelu": (lambda x: x * math.erfc(-x / math.sqrt(2)) / 2, ()),
    "gelu_tanh": (lambda x: x * logistic(CUBIC * (x + 0.044715 * x**3)), ()),
    "hardsigmoid": (lambda x: limited(x + 3, 0, 6) / 6, ()),
    "hardswish": (lambda x: x * limited(x + 3, 0, 6) / 6, ()),
    "hardtanh": (limited, (-0.5, 2.0)),
    "leaky_relu": (lambda x, slope: x if x > 0 else x * slope, (0.2,)),
    "mish": (lambda x: x * math.tanh(math.log1p(math.exp(x))), ()),
    "sigmoid": (logistic, ()),
    "silu": (lambda x: x * logistic(x), ()),
    "softplus": (lambda x, b, t: x if b * x > t else math.log1p(math.exp(b * x)) / b, (2.0, 3.0)),
    "softsign": (lambda x: x / (1 + abs(x)), ()),
    "tanh": (math.tanh, ()),
}
STEP = 2.0**-13


def numbers(seed: int, *sizes: int) -> Array:
    """Draw numbers that are farther than a step from the corners, which lie at multiples of a half."""
    rng = np.random.default_rng(seed)
    return rng.integers(-8, 8, sizes) / 2 + rng.uniform(0.01, 0.49, sizes)


@pytest.mark.parametrize("name", ROWS)
def test_values_are_their_definitions(name: str) -> None:
    define, parameters = ROWS[name]

    @given(SIZES, SEEDS, LAYOUTS)
    def equal(sizes: Any, seed: int, axes: Any) -> None:
        x = laid_out(numbers(seed, *sizes), axes)
        y = kernels.activation(x, name, *parameters)
        assert y.strides == np.empty_like(x).strides
        expected = np.array([define(each, *parameters) for each in x.ravel().tolist()]).reshape(x.shape)
        np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(
            kernels.activation(x.astype(np.float32), name, *parameters), expected, rtol=2e-6, atol=2e-6
        )

    equal()


@pytest.mark.parametrize("name", ROWS)
def test_each_slope_is_the_derivative_of_the_one_before(name: str) -> None:
    """By central differences, in what is kept for the backward pass; the first is that of the values."""
    parameters = ROWS[name][1]
    x, ones = numbers(0, 5, 40), np.ones((5, 40))

    def of_order(order: int, at: Array) -> Array:
        return kernels.activation_slope(ones, at, name, order, *parameters)

    y = kernels.activation(x, name, *parameters)
    near = (kernels.activation(x + side, name, *parameters) for side in (STEP, -STEP))
    kept = y if kernels.keeps_output(name) else x
    np.testing.assert_allclose(of_order(1, kept), np.subtract(*near) / (2 * STEP), rtol=1e-6, atol=1e-6)
    for order in range(1, 5):
        differences = (of_order(order, kept + STEP) - of_order(order, kept - STEP)) / (2 * STEP)
        np.testing.assert_allclose(of_order(order + 1, kept), differences, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "mish", "silu", "softplus"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_away_an_activation_is_a_line(name: str, dtype: type) -> None:
    """No power of x, and no exponential, overflows on the way."""
    far: Array = np.array([60, 1e6, np.finfo(dtype).max], dtype)
    parameters = {"softplus": (1.0, 20.0)}.get(name, ())
    for x, slope in ((far, 1.0), (-far, 0.0)):
        ones = np.ones_like(x)
        np.testing.assert_allclose(kernels.activation(x, name, *parameters), slope * x, atol=1e-20)
        first = kernels.activation_slope(ones, x, name, 1, *parameters)
        np.testing.assert_allclose(first, slope * ones, rtol=1e-6, atol=1e-12)
        for order in (2, 3):
            values = kernels.activation_slope(ones, x, name, order, *parameters)
            np.testing.assert_allclose(values, 0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "most"), [(np.float32, 4), (np.float64, 8)])
def test_the_normal_distribution_errs_by_a_few_units(dtype: type, most: float) -> None:
    x: Array = np.linspace(-9, 9, 20_001).astype(dtype)
    exact = np.array([math.erfc(-float(each) / math.sqrt(2)) / 2 for each in x])
    error = np.abs(probability(x) - exact)
    assert error.max() <= most * np.finfo(dtype).eps / 2
    assert (probability(x) >= 0).all()


@given(SIZES, SEEDS, LAYOUTS, LAYOUTS)
def test_prelu_and_its_slope_are_their_definitions(sizes: Any, seed: int, axes: Any, others: Any) -> None:
    """Infinities and NaN are among the values and the gradients."""
    rng = np.random.default_rng(seed)
    values = [-np.inf, -1.0, 0.0, 1.0, np.inf, np.nan]
    x, grads = laid_out(rng.choice(values, sizes), axes), laid_out(rng.choice(values, sizes), others)
    weight = rng.standard_normal((1, sizes[1], 1))
    y, slopes = kernels.prelu(x, weight), kernels.prelu_slope(grads, x, weight)
    gated = kernels.negative_gate(grads, x)
    for index in np.ndindex(*sizes):
        factor = 1 if x[index] > 0 else weight[0, index[1], 0]
        np.testing.assert_array_equal(y[index], x[index] * factor)
        np.testing.assert_array_equal(slopes[index], grads[index] * factor)
        np.testing.assert_array_equal(gated[index], 0 if x[index] > 0 else grads[index])


def test_leaky_long_doubles_are_their_definition() -> None:
    """There are no integers of their size, whose bits could be chosen."""
    x, grads = np.array([[-2, 0, 3]], np.longdouble), np.array([[1, 2, 3]], np.longdouble)
    y = kernels.activation(x, "leaky_relu", 2.0)
    np.testing.assert_array_equal(y, np.array([[-4, 0, 3]], np.longdouble), strict=True)
    slopes = kernels.activation_slope(grads, x, "leaky_relu", 1, 2.0)
    np.testing.assert_array_equal(slopes, np.array([[2, 4, 3]], np.longdouble), strict=True)


def test_whole_numbers_are_limited_as_such() -> None:
    y = kernels.activation(np.array([-5, 0, 5]), "hardtanh", -1.5, 2.5)
    np.testing.assert_array_equal(y, np.array([-1, 0, 2]), strict=True)
