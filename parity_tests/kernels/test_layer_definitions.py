"""The kernels of dense layers, activations, normalization and losses against their definitions.

Where sums are exact the results must be equal. Where a root, an exponential or a logarithm comes in, float32
is compared with plain loops in float64, up to a few roundings of float32.
"""

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Classes, elementwise, normalization
from scratch_conv.kernels.windows import Array

# The modules behind the functions of the same names.
LINEAR, SOFTMAX = (sys.modules[f"scratch_conv.kernels.{name}"] for name in ("linear", "softmax"))

SIZES = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
SEEDS = st.integers(0, 2**32 - 1)
LAYOUTS = st.permutations([0, 1, 2])
FLOATS = st.sampled_from([np.float32, np.float64])
FEW_ROUNDINGS = 64 * 2.0**-24


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the work into blocks so small that the drawn arrays have several."""
    monkeypatch.setattr(elementwise, "_CHUNK_BYTES", 16)
    for module in (SOFTMAX, normalization):
        monkeypatch.setattr(module, "_BLOCK_BYTES", 16)
    monkeypatch.setattr(normalization, "_MOST_BYTES", 32)
    monkeypatch.setattr(LINEAR, "_WORTH_A_THREAD", 2)


def laid_out(array: Array, axes: Any) -> Array:
    """Give the same array in memory whose axes are in another order."""
    return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(seed: int, *shape: int, dtype: type = np.float64) -> Array:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


@given(SIZES, st.integers(0, 4), SEEDS, st.booleans(), st.integers(1, 3), FLOATS)
def test_linear_is_its_definition(
    sizes: tuple[int, int, int], outs: int, seed: int, with_bias: bool, num_threads: int, dtype: type
) -> None:
    groups, rows, ins = sizes
    x, w = whole(seed, *sizes, dtype=dtype), whole(seed + 1, groups, outs, ins, dtype=dtype)
    b = whole(seed + 2, groups, outs, dtype=dtype)
    expected: Array = np.zeros((groups, rows, outs), dtype=dtype)
    for g, m, o in np.ndindex(expected.shape):
        expected[g, m, o] = sum(x[g, m, i] * w[g, o, i] for i in range(ins)) + with_bias * b[g, o]
    with kernels.using_num_threads(num_threads):
        np.testing.assert_array_equal(kernels.linear(x, w, b if with_bias else None), expected, strict=True)


@given(SIZES, SEEDS, LAYOUTS, LAYOUTS)
def test_relu_and_its_gate_are_their_definitions(sizes: Any, seed: int, axes: Any, others: Any) -> None:
    """Infinities and NaN are among the values and the gradients."""
    rng = np.random.default_rng(seed)
    values = [-np.inf, -1.0, 0.0, 1.0, np.inf, np.nan]
    x, grads = laid_out(rng.choice(values, sizes), axes), laid_out(rng.choice(values, sizes), others)
    y = kernels.relu(x)
    gated = kernels.relu_gate(grads, y)
    over = x.copy(order="K")
    assert kernels.relu(over, out=over) is over
    np.testing.assert_array_equal(over, y)
    for index in np.ndindex(*sizes):
        np.testing.assert_array_equal(y[index], x[index] if not x[index] < 0 else 0)
        on = x[index] > 0 or math.isnan(x[index])
        np.testing.assert_array_equal(gated[index], grads[index] if on else 0)


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_whole_numbers_are_rectified_as_such(dtype: type) -> None:
    y: Array = np.array([0, 0, 3], dtype=dtype)
    np.testing.assert_array_equal(kernels.relu(np.array([-2, 0, 3], dtype=dtype)), y, strict=True)


@given(SIZES, SEEDS, LAYOUTS, st.booleans())
def test_drop_is_its_definition(sizes: Any, seed: int, axes: Any, by_channel: bool) -> None:
    x = laid_out(whole(seed, *sizes), axes)
    mask = np.random.default_rng(seed).integers(0, 2, (*sizes[:2], 1 if by_channel else sizes[2]))
    y = kernels.drop(x, mask.astype(np.float64), 2.0)
    for i, j, k in np.ndindex(*sizes):
        assert y[i, j, k] == 2 * x[i, j, k] * mask[i, j, 0 if by_channel else k]


@given(SIZES, st.tuples(*[st.booleans()] * 9), st.sampled_from([-3, 1, 2]), SEEDS)
def test_summed_product_is_its_definition(sizes: Any, kept: Any, factor: int, seed: int) -> None:
    shapes = [
        tuple(n if keep else 1 for n, keep in zip(sizes, kept[i : i + 3], strict=True)) for i in (0, 3, 6)
    ]
    a, b, shape = whole(seed, *shapes[0]), whole(seed + 1, *shapes[1]), shapes[2]
    whole_shape = np.broadcast_shapes(a.shape, b.shape)
    wide_a, wide_b = (np.broadcast_to(each, whole_shape) for each in (a, b))
    expected = np.zeros(shape)
    for target in np.ndindex(*shape):
        axes = [
            range(n) if size == 1 else [min(place, n - 1)]
            for n, size, place in zip(whole_shape, shape, target, strict=True)
        ]
        expected[target] = sum(
            factor * wide_a[i, j, k] * wide_b[i, j, k] for i in axes[0] for j in axes[1] for k in axes[2]
        )
    np.testing.assert_array_equal(kernels.summed_product(a, b, shape, factor), expected)


def test_an_infinity_times_zero_raises_no_warning() -> None:
    product = kernels.summed_product(np.array([np.inf, 1.0]), np.array([0.0, 1.0]), (2,), 2.0)
    np.testing.assert_array_equal(product, [np.nan, 2.0])


def test_a_deviation_of_zero_has_an_infinite_inverse() -> None:
    np.testing.assert_array_equal(kernels.inverse_deviation(np.array([0.0, 4.0]), 0.0), [np.inf, 0.5])


@given(SIZES, SEEDS, SEEDS)
def test_softmaxes_and_their_derivatives_are_their_definitions(sizes: Any, seed: int, other: int) -> None:
    apart = 100 * np.abs(whole(seed, sizes[0], 1, sizes[2], dtype=np.float32))  # each vector is elsewhere
    x, grads = drawn(seed, *sizes) * 20 - apart, drawn(other, *sizes)
    p, logarithms = kernels.softmax(x), kernels.log_softmax(x)
    p_grad, log_grad = kernels.softmax_grad(grads, p), kernels.log_softmax_grad(grads, logarithms)
    np.testing.assert_array_equal(kernels.exponential(x), np.exp(x), strict=True)
    assert {result.dtype for result in (p, logarithms, p_grad, log_grad)} == {x.dtype}
    for a, b in np.ndindex(sizes[0], sizes[2]):
        row, g = x[a, :, b].astype(float).tolist(), grads[a, :, b].astype(float).tolist()
        if not row:
            continue
        total = sum(math.exp(v - max(row)) for v in row)
        log_p = [v - max(row) - math.log(total) for v in row]
        exact = [math.exp(v) for v in log_p]
        size = sum(abs(v) for v in g)
        np.testing.assert_allclose(p[a, :, b], exact, rtol=64 * FEW_ROUNDINGS, atol=1e-37)
        np.testing.assert_allclose(logarithms[a, :, b], log_p, rtol=FEW_ROUNDINGS, atol=100 * FEW_ROUNDINGS)
        mean = sum(q * v for q, v in zip(exact, g, strict=True))
        expected = [q * (v - mean) for q, v in zip(exact, g, strict=True)]
        np.testing.assert_allclose(p_grad[a, :, b], expected, atol=100 * FEW_ROUNDINGS * size)
        expected = [v - q * sum(g) for q, v in zip(exact, g, strict=True)]
        np.testing.assert_allclose(log_grad[a, :, b], expected, atol=100 * FEW_ROUNDINGS * size)


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
    inverse: Array = np.array([[1 / total if total else np.nan]], dtype=dtype)
    np.testing.assert_array_equal(
        kernels.inverse_total_weight(classes, np.dtype(dtype)), inverse, strict=True
    )


def test_an_infinity_concerns_its_own_class_only_but_for_label_smoothing() -> None:
    """There a weight of zero turns it into NaN, without a warning."""
    classes = Classes(np.array([[0]]), 2, np.array([[2.0, 0.0]]), -100)
    logarithms, grads = np.array([[[-3.0], [-np.inf]]]), np.array([[np.inf]])
    np.testing.assert_array_equal(kernels.nll(logarithms, classes, 0.0), [[6.0]])
    np.testing.assert_array_equal(kernels.nll_grad(grads, classes, 0.0), [[[-np.inf], [0.0]]])
    np.testing.assert_array_equal(kernels.nll(logarithms, classes, 0.5), [[np.nan]])
    np.testing.assert_array_equal(kernels.nll_grad(grads, classes, 0.5), [[[-np.inf], [np.nan]]])


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


def test_a_mean_of_numbers_near_overflow_is_finite() -> None:
    """Though their sum is not, and an infinity in another channel concerns that one only."""
    x = np.full((4, 3, 25), 1e37, dtype=np.float32)
    x[0, 2, 0] = np.inf
    y, mean, _ = kernels.batch_norm(x, None, None, 1e-5)
    np.testing.assert_allclose(mean, [1e37, 1e37, np.inf], rtol=FEW_ROUNDINGS)
    assert not y[:, :2].any()
    assert np.isnan(y[:, 2]).all()
