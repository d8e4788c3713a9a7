"""Arrays that the tests of layers are drawn from: small, of any order in memory, whole numbers among them."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from scratch_conv.kernels.windows import Array

SIZES = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
SEEDS = st.integers(0, 2**32 - 1)
LAYOUTS = st.permutations([0, 1, 2])
FLOATS = st.sampled_from([np.float32, np.float64])
FEW_ROUNDINGS = 64 * 2.0**-24


def laid_out(array: Array, axes: Any) -> Array:
    """Return the same array in memory whose axes are in another order."""
    return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(seed: int, *shape: int, dtype: type = np.float64) -> Array:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)
