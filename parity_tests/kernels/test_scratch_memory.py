"""Scratch memory is used again, and freed."""

import threading
from typing import Any

import numpy as np
import pytest
from scratch_bounds import scratch_taken

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.convolution import winograd
from scratch_conv.kernels.convolution.winograd_transforms import transform_weight
from scratch_conv.kernels.scratch_memory import padded_empty, padded_scratch, scratch
from scratch_conv.kernels.threads import local, parallel


def test_scratch_memory_is_used_again_until_it_is_freed() -> None:
    first = scratch("test", (3, 4), np.float32)
    assert np.shares_memory(first, scratch("test", (3, 4), np.float32))
    assert np.shares_memory(first, scratch("test", (2,), np.float64))
    assert not np.shares_memory(first, scratch("other", (2,), np.float64))
    for shape, dtype in [((2,), np.float64), ((2,), np.int64), ((2,), np.int32), ((3, 4), np.float32)]:
        again = scratch("test", shape, dtype)
        assert (again.shape, again.dtype) == (shape, np.dtype(dtype))
        assert np.shares_memory(first, again)
    kernels.free_scratch()
    kernels.free_scratch()  # of which there may be none
    assert not np.shares_memory(first, scratch("test", (3, 4), np.float32))


def test_scratch_memory_is_as_large_as_the_largest_array_of_its_name() -> None:
    kernels.free_scratch()
    small, large, small_again = (scratch("test", (size,), np.int16) for size in (10, 1000, 10))
    assert [array.shape for array in (small, large, small_again)] == [(10,), (1000,), (10,)]
    assert np.shares_memory(large, small_again)


def test_memory_for_an_array_is_as_large_as_the_array() -> None:
    assert scratch_taken(lambda: scratch("test", (10,), np.int16)) == 20
    assert (
        scratch_taken(lambda: scratch("test", (10,), np.int16), lambda: scratch("test", (7,), np.int64)) == 56
    )


def test_padded_matrices_do_not_begin_a_multiple_of_4_kib_from_each_other() -> None:
    """But are as an array of their own otherwise: each is contiguous."""
    array = padded_scratch("test", (2, 3, 32, 64), np.float32)
    assert array.shape == (2, 3, 32, 64)
    assert array[0, 0].flags.c_contiguous
    assert array.strides[1] % 2**12 != 0
    assert array.strides[0] == 3 * array.strides[1]
    assert not np.shares_memory(array, padded_scratch("other", (2, 3, 32, 64), np.float32))
    array[...] = 1
    assert scratch("test", (6, 32 * 64 + 16), np.float32)[:, : 32 * 64].all()


def test_a_thread_keeps_64_mebibytes_at_most() -> None:
    """Arrays that are in use stay as they are, and what is larger is not kept."""
    kernels.free_scratch()
    first = scratch("0", (2**20,), np.uint8)
    first[:] = 7
    for number in range(1, 100):
        array = scratch(str(number), (2**20,), np.uint8)
        array[:] = 1
        assert np.shares_memory(array, scratch(str(number), (2**20,), np.uint8))
        assert sum(buffer.nbytes for buffer in local.buffers.values()) <= 2**26
    assert (first == 7).all()
    assert scratch("large", (2**26 + 1,), np.uint8).shape == (2**26 + 1,)
    assert "large" not in local.buffers
    assert scratch("large", (2**25,), np.int32).dtype == np.int32
    assert scratch("whole", (2**26,), np.uint8).shape == (2**26,)
    assert [*local.buffers] == ["whole"]
    kernels.free_scratch()
    halves = [scratch(name, (2**25,), np.uint8) for name in "ab"]
    assert np.shares_memory(halves[0], scratch("a", (2**25,), np.uint8))
    kernels.free_scratch()


def test_a_new_thread_keeps_what_a_block_used() -> None:
    used: list[np.ndarray] = []

    def work() -> None:
        for _ in range(2):
            parallel(lambda _: used.append(scratch("test", (3,), np.float32)), [0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert np.shares_memory(used[0], used[1])


def test_padded_arrays_are_apart_likewise_and_not_kept() -> None:
    array = padded_empty((2, 3, 32, 64), np.float32)
    assert array.shape == (2, 3, 32, 64)
    assert array.strides == padded_scratch("test", (2, 3, 32, 64), np.float32).strides
    assert not np.shares_memory(array, padded_empty((2, 3, 32, 64), np.float32))


@pytest.mark.parametrize("fails", [False, True])
def test_a_kernel_in_the_middle_of_another_has_scratch_memory_of_its_own(fails: bool) -> None:
    """As a signal's handler or a finalizer may call one; afterwards the outer one's is used again."""

    def inner(_: int) -> None:
        scratch("test", (4,), np.float32)[:] = 2
        if fails:
            raise ArithmeticError

    def outer(_: int) -> None:
        array = scratch("test", (4,), np.float32)
        array[:] = 1
        try:
            parallel(inner, [0])
        except ArithmeticError:
            assert fails
        assert array.tolist() == [1] * 4
        assert np.shares_memory(array, scratch("test", (4,), np.float32))

    parallel(outer, [0])
    parallel(outer, [0])


def test_a_kernel_before_the_blocks_of_another_does_not_change_its_transformed_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The blocks of Winograd's algorithm share them, and they are computed before the blocks begin."""
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    x, w = np.ones((2, 2, 9, 9), np.float32), np.ones((2, 2, 3, 3), np.float32)
    expected = winograd.conv(x, w, None, window, 1)

    def interrupted(*args: Any) -> None:
        transform_weight(*args)
        monkeypatch.undo()
        winograd.conv(x, 2 * w, None, window, 1)

    monkeypatch.setattr(f"{winograd.__name__}.transform_weight", interrupted)
    np.testing.assert_array_equal(winograd.conv(x, w, None, window, 1), expected)
