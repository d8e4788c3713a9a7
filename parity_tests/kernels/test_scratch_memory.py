"""Scratch memory is used again, and freed."""

import numpy as np
from scratch_bounds import scratch_taken

from scratch_conv import kernels
from scratch_conv.kernels.scratch_memory import padded_scratch, scratch


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
