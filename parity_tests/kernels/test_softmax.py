"""Softmax and log-softmax in float32 against plain loops in float64, up to a few roundings of float32."""

import math
from typing import Any

import numpy as np
from drawn_arrays import FEW_ROUNDINGS, SEEDS, SIZES, drawn, whole
from hypothesis import given

from scratch_conv import kernels


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
