"""Summed products against their definition, one term at a time; all sums are exact."""

from typing import Any

import numpy as np
import pytest
from drawn_arrays import SEEDS, SIZES, whole
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels


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


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize(
    "types",
    [(np.float32, np.float32), (np.float32, np.float64), (np.float64, np.float32), (np.complex64,) * 2],
)
def test_products_that_are_cut_into_blocks_are_summed_once(types: Any, axes: tuple[int, ...]) -> None:
    """On several threads too; the sums have the wider of the two types."""
    a, b = (whole(seed, 300, 70, 40, dtype=dtype) for seed, dtype in enumerate(types))
    shape = [1 if axis in axes else size for axis, size in enumerate(a.shape)]
    expected = -2 * (a * b).sum(axis=axes, keepdims=True)
    with kernels.using_num_threads(3):
        got = kernels.summed_product(a, b, shape, -2)
    np.testing.assert_array_equal(got, expected, strict=True)


def test_an_infinity_times_zero_raises_no_warning() -> None:
    product = kernels.summed_product(np.array([np.inf, 1.0]), np.array([0.0, 1.0]), (2,), 2.0)
    np.testing.assert_array_equal(product, [np.nan, 2.0])
