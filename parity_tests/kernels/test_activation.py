"""ReLU against its definition, one element at a time."""

import math
from typing import Any

import numpy as np
import pytest
from drawn_arrays import LAYOUTS, SEEDS, SIZES, laid_out
from hypothesis import given

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array


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


def test_a_gate_of_long_doubles_is_its_definition() -> None:
    """There are no integers of their size, whose bits could be masked."""
    y, grads = np.array([[0, 0.5, 2, np.nan], [np.inf, 3, 5, 7]], np.longdouble)
    np.testing.assert_array_equal(
        kernels.relu_gate(grads, y), np.array([0, 3, 5, 7], np.longdouble), strict=True
    )


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_whole_numbers_are_rectified_as_such(dtype: type) -> None:
    y: Array = np.array([0, 0, 3], dtype=dtype)
    np.testing.assert_array_equal(kernels.relu(np.array([-2, 0, 3], dtype=dtype)), y, strict=True)
