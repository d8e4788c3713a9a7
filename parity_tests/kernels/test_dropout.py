"""Dropout against its definition, one element at a time."""

from typing import Any

import numpy as np
from drawn_arrays import LAYOUTS, SEEDS, SIZES, laid_out, whole
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels


@given(SIZES, SEEDS, LAYOUTS, st.booleans())
def test_drop_is_its_definition(sizes: Any, seed: int, axes: Any, by_channel: bool) -> None:
    x = laid_out(whole(seed, *sizes), axes)
    mask = np.random.default_rng(seed).integers(0, 2, (*sizes[:2], 1 if by_channel else sizes[2]))
    y = kernels.drop(x, mask.astype(np.float64), 2.0)
    for i, j, k in np.ndindex(*sizes):
        assert y[i, j, k] == 2 * x[i, j, k] * mask[i, j, 0 if by_channel else k]
