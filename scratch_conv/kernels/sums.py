"""Sums of many terms, with an error that hardly grows with their number.

One after the other, n terms may err by n roundings of the sum: one of ones in float32 stops growing at 2^24.
Here more than 1024 are added in parts of 256, by the BLAS, then the sums of these likewise. For each axis,

    |computed - exact| <= gamma_k Σ|x|,   k = 1024 + 256 · ⌈log_256 n⌉

(Higham, Accuracy and Stability of Numerical Algorithms, section 4.2). Along the axis that is contiguous,
NumPy adds in pairs, which errs less.
"""

import math

import numpy as np

from scratch_conv.kernels.threads import single_threaded_blas
from scratch_conv.kernels.windows import Array

__all__ = ["column_sums", "inner_products", "sum_of_threads", "summed", "sums_of_products"]

_MOST = 2**10
"""The most terms that are added one after the other: parts take more time where they are so few."""

_PART = 2**8
"""The terms of a part."""

_OF_THE_BLAS = (np.float32, np.float64)
"""The types whose sums are products with ones, in a tenth of the time of NumPy's for a few columns."""


def summed(terms: Array, axes: tuple[int, ...]) -> Array:
    """Return the sums over some axes, which are kept with the size 1; of few terms, NumPy's own."""
    if math.prod(terms.shape[axis] for axis in axes) <= _MOST:
        return terms.sum(axis=axes, keepdims=True, dtype=terms.dtype)
    if not terms.flags.c_contiguous:
        order = sorted(range(terms.ndim), key=lambda axis: -terms.strides[axis])
        if order != list(range(terms.ndim)):
            return summed(terms.transpose(order), tuple(map(order.index, axes))).transpose(np.argsort(order))
    for axis in sorted(axes, reverse=True):
        before, count, after = terms.shape[:axis], terms.shape[axis], terms.shape[axis + 1 :]
        rows = terms.reshape(math.prod(before), count, math.prod(after))
        terms = column_sums(rows).reshape(*before, 1, *after)
    return terms


def column_sums(rows: Array) -> Array:
    """Sum rows (..., M, K) to (..., K)."""
    in_pairs = rows.shape[-1] == 1 and rows.strides[-2] in (0, rows.itemsize)
    while rows.shape[-2] > _MOST and not in_pairs and rows.dtype.kind in "fc":
        rows = _sums_of_parts(rows)
    return rows.sum(axis=-2, dtype=rows.dtype)


def _sums_of_parts(rows: Array) -> Array:
    """Sum each part of rows (..., M, K), whose last may be shorter."""
    *outer, count, width = rows.shape
    whole = count // _PART
    sums = np.empty((*outer, -(-count // _PART), width), rows.dtype)
    parts = rows[..., : whole * _PART, :].reshape(*outer, whole, _PART, width)
    if rows.dtype in _OF_THE_BLAS:
        with single_threaded_blas():
            np.matmul(np.ones(_PART, rows.dtype), parts, out=sums[..., :whole, :])
    else:
        parts.sum(axis=-2, out=sums[..., :whole, :])
    if whole * _PART < count:
        rows[..., whole * _PART :, :].sum(axis=-2, out=sums[..., -1, :])
    return sums


def sums_of_products(a: Array, b: Array) -> Array:
    """Sum the products of two arrays of rows (M, K) to (K,), without an array of the products."""
    if len(a) <= _MOST:
        return np.einsum("mk,mk->k", a, b)
    whole = len(a) // _PART * _PART
    parts = [rows[:whole].reshape(-1, _PART, rows.shape[1]) for rows in (a, b)]
    rest = np.einsum("mk,mk->k", a[whole:], b[whole:])
    return column_sums(np.einsum("pmk,pmk->pk", *parts)) + rest


def inner_products(matrices: Array, vectors: Array) -> Array:
    """Multiply matrices (..., M, K) by vectors (..., K), to (..., M): of ones, these are the sums of rows."""
    count = matrices.shape[-1]
    if count <= _MOST:
        return np.matmul(matrices, vectors[..., None])[..., 0]
    whole = count // _PART * _PART
    parts = matrices[..., :whole].reshape(*matrices.shape[:-1], -1, _PART).swapaxes(-2, -3)
    of_vectors = vectors[..., :whole].reshape(*vectors.shape[:-1], -1, _PART)
    rest = np.matmul(matrices[..., whole:], vectors[..., whole:, None])[..., 0]
    return column_sums(np.matmul(parts, of_vectors[..., None])[..., 0]) + rest


def sum_of_threads(sums: Array) -> Array:
    """Add up what threads (T, ...) have summed, which may be infinite or NaN, in the memory of the first."""
    with np.errstate(all="ignore"):
        for others in sums[1:]:
            sums[0] += others
    return sums[0]
