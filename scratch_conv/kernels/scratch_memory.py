"""Memory that the kernels use again: each thread has its own, by name.

Fresh memory costs a page fault for every 4 KiB, which is more than most passes over it.
"""

import math
import threading
from typing import Any

import numpy as np

from scratch_conv.kernels.threads import end_threads
from scratch_conv.kernels.windows import Array

__all__ = ["free_scratch"]


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Give this thread's own uninitialised array of that name; its memory is used again by the next call.

    Fresh memory costs a page fault for every 4 KiB, which is more than most passes over it.
    """
    last = _local.last.get(name)
    if last is not None and last.shape == shape and last.dtype == dtype:
        return last  # in a fifth of the time
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffers = _local.buffers
    if name not in buffers or buffers[name].nbytes < size:
        buffers[name] = np.empty(size, dtype=np.uint8)
    array = _local.last[name] = buffers[name][:size].view(dtype).reshape(shape)
    return array


def scratch_apart(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Give scratch memory whose rows (all but the last two axes together) are a few numbers apart.

    A whole multiple of 4 KiB apart, all rows would fall into the same lines of the cache: twice the time.
    """
    *rows, height, width = shape
    padded = scratch(name, (math.prod(rows), height * width + 16), dtype)
    return padded[:, : height * width].reshape(shape)


def free_scratch() -> None:
    """Free all scratch memory: this thread's own, and the pool's threads with theirs."""
    _local.buffers.clear()
    _local.last.clear()
    end_threads()


class _Local(threading.local):
    """What each thread has of its own."""

    def __init__(self) -> None:
        self.buffers: dict[str, Array] = {}  # by name
        self.last: dict[str, Array] = {}  # the array that was last made of each


_local = _Local()
