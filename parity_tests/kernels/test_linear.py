"""Linear layers against their definition, one term at a time; all sums are exact."""

import numpy as np
from drawn_arrays import FLOATS, SEEDS, SIZES, whole
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array


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
