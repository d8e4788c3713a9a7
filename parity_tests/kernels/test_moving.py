"""Kernels that move elements, against their definitions; their transposes by <A x, y> = <x, Aᵀ y>."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window, padding, shuffling, unfolding

MODES = ("constant", "reflect", "replicate", "circular")
SIDES = st.integers(-3, 4)


def places(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """Return for each element of a padded axis the element of x that it is; -1 for the value."""
    steps = np.arange(-before, size + after)
    if mode == "constant":
        return np.where((steps >= 0) & (steps < size), steps, -1)
    if mode == "replicate":
        return steps.clip(0, size - 1)
    if mode == "reflect":
        return size - 1 - abs(size - 1 - abs(steps))
    first, last = max(0, -before), size - max(0, -after)
    return first + (steps - first) % (last - first)


def fits(size: int, before: int, after: int, mode: str) -> bool:
    """Return whether an axis can be padded so."""
    kept = size + min(before, 0) + min(after, 0)
    most = {"reflect": size - 1, "circular": kept}.get(mode, 99)
    return kept > 0 and max(before, after) <= most


def blocks(patch: pytest.MonkeyPatch, block_bytes: int) -> None:
    """Cut the work into blocks of so many bytes."""
    for module in (padding, shuffling, unfolding):
        patch.setattr(module, "_BLOCK_BYTES", block_bytes)


@given(
    st.sampled_from(MODES),
    st.lists(st.tuples(st.integers(1, 5), SIDES, SIDES), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from([1, 300, 2**20]),
)
def test_padding_is_its_definition_and_has_its_transpose(
    mode: str, axes: list[tuple[int, int, int]], channels_last: bool, block_bytes: int
) -> None:
    axes = [(n, *((before, after) if fits(n, before, after, mode) else (0, 0))) for n, before, after in axes]
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, *(size for size, _, _ in axes))).astype(np.float32)
    pairs = ((0, 0), (0, 0), *((before, after) for _, before, after in axes))
    expected = x
    for axis, (size, before, after) in enumerate(axes, 2):
        chosen = places(size, before, after, mode)
        expected = np.take(expected, chosen, axis)
        outside: Any = (*[slice(None)] * axis, chosen < 0)
        expected[outside] = 7
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(2):
        blocks(patch, block_bytes)
        if mode == "constant":
            y = kernels.pad_constant(x, pairs, 7, channels_last)
        else:
            y = kernels.pad_edges(x, pairs, mode, channels_last)
            grad = kernels.pad_edges_grad(expected[::-1], x.shape, pairs, mode, channels_last)
            assert np.vdot(grad, x) == np.vdot(expected[::-1], y)
            assert grad.strides == kernels.pad_constant(x, ((0, 0),) * x.ndim, 0, channels_last).strides
    np.testing.assert_array_equal(y, expected)
    assert (np.moveaxis(y, 1, -1) if channels_last else y).flags.c_contiguous


@given(st.integers(1, 3), st.booleans(), st.booleans(), st.sampled_from([1, 100, 2**20]))
def test_shuffling_is_its_definition(r: int, first: bool, last: bool, block_bytes: int) -> None:
    x = np.arange(2 * 2 * r * r * 3 * 2).reshape(2, 2 * r * r, 3, 2)
    x = np.asarray(x, order="F") if first else x
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(2):
        blocks(patch, block_bytes)
        y, z = kernels.pixel_shuffle(x, r, last), kernels.channel_shuffle(x, 2, last)
        np.testing.assert_array_equal(kernels.pixel_unshuffle(y, r, not last), x)
    for n, c, p, q in np.ndindex(*y.shape):
        assert y[n, c, p, q] == x[n, (c * r + p % r) * r + q % r, p // r, q // r]
    for k in range(2 * r * r):
        np.testing.assert_array_equal(z[:, k], x[:, k % 2 * r * r + k // 2])
    for each in (y, z):
        assert (np.moveaxis(each, 1, -1) if last else each).flags.c_contiguous


NUMBERS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60)
@given(
    NUMBERS, NUMBERS, NUMBERS, st.tuples(st.integers(0, 70), st.integers(0, 2)), st.sampled_from([1, 2**20])
)
def test_columns_are_their_definition_and_have_their_transpose(
    taps: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    sides: tuple[int, int],
    block_bytes: int,
) -> None:
    window = Window(taps, stride, tuple((side, side) for side in sides), dilation)
    x = np.random.default_rng(1).integers(-9, 9, (2, 2, 6, 4)).astype(np.float64)
    size = window.output_size((6, 4))
    if min(size) < 1:
        return
    padded = np.pad(x, ((0, 0), (0, 0), *window.padding))
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(2):
        blocks(patch, block_bytes)
        columns = kernels.im2col(x, window)
        upstream = columns[:, ::-1] + 1
        images = kernels.col2im(upstream, (6, 4), window)
    by_tap = columns.reshape(2, 2, *taps, *size)
    for i, j, p, q in np.ndindex(*taps, *size):
        pixels = padded[:, :, p * stride[0] + i * dilation[0], q * stride[1] + j * dilation[1]]
        np.testing.assert_array_equal(by_tap[:, :, i, j, p, q], pixels)
    assert np.vdot(images, x) == np.vdot(upstream, columns)


@pytest.mark.parametrize("taps", [(2, 3), (1, 1), (6, 1)])
def test_blocks_that_lie_side_by_side_are_put_back(taps: tuple[int, int]) -> None:
    window = Window(taps, taps, ((0, 0), (0, 0)), (1, 1))
    x = np.arange(144.0).reshape(2, 2, 6, 6)
    np.testing.assert_array_equal(kernels.col2im(kernels.im2col(x, window), (6, 6), window), x)


def test_alpha_dropout_adds_one_of_two_numbers() -> None:
    x, mask = np.arange(6.0).reshape(2, 3), np.array([[1.0, 0.0, 1.0]])
    expected = [[0.5, -2.0, 4.5], [6.5, -2.0, 10.5]]
    np.testing.assert_array_equal(kernels.alpha_drop(x, mask, 2.0, 0.5, -2.0), expected)
