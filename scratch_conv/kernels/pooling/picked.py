"""The pixels that pooling picked, by their indices: a scatter and a gather, for any number of axes.

They are each other's transposes, as in `maximum`: y[k] = x[indices[k]], and dx[indices[k]] += dy[k].

Shapes: x (N, C, ...), y and indices (N, C, ...); an index is that into the flattened image or volume, int32
or int64. A negative one, ~index, is that of a window without any tap in the image: nothing is read or added
there.
"""

import math

import numpy as np

from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Size, axis_blocks, plane_blocks

__all__ = ["gather_picked", "picked_indices", "scatter_picked"]

_BLOCK_BYTES = 2**20
"""A block of images, or of the outputs of a larger one."""


def scatter_picked(values: Array, indices: Array, input_size: Size, non_overlapping: bool) -> Array:
    """Return x (N, C, *input_size): zeros, to which each of the values is added at its index.

    Where indices are equal, values are summed; with `non_overlapping` the last of them stays alone.
    """
    x = np.empty((*values.shape[:2], *input_size), dtype=values.dtype)
    n, pixels = math.prod(values.shape[:2]), math.prod(input_size)
    flat_x, flat_values, flat_indices = (each.reshape(n, -1) if n else each for each in (x, values, indices))
    batch, cuts = _cut(n, x, values)

    def work(images: slice) -> None:
        target = flat_x[images].ravel()
        target[...] = 0
        for (cut,) in cuts:
            flat, added = _into_all(flat_indices[images, cut], pixels), flat_values[images, cut].ravel()
            if flat.min() < 0:
                flat, added = flat[flat >= 0], added[flat >= 0]
            if non_overlapping:
                target[flat] = added
            else:
                np.add.at(target, flat, added)  # from NumPy 1.25 on in a tenth of the time of a bincount

    parallel(work, batch)
    return x


def gather_picked(x: Array, indices: Array) -> Array:
    """Return y (the shape of indices): of x (N, C, ...) the pixel at each index."""
    y = np.empty(indices.shape, dtype=x.dtype)
    n, pixels = math.prod(x.shape[:2]), math.prod(x.shape[2:])
    flat_x, flat_indices, flat_y = (each.reshape(n, -1) if n else each for each in (x, indices, y))
    batch, cuts = _cut(n, x, y)

    def work(block: tuple[slice, slice]) -> None:
        images, cut = block
        some, into = flat_indices[images, cut], flat_y[images, cut]
        flat = _into_all(some, pixels).reshape(some.shape)
        np.take(flat_x[images].ravel(), flat, out=into, mode="clip")  # checked indices cost more
        if some.min(initial=0) < 0:
            into[some < 0] = 0

    parallel(work, [(images, cut) for (cut,) in cuts for images in batch])
    return y


def picked_indices(indices: Array) -> Array:
    """Return the indices as torch's functions do, in int64."""
    widened = indices.astype(np.int64)
    return np.where(widened < 0, ~widened, widened) if widened.min(initial=0) < 0 else widened


def _into_all(indices: Array, pixels: int) -> Array:
    """Return, for indices into each of several images, those into all of them, flattened; else -1."""
    starts = np.arange(len(indices), dtype=np.int64)[:, None] * pixels
    flat = np.add(indices, starts, out=scratch("indices", indices.shape, np.int64))
    if indices.min(initial=0) < 0:
        flat[indices < 0] = -1
    return flat.ravel()


def _cut(n: int, x: Array, y: Array) -> tuple[list[slice], list[tuple[slice, ...]]]:
    """Cut the batch into images that fit into a block, and the outputs of an image if one does not."""
    bytes_each = max(x.nbytes, y.nbytes) // max(1, n)
    outputs = math.prod(y.shape[2:])
    cuts = plane_blocks((outputs,), outputs * y.itemsize, _BLOCK_BYTES) if n and outputs else []
    return axis_blocks(n, bytes_each, _BLOCK_BYTES) if outputs or x.size else [], cuts
