"""Memory for intermediate results, which each thread keeps for its next calls.

Fresh memory costs a page fault for every 4 KiB, which takes longer than most passes over it.
"""

import math
import threading
from typing import Any

import numpy as np

from scratch_conv.kernels.threads import end_threads
from scratch_conv.kernels.windows import Array

__all__ = ["free_scratch"]


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an uninitialised array in memory that the next call of this thread with that name uses again."""
    last = _local.last.get(name)
    if last is not None and last.shape == shape and last.dtype == dtype:
        return last  # a fifth of the time of what follows
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffers = _local.buffers
    if name not in buffers or buffers[name].nbytes < size:
        buffers[name] = np.empty(size, dtype=np.uint8)
    array = _local.last[name] = buffers[name][:size].view(dtype).reshape(shape)
    return array


def padded_scratch(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return scratch memory with a few unused elements after each matrix of the last two axes.

    Matrices that begin a multiple of 4 KiB from each other use the same lines of the cache: twice the time.
    """
    *matrices, height, width = shape
    padded = scratch(name, (math.prod(matrices), height * width + 16), dtype)
    return padded[:, : height * width].reshape(shape)


def free_scratch() -> None:
    """Free all scratch memory: this thread's, and the threads of the pool, with theirs."""
    _local.buffers.clear()
    _local.last.clear()
    end_threads()


class _Local(threading.local):
    """What each thread has of its own."""

    def __init__(self) -> None:
        self.buffers: dict[str, Array] = {}  # by name
        self.last: dict[str, Array] = {}  # the last array in each buffer


_local = _Local()
