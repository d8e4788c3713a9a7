"""Elementwise work meets each element once, in chunks that fit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scratch_bounds import scratch_taken

from scratch_conv import kernels
from scratch_conv.kernels import elementwise

pytestmark = pytest.mark.mutation


@given(
    st.tuples(*[st.integers(0, 5)] * 3),
    st.permutations([0, 1, 2]),
    st.permutations([0, 1, 2]),
    st.sampled_from([4, 100, 2**18]),
)
def test_each_element_is_met_once_in_chunks_that_fit(
    sizes: tuple[int, int, int], axes: list[int], others: list[int], chunk_bytes: int
) -> None:
    """Whatever the order of the axes in memory. Operands keep their types: 2**30 + 1 is no float32."""
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    result = np.zeros([sizes[axis] for axis in axes], np.float32).transpose(np.argsort(axes))
    large = np.array((numbers + 2**30).transpose(others), np.float64, order="C").transpose(np.argsort(others))
    lengths: list[int] = []

    def work(result: np.ndarray, large: np.ndarray) -> None:
        lengths.append(len(result))
        result += large - 2**30

    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(1):
        patch.setattr(elementwise, "_CHUNK_BYTES", chunk_bytes)
        elementwise.over_elements(work, result, large)
    np.testing.assert_array_equal(result, numbers)
    assert all(length <= chunk_bytes // 4 for length in lengths)
    assert not lengths or max(lengths) == numbers.size or 2 * max(lengths) > chunk_bytes // 4


def test_only_operands_in_another_order_are_copied() -> None:
    """To scratch memory: fresh memory would cost more than the copy."""
    result, alike, other = (np.zeros((64, 64), np.float32) for _ in range(3))

    def taken(*operands: np.ndarray) -> int:
        with kernels.using_num_threads(1):
            return scratch_taken(lambda: elementwise.over_elements(lambda *_: None, result, *operands))

    assert taken(alike) == 0
    assert taken(other.T) == taken(alike, other.T) == other.nbytes


@given(st.tuples(*[st.integers(0, 5)] * 3), st.permutations([0, 1, 2]), st.sampled_from([4, 100, 2**18]))
def test_arrays_that_lie_in_memory_alike_are_cut_into_equal_chunks(
    sizes: tuple[int, int, int], axes: list[int], chunk_bytes: int
) -> None:
    result = np.zeros([sizes[axis] for axis in axes], np.float32).transpose(np.argsort(axes))
    lengths: list[int] = []
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(1):
        patch.setattr(elementwise, "_CHUNK_BYTES", chunk_bytes)
        elementwise.over_elements(
            lambda result, ones: lengths.append(len(result)), result, np.ones_like(result)
        )
    assert all(length == chunk_bytes // 4 for length in lengths[:-1])
    assert sum(lengths) == result.size
