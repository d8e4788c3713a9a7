"""Work on each element by itself, in chunks of flattened arrays that stay in the core's own cache."""

import math
from collections.abc import Callable

import numpy as np

from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, axis_blocks

_CHUNK_BYTES = 2**20
"""The size of a chunk, which stays in the core's own cache."""


def over_elements(work: Callable[..., object], result: Array, *operands: Array) -> None:
    """Call `work(result, *operands)` on chunks of the flattened arrays that fit the core's own cache.

    All have one shape. The result is dense, in whatever order of its axes; the chunks of an operand that lies
    in memory otherwise are copied first.
    """
    if any(operand.strides != result.strides for operand in operands):
        _over_runs(work, [result, *operands])
        return
    flat = [array.ravel(order="K") for array in (result, *operands)]
    step = _CHUNK_BYTES // result.itemsize

    def on_chunk(start: int) -> None:
        work(*(array[start : start + step] for array in flat))

    parallel(on_chunk, range(0, result.size, step))


def _over_runs(work: Callable[..., object], arrays: list[Array]) -> None:
    """Do what `over_elements` does where some operands don't lie in memory as the first array, the result."""
    order = sorted(range(arrays[0].ndim), key=lambda axis: -arrays[0].strides[axis])
    arrays = [array.transpose(order) for array in arrays]

    def on_run(run: tuple[slice, ...]) -> None:
        parts = [array[run] for array in arrays]
        for number, array in enumerate(arrays):
            if array.strides != arrays[0].strides:
                part, parts[number] = parts[number], scratch(f"operand {number}", parts[0].shape, array.dtype)
                np.copyto(parts[number], part)
        work(*(part.ravel() for part in parts))

    parallel(on_run, _runs(arrays[0].shape, _CHUNK_BYTES // arrays[0].itemsize))


def _runs(shape: tuple[int, ...], most: int) -> list[tuple[slice, ...]]:
    """Cut an array into runs of at most so many elements, which lie next to each other in memory."""
    inner = math.prod(shape[1:])
    if inner <= most:
        return [(part,) for part in axis_blocks(shape[0], inner, most)]
    rest = _runs(shape[1:], most)
    return [(slice(i, i + 1), *run) for i in range(shape[0]) for run in rest]
