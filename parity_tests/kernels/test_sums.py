"""Sums of many terms against float64, by the bound that `sums` states; infinities and whole numbers too."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from drawn_arrays import LAYOUTS, SEEDS, laid_out
from hypothesis import given, settings
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Classes
from scratch_conv.kernels.windows import Array

COUNTS = st.integers(0, 5) | st.sampled_from([255, 256, 1023, 1024, 1025, 1280, 5000, 70_000])
FEW = st.integers(1, 3)


def bound(terms: Array, axes: tuple[int, ...]) -> Any:
    """Return gamma_k Σ|x|, k = 1024 + 256 · ⌈log_256 n⌉ for each axis."""
    k = sum(1024 + 256 * int(np.ceil(np.log(max(2, terms.shape[axis])) / np.log(256))) for axis in axes)
    u = np.finfo(terms.dtype).eps / 2
    return k * u / (1 - k * u) * np.abs(terms).sum(axis=axes, keepdims=True, dtype=np.float64)


@given(
    st.tuples(FEW, COUNTS, FEW).flatmap(st.permutations),
    st.sampled_from([(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)]),
    LAYOUTS,
    st.sampled_from([np.float32, np.float64, np.complex64, np.longdouble]),
    SEEDS,
)
def test_sums_are_within_their_bound(
    shape: Any, axes: tuple[int, ...], layout: Any, dtype: type, seed: int
) -> None:
    """Of numbers of about the same size, whose rounding errors add up."""
    terms: Array = laid_out(1 + np.random.default_rng(seed).random(tuple(shape)).astype(dtype), layout)
    wide = np.complex128 if dtype is np.complex64 else np.longdouble
    exact = terms.sum(axis=axes, keepdims=True, dtype=wide)
    sums = kernels.summed(terms, axes)
    assert sums.dtype == dtype
    assert sums.shape == exact.shape
    assert (np.abs(sums - exact) <= bound(terms, axes)).all()
    whole: Array = np.rint(10 * terms.real).astype(np.int8)
    expected = whole.sum(axis=axes, keepdims=True, dtype=np.int8)
    np.testing.assert_array_equal(kernels.summed(whole, axes), expected, strict=True)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex64])
@pytest.mark.parametrize("shape", [(2, 5003, 3), (5003, 2, 3), (2, 3, 5003), (1, 1024, 1), (3, 1280, 2)])
def test_sums_of_whole_numbers_in_any_number_of_parts_are_exact(
    shape: Any, dtype: type, axes: tuple[int, ...]
) -> None:
    terms: Array = (np.arange(np.prod(shape)).reshape(shape) % 7).astype(dtype)
    expected = terms.sum(axis=axes, keepdims=True)
    every_other = np.repeat(terms, 2, axis=1)[:, ::2]
    for laid in (terms, np.asfortranarray(terms), terms[..., ::-1].copy()[..., ::-1], every_other):
        np.testing.assert_array_equal(kernels.summed(laid, axes), expected, strict=True)
    rows = terms.reshape(-1, shape[-1])
    np.testing.assert_array_equal(kernels.column_sums(terms), terms.sum(axis=-2), strict=True)
    np.testing.assert_array_equal(kernels.column_sums(rows), rows.sum(axis=0), strict=True)
    products = kernels.sums_of_products(rows, rows)
    np.testing.assert_array_equal(products, (rows * rows).sum(axis=0), strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.longdouble])
@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("layout", [*permutations(range(3))])
def test_ones_are_not_lost_beside_a_large_number(layout: Any, columns: int, dtype: type) -> None:
    """Added to it one after the other they would be, in the layouts in which NumPy adds so."""
    rows: Array = np.ones((2, 2**16, columns), dtype)
    rows[:, 0] = 2 / np.finfo(dtype).eps
    of_ones = kernels.column_sums(laid_out(rows, layout)) - rows[:, 0]
    assert (np.abs(of_ones - (2**16 - 1)) <= bound(rows, (1,))[:, 0]).all()


@pytest.mark.parametrize("columns", [1, 2])
def test_a_number_is_repeated_beyond_what_its_type_can_count(columns: int) -> None:
    repeated: Array = np.broadcast_to(np.ones(columns, np.float32), (2**25, columns))
    np.testing.assert_array_equal(kernels.column_sums(repeated), np.full(columns, 2**25, np.float32))


@given(SEEDS, st.sampled_from([np.inf, -np.inf, np.nan]))
@settings(max_examples=20)
def test_what_is_not_finite_stays_in_its_column(seed: int, value: float) -> None:
    terms: Array = np.random.default_rng(seed).random((1, 3000, 4)).astype(np.float32)
    terms[0, seed % 3000, 1] = value
    np.testing.assert_array_equal(np.isfinite(kernels.column_sums(terms)), [[True, False, True, True]])
    np.testing.assert_array_equal(kernels.column_sums(terms)[0, 1], value)


ROWS = 2_000_000
"""So many float32 rows err by more than one in a thousand where they are added one after the other."""

VALUE = np.float32(0.7)


def _ones(*shape: int) -> Array:
    return np.full(shape, VALUE)


SMOOTHED = Classes(np.zeros((1, 2), np.int64), ROWS, None, -100)


@pytest.mark.parametrize(
    "mean",
    {
        "a linear layer's bias": lambda: kernels.summed_product(
            _ones(1, ROWS, 2), np.ones((1, 1, 1), np.float32), (1, 1, 2), 1 / ROWS
        ),
        "a convolution's bias": lambda: kernels.conv_grad_bias(_ones(ROWS, 2, 1, 1)) / np.float32(ROWS),
        "a convolution's bias, channels_last": lambda: (
            kernels.conv_grad_bias(_ones(1, ROWS, 1, 2).transpose(0, 3, 1, 2)) / np.float32(ROWS)
        ),
        "a batch's mean": lambda: kernels.batch_norm(_ones(ROWS, 2, 1), None, None, 1e-5)[1],
        "batch norm's bias": lambda: (
            kernels.batch_norm_grad(
                _ones(ROWS, 2, 1), _ones(ROWS, 2, 1), _ones(2), _ones(2), None, 1e-5
            )[2]
            / np.float32(ROWS)
        ),
        "a layer's mean": lambda: kernels.group_norm(_ones(2, ROWS, 1), 1, None, None, 1e-5)[1],
        "an instance's mean": lambda: kernels.group_norm(_ones(1, 2, ROWS), 2, None, None, 1e-5)[1],
        "layer norm's bias": lambda: (
            kernels.group_norm_grad(
                _ones(ROWS, 2, 1), _ones(ROWS, 2, 1), _ones(ROWS, 1), _ones(ROWS, 1), None, 1e-5
            )[2]
            / np.float32(ROWS)
        ),
        "smoothed labels": lambda: kernels.nll(-_ones(1, ROWS, 2), SMOOTHED, 1.0),
        "softmax over an outer axis": lambda: VALUE * kernels.softmax(_ones(1, ROWS, 2))[0, 0] * ROWS,
        "a softmax's logarithm": lambda: VALUE * np.exp(
            kernels.log_softmax(_ones(1, ROWS, 2))[0, 0].astype(float) + np.log(ROWS)
        ),
        "its gradient": lambda: VALUE
        - kernels.log_softmax_grad(_ones(1, ROWS, 2), np.full((1, ROWS, 2), -np.log(ROWS), np.float32))[0, 0],
    }.items(),
    ids=lambda named: named[0],
)  # fmt: skip
def test_a_mean_over_many_rows_is_that_of_its_terms(mean: tuple[str, Callable[[], Array]]) -> None:
    got = mean[1]()
    np.testing.assert_allclose(got, np.full_like(got, VALUE), rtol=1e-4)


def test_a_variance_over_many_rows_is_that_of_its_terms() -> None:
    x: Array = np.tile(np.array([[[-0.7]], [[0.7]]], np.float32), (ROWS // 2, 2, 1))
    variance = kernels.batch_norm(x, None, None, 1e-5)[2]
    np.testing.assert_allclose(variance, [VALUE**2] * 2, rtol=1e-4)
    weights = kernels.batch_norm_grad(x, x, np.zeros(2, np.float32), variance, None, 0.0)[1]
    np.testing.assert_allclose(weights / ROWS, [VALUE] * 2, rtol=1e-4)
