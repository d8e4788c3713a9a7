"""Work on each element by itself, in chunks of flattened arrays that stay in the core's own cache."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

import numpy as np

from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, plane_blocks

__all__ = ["over_elements", "row_by_row"]

_CHUNK_BYTES = 2**20
"""The size of a chunk, which stays in the core's own cache."""

_SHORT = 2**8
"""Rows of fewer elements are left in NumPy's buffer."""


@contextmanager
def row_by_row(length: int) -> Iterator[None]:
    """Let NumPy pass over rows of so many elements, beside a number for each, one after the other.

    Where a few of them fit into its buffer, it copies them there first, which takes 3 times as long (2.4).
    """
    if length < _SHORT:
        yield
        return
    before = np.setbufsize(min(length // 16 * 16, np.getbufsize()))
    try:
        yield
    finally:
        np.setbufsize(before)


def over_elements(
    work: Callable[..., object], result: Array, *operands: Array, chunk_bytes: int | None = None
) -> None:
    """Call `work(result, *operands)` on chunks of the flattened arrays that fit into the core's own cache.

    All have one shape. The result is dense, in whatever order of its axes; the chunks of an operand whose
    order in memory is another one are copied first, unless it is one number for a long row: chunks are not
    flat then. Of work that makes many passes, the chunks are smaller.
    """
    chunk_bytes = chunk_bytes or _CHUNK_BYTES
    if any(operand.strides != result.strides for operand in operands):
        _over_blocks(work, result, operands, chunk_bytes)
        return
    flat = [array.ravel(order="K") for array in (result, *operands)]
    step = chunk_bytes // result.itemsize

    def on_chunk(start: int) -> None:
        work(*(array[start : start + step] for array in flat))

    parallel(on_chunk, range(0, result.size, step))


def _over_blocks(
    work: Callable[..., object], result: Array, operands: Sequence[Array], chunk_bytes: int
) -> None:
    """Do the work of `over_elements` where operands have other strides than the result."""
    order = sorted(range(result.ndim), key=lambda axis: -result.strides[axis])
    result, *operands = (array.transpose(order) for array in (result, *operands))
    runs = [_run(operand) for operand in operands]
    length = min((run for run in runs if run >= _SHORT), default=0)

    def on_chunk(block: tuple[slice, ...]) -> None:
        chunks = [result[block]]
        for number, (operand, run) in enumerate(zip(operands, runs, strict=True)):
            chunk = operand[block]
            if operand.strides != result.strides and run < _SHORT:
                copy = scratch(f"operand {number}", chunk.shape, chunk.dtype)
                np.copyto(copy, chunk)
                chunk = copy
            chunks.append(chunk)
        with row_by_row(length):
            work(*(chunks if length else (chunk.ravel() for chunk in chunks)))

    parallel(on_chunk, plane_blocks(result.shape, result.nbytes, chunk_bytes))


def _run(operand: Array) -> int:
    """Return how many neighbouring elements are one and the same number, broadcast."""
    inner = takewhile(lambda axis: operand.strides[axis] == 0, reversed(range(operand.ndim)))
    return math.prod(operand.shape[axis] for axis in inner)
