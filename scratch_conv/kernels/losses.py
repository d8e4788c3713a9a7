"""A family of losses that compare two arrays by elements, each a row of a table: ℓ(x, t) and its derivatives.

Whatever is asked of any of them, at any order of differentiation, is one map:

    c = Σ a · ∂ⁱ∂ʲℓ(x, t) / divisor     i times by x, j times by t; summed over the axes on which c has size 1

The loss itself is that for i = j = 0, where a holds weights. The map is linear in a, with a map of the same
kind for its transpose; and its derivatives by x and by t are such maps with the next i and the next j.

Shapes: a, x, t and c have the same number of axes; on every axis each has either the full size or 1.
"""

import math
from collections.abc import Callable, Sequence
from math import factorial
from typing import Any

import numpy as np

from scratch_conv.kernels.elementwise import over_elements
from scratch_conv.kernels.products import summed_product
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.sums import column_sums
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array

__all__ = ["difference", "pair_loss"]

_BLOCK_BYTES = 2**16
"""So much of each array, and a few temporary ones of that size, stay in the core's own cache; and a temporary
one of less than 2^17 bytes is taken from the heap, not from the system, which would clear it."""

_Derivative = Callable[..., object]
"""Writes ∂ⁱ∂ʲℓ: (x, t, i, j, *parameters, out=derivative)."""


def difference(x: Array, t: Array) -> Array:
    """Return x - t, of the shape to which they broadcast."""
    if x.shape == t.shape:
        result = np.empty_like(x)
        over_elements(lambda d, x, t: np.subtract(x, t, out=d), result, x, t)
        return result
    return np.subtract(x, t)


def pair_loss(
    x: Array,
    t: Array,
    a: Array | None,
    name: str,
    orders: Sequence[int],
    parameters: Sequence[float],
    shape: Sequence[int],
    divisor: float,
) -> Array:
    """Return Σ a · ∂ⁱ∂ʲℓ(x, t) / divisor of a shape, for orders (i, j); without a, for a = 1.

    Raises:
        RuntimeError: what is taken for a probability lies outside of 0 to 1.
    """
    if name == "bce" and not any(orders):
        _check_probabilities(input=x, target=t)
    derivative, (i, j) = _TABLE[name], orders
    if _vanishes(name, i, j):
        return np.zeros(tuple(shape), x.dtype)

    def write(out: Array, x: Array, t: Array) -> None:
        derivative(x, t, i, j, *parameters, out=out)

    shape, one = tuple(shape), x.dtype.type(divisor)
    alike = x.shape == t.shape
    with np.errstate(all="ignore"):
        if alike and (a is None or a.size == 1) and shape == x.shape:
            return _by_elements(write, x, t, *_factors(a, one))
        if alike and (a is None or a.size == 1) and math.prod(shape) == 1:
            total = _total(write, x, t) * _number(a, x.dtype)
            return (total if divisor == 1 else total / one).reshape(shape)
        full = np.broadcast_shapes(x.shape, t.shape)
        x, t = np.broadcast_to(x, full), np.broadcast_to(t, full)
        values = _by_elements(write, x, t)
        ones = np.ones((1,) * x.ndim, x.dtype) if a is None else a
        result = summed_product(values, ones, shape, 1.0)
        return result if divisor == 1 else result / one


def _vanishes(name: str, i: int, j: int) -> bool:
    """Return whether a derivative is zero everywhere, and so is its product with whatever comes in."""
    if name in _DEGREE:
        return i + j > _DEGREE[name]
    return j > 1 or (name == "logits" and j == 1 and i > 1)


_DEGREE = {"absolute": 1, "huber": 2, "smooth_absolute": 2, "square": 2}


def _number(a: Array | None, dtype: np.dtype[np.generic]) -> Array:
    """Return the one element of an array, 1 where there is none."""
    return np.ones((), dtype) if a is None else a.reshape(())


def _factors(a: Array | None, divisor: Any) -> tuple[Any, ...]:
    """Return what is multiplied for a / divisor: two factors where one would be lost beside an infinity."""
    if a is None:
        return () if divisor == 1 else (1 / divisor,)
    quotient = _number(a, a.dtype) / divisor
    return (quotient,) if quotient or not a.any() else (_number(a, a.dtype), 1 / divisor)


def _by_elements(write: Callable[..., None], x: Array, t: Array, *factors: Array) -> Array:
    """Return what `write` computes of two arrays of one shape, times some factors."""
    result = np.empty_like(x)

    def work(out: Array, x: Array, t: Array) -> None:
        write(out, x, t)
        for factor in factors:
            out *= factor

    over_elements(work, result, x, t, chunk_bytes=_BLOCK_BYTES)
    return result


def _total(write: Callable[..., None], x: Array, t: Array) -> Array:
    """Return the sum of what `write` computes of two arrays of one shape, by blocks."""
    if not (x.flags.c_contiguous and t.flags.c_contiguous):
        order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
        x, t = (np.ascontiguousarray(array.transpose(order)) for array in (x, t))
    x, t, step = x.reshape(-1), t.reshape(-1), _BLOCK_BYTES // x.itemsize
    starts = range(0, x.size, step)
    sums = np.zeros((max(1, len(starts)), 1), x.dtype)

    def on_chunk(number: int) -> None:
        chunk = slice(starts[number], starts[number] + step)
        losses = scratch("losses", x[chunk].shape, x.dtype)
        write(losses, x[chunk], t[chunk])
        sums[number] = losses.sum(dtype=x.dtype)

    parallel(on_chunk, range(len(starts)))
    return column_sums(sums)


def _check_probabilities(**arrays: Array) -> None:
    for name, array in arrays.items():
        if not (array.size == 0 or (array.min() >= 0 and array.max() <= 1)):
            raise RuntimeError(f"all elements of {name} should be between 0 and 1")


# Functions of d = x - t, in place, of each order at which they are not zero everywhere.


def _of_difference(function: Callable[..., object]) -> _Derivative:
    """Return the derivatives of f(x - t), by those of f: ∂ⁱ∂ʲ = (-1)ʲ f⁽ⁱ⁺ʲ⁾."""

    def derivative(x: Array, t: Array, i: int, j: int, *parameters: float, out: Array) -> None:
        np.subtract(x, t, out=out)
        function(out, i + j, *parameters)
        if j % 2:
            np.negative(out, out=out)

    return derivative


def _square(d: Array, order: int) -> None:
    if order == 0:
        d *= d
    elif order == 1:
        d += d
    else:
        d.fill(2)


def _absolute(d: Array, order: int) -> None:
    if order == 0:
        np.abs(d, out=d)
    else:
        _sign(d)


def _sign(d: Array) -> None:
    """Write the sign of each element over it: 0 for NaN, as torch does."""
    below = d < 0
    np.greater(d, 0, out=d, casting="unsafe")
    d -= below


def _smooth_absolute(d: Array, order: int, beta: float) -> None:
    """d² / 2 beta where |d| < beta, else |d| - beta / 2."""
    beta = d.dtype.type(beta)
    if order == 0:
        np.abs(d, out=d)
        near = np.minimum(d, beta)
        d -= near / 2
        near /= beta
        d *= near
    elif order == 1:
        d /= beta
        np.clip(d, -1, 1, out=d)
    else:
        _step(d, beta, 1 / beta)


def _huber(d: Array, order: int, delta: float) -> None:
    """d² / 2 where |d| < delta, else delta (|d| - delta / 2)."""
    delta = d.dtype.type(delta)
    if order == 0:
        np.abs(d, out=d)
        near = np.minimum(d, delta)
        d -= near / 2
        d *= near
    elif order == 1:
        np.clip(d, -delta, delta, out=d)
    else:
        _step(d, delta, 1)


def _step(d: Array, limit: float, height: float) -> None:
    """Write the height where |d| is less than a limit, else 0."""
    np.abs(d, out=d)
    np.less(d, limit, out=d, casting="unsafe")
    d *= height


# Functions that are linear in t. With σ the logistic function, s(x) = log(1 + exp(x)), s' = σ:
#     logits      (1 - t) x + s(-x)
#     positives   t s(-x)
#     negatives   (1 - t) s(x), of infinities as torch computes it: (1 - t) (x + s(-x))


def _logits(x: Array, t: Array, i: int, j: int, *, out: Array) -> None:
    if (i, j) == (0, 1):
        np.negative(x, out=out)
    elif j == 1:
        out.fill(-1)
    elif i == 0:
        np.subtract(1, t, out=out)
        out *= x
        out += _softplus_of_minus(x)
    elif i == 1:
        np.subtract(_logistic(x), t, out=out)
    else:
        out[...] = _logistic_slope(x, i)


def _positives(x: Array, t: Array, i: int, j: int, *, out: Array) -> None:
    if i == 0:
        out[...] = _softplus_of_minus(x)
    elif i == 1:
        np.negative(_logistic(-x), out=out)
    else:
        out[...] = _logistic_slope(x, i)
    if j == 0:
        out *= t


def _negatives(x: Array, t: Array, i: int, j: int, *, out: Array) -> None:
    if i == 0:
        out[...] = _softplus_of_minus(-x) if j else x + _softplus_of_minus(x)
    elif i == 1:
        out[...] = _logistic(x)
    else:
        out[...] = _logistic_slope(x, i)
    if j == 0:
        out *= 1 - t
    else:
        np.negative(out, out=out)


def _softplus_of_minus(x: Array) -> Array:
    """Return log(1 + exp(-x)), of which no exponential overflows."""
    y = np.abs(x)
    np.negative(y, out=y)
    np.exp(y, out=y)
    np.log1p(y, out=y)
    y -= np.minimum(x, 0)
    return y


def _logistic(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    y = np.negative(x)
    np.exp(y, out=y)
    y += 1
    return np.divide(1, y, out=y)


def _logistic_slope(x: Array, i: int) -> Array:
    """Return the derivative of order i - 1, at least 1, of the logistic function σ: σ' = b = σ σ(-x).

    Each is b times a polynomial in σ: (b p)' = b ((1 - 2 σ) p + σ (1 - σ) p').
    """
    sigma = _logistic(x)
    polynomial = np.polynomial.Polynomial([1.0])
    for _ in range(i - 2):
        polynomial = (
            np.polynomial.Polynomial([1.0, -2.0]) * polynomial
            + np.polynomial.Polynomial([0.0, 1.0, -1.0]) * polynomial.deriv()
        )
    slope = sigma * _logistic(-x)
    if i > 2:
        slope *= polynomial(sigma).astype(x.dtype, copy=False)
    return slope


# -t log x - (1 - t) log(1 - x), as torch computes it: no logarithm is less than -100, but in the derivative
# by t; and what is divided by is kept from zero in the others.

_LEAST_LOGARITHM, _EPS = -100, 1e-12
_FLOAT_EPS = np.float32(_EPS)
"""Below the derivative by x, torch keeps it in float32, whatever the precision."""


def _probability(x: Array, t: Array, i: int, j: int, *, out: Array) -> None:
    if i == 0:
        no, yes = np.log1p(-x), np.log(x)
        if j == 0:
            np.subtract(t, 1, out=out)
            out *= np.maximum(no, _LEAST_LOGARITHM, out=no)
            yes = np.maximum(yes, _LEAST_LOGARITHM, out=yes)
            yes *= t
            out -= yes
        else:
            np.subtract(no, yes, out=out)
    elif (i, j) == (1, 0):
        np.subtract(x, t, out=out)
        out /= np.maximum((1 - x) * x, x.dtype.type(_FLOAT_EPS))
    else:
        _rational(x, t, i, j, out)


def _rational(x: Array, t: Array, i: int, j: int, out: Array) -> None:
    """(i - 1)! (t (-1 / x)ⁱ + (1 - t) / (1 - x)ⁱ), or its derivative by t; eps is added to x and to 1 - x."""
    eps = x.dtype.type(_EPS)
    yes, no = x + eps, 1 - x + eps
    if (i, j) == (2, 0):
        np.multiply(x, x - 2 * t, out=out)
        out += t
        out /= yes * yes * (no * no)
    elif (i, j) == (1, 1):
        np.divide(-1, yes * no, out=out)
    else:
        ratio, other = (-1 / yes) ** i, (1 / no) ** i
        np.multiply(ratio if j else t * ratio + (1 - t) * other, factorial(i - 1), out=out)
        if j:
            out -= other * factorial(i - 1)


_TABLE: dict[str, _Derivative] = {
    "absolute": _of_difference(_absolute),
    "bce": _probability,
    "huber": _of_difference(_huber),
    "logits": _logits,
    "negatives": _negatives,
    "positives": _positives,
    "smooth_absolute": _of_difference(_smooth_absolute),
    "square": _of_difference(_square),
}
