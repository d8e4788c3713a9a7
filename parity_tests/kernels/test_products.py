"""Summed products against their definition, one term at a time; all sums are exact."""

from typing import Any

import numpy as np
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


def test_an_infinity_times_zero_raises_no_warning() -> None:
    product = kernels.summed_product(np.array([np.inf, 1.0]), np.array([0.0, 1.0]), (2,), 2.0)
    np.testing.assert_array_equal(product, [np.nan, 2.0])
