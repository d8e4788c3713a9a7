"""Memory for intermediate results, which each thread keeps for its next calls.

Fresh memory costs a page fault for every 4 KiB, which takes longer than most passes over it.
"""

import math
from typing import Any

import numpy as np

from scratch_conv.kernels.threads import end_threads, local
from scratch_conv.kernels.windows import Array

__all__ = ["free_scratch"]

_MOST_BYTES = 2**26
"""A thread keeps no more than this; a larger array is not kept."""


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an uninitialised array in memory that the next call of this thread with that name uses again."""
    last = local.last.get(name)
    if last is not None and last.shape == shape and last.dtype == dtype:
        return last  # a fifth of the time of what follows
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffers = local.buffers
    if name not in buffers or buffers[name].nbytes < size:
        if size > _MOST_BYTES:
            return np.empty(shape, dtype)
        others = sum(buffer.nbytes for each, buffer in buffers.items() if each != name)
        if others + size > _MOST_BYTES:  # arrays in use stay as they are, and are not used again
            buffers.clear()
            local.last.clear()
        buffers[name] = np.empty(size, dtype=np.uint8)
    array = local.last[name] = buffers[name][:size].view(dtype).reshape(shape)
    return array


def padded_scratch(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return scratch memory with a few unused elements after each matrix of the last two axes.

    Matrices that begin a multiple of 4 KiB from each other use the same lines of the cache: twice the time.
    """
    return _matrices(scratch(name, _padded(shape), dtype), shape)


def padded_empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array likewise, of memory that is not kept: what several blocks use, or is large."""
    return _matrices(np.empty(_padded(shape), dtype), shape)


def _padded(shape: tuple[int, ...]) -> tuple[int, int]:
    *matrices, height, width = shape
    return math.prod(matrices), height * width + 16


def _matrices(padded: Array, shape: tuple[int, ...]) -> Array:
    return padded[:, : shape[-2] * shape[-1]].reshape(shape)


def free_scratch() -> None:
    """Free all scratch memory: this thread's, and the threads of the pool, with theirs."""
    local.buffers.clear()
    local.last.clear()
    end_threads()
