"""The negative log-likelihood against its definition, one term at a time; all sums are exact."""

import numpy as np
import pytest
from drawn_arrays import FLOATS, SEEDS, whole
from hypothesis import example, given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Classes
from scratch_conv.kernels.windows import Array

POWERS_OF_TWO = st.sampled_from([1, 2, 4, 8])
"""Numbers of classes by which a division is exact."""


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("weights", [None, "shared", "own"])
@given(
    st.tuples(st.integers(0, 3), st.just(0) | POWERS_OF_TWO, st.integers(0, 3)),
    st.sampled_from([-100, 0, 1]),
    FLOATS,
    SEEDS,
)
@example((1, 1, 1), 0, np.float32, 0)  # the only class is the ignored one
@example((1, 0, 1), 0, np.float32, 0)  # none is there
def test_nll_and_its_transpose_are_their_definitions(
    weights: str | None, smoothing: float, sizes: tuple[int, int, int], ignored: int, dtype: type, seed: int
) -> None:
    outer, number, inner = sizes
    logarithms, grads = whole(seed, *sizes, dtype=dtype), whole(seed + 1, outer, inner, dtype=dtype)
    target = np.random.default_rng(seed).integers(0, max(1, number), (outer, inner))
    if not number:
        target[...] = ignored
    rows = outer if weights == "own" else 1
    weight = None if weights is None else whole(seed + 2, rows, number, dtype=dtype)
    classes = Classes(target, number, weight, ignored)
    losses: Array = np.zeros((outer, inner), dtype=dtype)
    transpose: Array = np.zeros(sizes, dtype=dtype)
    total = 0.0
    for a, b in np.ndindex(outer, inner):
        if target[a, b] == ignored:
            continue
        row = np.ones(number) if weight is None else weight[a if weights == "own" else 0]
        total += row[target[a, b]]
        for k in range(number):
            share = row[k] * ((1 - smoothing) * (k == target[a, b]) + smoothing / number)
            losses[a, b] -= share * logarithms[a, k, b]
            transpose[a, k, b] -= share * grads[a, b]
    np.testing.assert_array_equal(kernels.nll(logarithms, classes, smoothing), losses, strict=True)
    np.testing.assert_array_equal(kernels.nll_grad(grads, classes, smoothing), transpose, strict=True)
    expected: Array = np.array([[total]], dtype=dtype)
    np.testing.assert_array_equal(kernels.total_weight(classes, np.dtype(dtype)), expected, strict=True)


@pytest.mark.parametrize("number", [1024, 1025, 2048, 5000])
def test_label_smoothing_weighs_every_one_of_many_classes(number: int) -> None:
    logarithms, weight = whole(0, 2, number, 3), whole(1, 1, number)
    target = np.arange(6).reshape(2, 3)
    expected = -0.5 * weight[0, target] * np.take_along_axis(logarithms, target[:, None], axis=1)[:, 0]
    expected -= 0.5 / number * (weight[..., None] * logarithms).sum(axis=1)
    losses = kernels.nll(logarithms, Classes(target, number, weight, -100), 0.5)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


def test_an_infinity_concerns_its_own_class_only_but_for_label_smoothing() -> None:
    """There a weight of zero turns it into NaN, without a warning."""
    classes = Classes(np.array([[0]]), 2, np.array([[2.0, 0.0]]), -100)
    logarithms, grads = np.array([[[-3.0], [-np.inf]]]), np.array([[np.inf]])
    np.testing.assert_array_equal(kernels.nll(logarithms, classes, 0.0), [[6.0]])
    np.testing.assert_array_equal(kernels.nll_grad(grads, classes, 0.0), [[[-np.inf], [0.0]]])
    np.testing.assert_array_equal(kernels.nll(logarithms, classes, 0.5), [[np.nan]])
    np.testing.assert_array_equal(kernels.nll_grad(grads, classes, 0.5), [[[-np.inf], [np.nan]]])


def test_an_infinity_of_a_class_of_weight_zero_is_nan_without_a_warning() -> None:
    classes = Classes(np.array([[0]]), 2, np.array([[0.0, 2.0]]), -100)
    np.testing.assert_array_equal(kernels.nll(np.array([[[-np.inf], [-3.0]]]), classes, 0.0), [[np.nan]])


@pytest.mark.parametrize("target", [-1, 3])
def test_a_target_outside_of_the_classes_is_refused(target: int) -> None:
    classes = Classes(np.array([[target]]), 3, None, -100)
    with pytest.raises(IndexError, match=f"^Target {target} is out of bounds: expected 0 to 2$"):
        kernels.nll(np.zeros((1, 3, 1)), classes, 0.0)


@given(st.integers(0, 3), st.just(0) | POWERS_OF_TWO, st.integers(0, 3), SEEDS)
def test_smooth_labels_are_their_definition(outer: int, number: int, inner: int, seed: int) -> None:
    labels = whole(seed, outer, number, inner, dtype=np.float32)
    mixed = np.zeros_like(labels)
    for index in np.ndindex(mixed.shape):
        mixed[index] = 0.75 * labels[index] + 0.25 / number
    np.testing.assert_array_equal(kernels.smooth_labels(labels, 0.25), mixed, strict=True)


@given(st.floats(width=32), st.floats(width=32))
def test_a_quotient_is_rounded_once(value: float, divisor: float) -> None:
    """Also by what has no finite inverse: tiny weights, and none."""
    values, divisors = np.array([[value]], np.float32), np.array([[divisor]], np.float32)
    with np.errstate(all="ignore"):
        expected = values / divisors
    np.testing.assert_array_equal(kernels.quotient(values, divisors), expected, strict=True)
