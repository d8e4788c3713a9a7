"""How much memory operations take, and how much of it blocks of so many bytes allow."""

import math
import tracemalloc
from collections.abc import Callable

from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels.threads import local
from scratch_conv.kernels.windows import Array, Pair


def scratch_taken(*operations: Callable[[], object]) -> int:
    """Count the bytes of scratch memory that the operations take, one after the other."""
    kernels.free_scratch()
    for operation in operations:
        operation()
    buffers: dict[str, Array] = local.buffers
    return sum(buffer.nbytes for buffer in buffers.values())


BYTES = st.sampled_from([1, 2_000, 20_000, 2**22])


def assert_as_many_as_fit(taken: int, taken_each: int, count: int, bytes_each: int, block_bytes: int) -> None:
    """Of `count` things, each of `bytes_each`, `taken` memory holds those that fit into a block."""
    at_a_time, rest = divmod(taken, taken_each)
    assert rest == 0
    assert at_a_time == 1 or 1 < at_a_time <= min(count, block_bytes / bytes_each)
    assert at_a_time == count or (at_a_time + 1) * bytes_each > block_bytes


def assert_planes_or_blocks_fit(
    taken: int, taken_each: int, count: int, size: Pair, bytes_each: tuple[int, int], block_bytes: int
) -> None:
    """Memory holds as many of `count` planes of that size as fit, or rows of one, or columns of one row.

    A plane counts as the first of `bytes_each`, and when it is cut, as the second.
    """
    plane, cut = bytes_each
    row = cut // size[0]
    if cut <= block_bytes:
        assert_as_many_as_fit(taken, taken_each * math.prod(size), count, plane, block_bytes)
    elif row <= block_bytes:
        assert_as_many_as_fit(taken, taken_each * size[1], size[0], row, block_bytes)
    else:
        assert_as_many_as_fit(taken, taken_each, size[1], row // size[1], block_bytes)


def taken_beside_results(operation: Callable[[], object]) -> int:
    """Count the bytes that an operation takes at its peak, beside its results and operands."""
    kernels.free_scratch()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = operation()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    results = result if isinstance(result, tuple) else (result,)
    return int(peak - before - sum(array.nbytes for array in results))
