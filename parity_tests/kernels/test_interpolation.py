"""Interpolation and its transpose against their definition, pixel by pixel, however the work is cut."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_arrays import SEEDS, drawn, whole
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Resizing, interpolation
from scratch_conv.kernels.windows import Array

LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 12)), min_size=1, max_size=3)


def keys(x: float, a: float) -> float:
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def hat(x: float) -> float:
    return max(0.0, 1 - x)


def weights(inputs: int, outputs: int, resizing: Resizing) -> Array:
    """Return the matrix of an axis, in plain loops."""
    matrix = np.zeros((outputs, inputs))
    scale = inputs / outputs
    if resizing.align_corners:
        scale = (inputs - 1) / (outputs - 1) if outputs > 1 else 0.0
    for i in range(outputs):
        c = i * scale if resizing.align_corners else (i + 0.5) * scale - 0.5
        if resizing.mode == "nearest":
            matrix[i, i * inputs // outputs] = 1
        elif resizing.mode == "nearest-exact":
            matrix[i, min(inputs - 1, (2 * i + 1) * inputs // (2 * outputs))] = 1
        elif resizing.antialias:
            for k in range(inputs):
                x = abs(k + 0.5 - (i + 0.5) * scale) / max(1, scale)
                matrix[i, k] = hat(x) if resizing.mode == "linear" else keys(x, -0.5)
            matrix[i] /= matrix[i].sum()
        elif resizing.mode == "linear" and inputs == outputs:
            matrix[i, i] = 1
        else:
            for k in range(math.floor(c) - 1, math.floor(c) + 3):
                weight = hat(abs(c - k)) if resizing.mode == "linear" else keys(abs(c - k), -0.75)
                matrix[i, min(max(k, 0), inputs - 1)] += weight
    return matrix


def along(matrices: list[Array], x: Array) -> Array:
    for axis, matrix in enumerate(matrices, 1):
        x = np.moveaxis(np.tensordot(x, matrix, (axis, 1)), -1, axis)
    return x


RESIZINGS = st.builds(
    Resizing,
    mode=st.sampled_from(["nearest", "nearest-exact", "linear", "cubic"]),
    align_corners=st.booleans(),
    antialias=st.booleans(),
    scales=st.just(()),
    in_float32=st.booleans(),
)


@pytest.mark.parametrize("block_bytes", [2**20, 64])
def test_interpolation_and_its_transpose_are_their_definitions(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpolation, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(interpolation, "_ROWS", 3)
    monkeypatch.setattr(interpolation, "_COLUMNS", 5)

    @given(LENGTHS, RESIZINGS, st.integers(0, 3), st.integers(1, 3), SEEDS)
    def equal(lengths: Any, resizing: Resizing, images: int, channels: int, seed: int) -> None:
        sizes, others = zip(*lengths, strict=True)
        matrices = [weights(inputs, outputs, resizing) for inputs, outputs in lengths]
        resizing = replace(resizing, scales=(0.0,) * len(sizes))
        x, grads = whole(seed, images, *sizes, channels), whole(seed, images, *others, channels)
        y = kernels.interpolate(x, others, resizing)
        grad_input = kernels.interpolate_grad_input(grads, sizes, resizing)
        np.testing.assert_allclose(y, along(matrices, x), rtol=0, atol=1e-6)
        np.testing.assert_allclose(grad_input, along([each.T for each in matrices], grads), rtol=0, atol=1e-6)

    equal()


@given(LENGTHS, RESIZINGS, SEEDS)
def test_an_infinity_reaches_the_outputs_that_take_from_it_alone(
    lengths: Any, resizing: Resizing, seed: int
) -> None:
    """Zeros of a dense matrix would make NaN of it elsewhere; what is finite is as by the products."""
    sizes, others = zip(*lengths, strict=True)
    resizing = replace(resizing, scales=(0.0,) * len(sizes))
    x = drawn(seed, 1, *sizes, 2)
    finite = kernels.interpolate(x, others, resizing)
    x.reshape(-1)[0] = np.inf
    with np.errstate(invalid="ignore"):
        y = kernels.interpolate(x, others, resizing)
    unit = np.zeros(x.shape)
    unit.reshape(-1)[0] = 1
    met = along([weights(inputs, outputs, resizing) != 0 for inputs, outputs in lengths], unit) > 0
    assert not np.isfinite(y[met]).any()
    assert np.isfinite(y[..., 1]).all()
    calm = np.isfinite(y)
    np.testing.assert_allclose(y[calm], finite[calm], rtol=0, atol=1e-5)


@pytest.mark.parametrize("operation", [kernels.interpolate, kernels.interpolate_grad_input])
def test_results_do_not_depend_on_the_number_of_threads(operation: Callable[..., Array]) -> None:
    x, resizing = drawn(0, 3, 200, 300, 2), Resizing("cubic", False, False, (0.0, 0.0), False)
    results = []
    for threads in (1, 3):
        with kernels.using_num_threads(threads):
            results.append(operation(x, (150, 410), resizing))
    np.testing.assert_array_equal(results[0], results[1])
