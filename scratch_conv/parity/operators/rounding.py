"""How far a correctly computed sum of products may lie from the true one.

A sum of n products is computed in a precision with unit roundoff u, in any order. Each product takes part in
one multiplication and in at most n - 1 additions; each of these n operations multiplies it by (1 + δ), |δ| <=
u. So

    |computed - exact| <= gamma_n Σ|x_k||w_k|,      gamma_n = n u / (1 - n u),

whatever the order (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1, equations
3.3 to 3.5, and Lemma 3.1 for gamma_n). A bias is one more term: n + 1. Terms that are exactly zero (padding)
round nothing, so n counts the products that lie inside the arrays.

Underflow: a product in the subnormal range errs by at most half the smallest subnormal η instead (Higham,
section 2.1, equation 2.8); a sum there is exact. The n products together add less than n η.

What is stored in float16 or bfloat16 is accumulated in float32 and rounded once more, which adds u |value|. A
second derivative is a sum of up to three such results: each goes through its own rounding and those of two
additions, which adds gamma_3 Σ|x_k||w_k| in the precision of storage.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_ACCUMULATOR = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def accumulator_of(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a result of `dtype` is computed: float32 for narrower ones."""
    return _ACCUMULATOR.get(dtype, dtype)


def is_reduced(dtype: torch.dtype) -> bool:
    """Return whether results of `dtype` are computed in a wider one and rounded when they are stored."""
    return dtype in _ACCUMULATOR


def unit_roundoff(dtype: torch.dtype) -> float:
    """Return u, the greatest relative error of rounding to nearest: 2**-24 for float32."""
    return torch.finfo(dtype).eps / 2


def smallest_subnormal(dtype: torch.dtype) -> float:
    """Return η, the distance between neighbours next to zero: 2**-149 for float32."""
    finfo = torch.finfo(dtype)
    return finfo.smallest_normal * finfo.eps


def gamma(n: Tensor, u: float) -> Tensor:
    """Return gamma_n = n u / (1 - n u) for a float64 tensor of counts n, infinite where n u >= 1."""
    nu = n * u
    return torch.where(nu < 1, nu / (1 - nu).clamp(min=u), torch.inf)


def sum_bound(
    value: Tensor, magnitude: Tensor, roundings: Tensor, dtype: torch.dtype, stored: int = 1
) -> Tensor:
    """Bound the distance between a sum of products computed in `dtype` and `value`, computed in float64.

    Args:
        value: the sum as float64 computed it (complex128 for complex dtypes).
        magnitude: Σ|x_k||w_k|, computed in float64; same shape.
        roundings: n, how many roundings a product goes through at most; same shape, float64.
        dtype: the precision of the computation that is judged.
        stored: how many roundings to a dtype narrower than the accumulator a product goes through.

    Returns:
        A float64 tensor of the same shape. It holds gamma_n for `dtype` and gamma_n for the reference, which
        errs too.

    A complex sum may be computed by three real ones, (a + ib)(c + id) with (a + b)(c + d) - ac - bd as
    imaginary part. The first sum has two more roundings before it and is at most 2 Σ|x||w| large (a + b <= √2
    |x|), the others together Σ|x||w| at most; two subtractions follow. Hence 3 gamma_(n+4) Σ|x||w| for each
    of the two parts.
    """
    precision: torch.dtype = getattr(torch, torch.finfo(dtype).dtype)
    accumulator = accumulator_of(precision)
    if dtype.is_complex:
        magnitude, roundings = magnitude * (3 * math.sqrt(2)), torch.where(roundings > 0, roundings + 4, 0)
    own = gamma(roundings, unit_roundoff(torch.float64))
    magnitude = magnitude * (1 + own)
    bound = (gamma(roundings, unit_roundoff(accumulator)) + own) * magnitude
    bound = bound + roundings * smallest_subnormal(accumulator)
    if accumulator != precision:
        size = value.abs() if stored == 1 else magnitude
        factor = gamma(torch.tensor(float(stored), dtype=torch.float64), unit_roundoff(precision))
        bound = bound + factor * (size + bound) + stored * smallest_subnormal(precision)
    return torch.where(roundings > 0, bound, 0.0)


def exactly_summable(magnitude: Tensor, dtype: torch.dtype) -> bool:
    """Return whether integers whose absolute values sum to `magnitude` are added without rounding in `dtype`.

    Every partial sum is an integer of at most that size, and integers up to 2**p are numbers of a format with
    p bits.
    """
    return bool((magnitude <= 1 / unit_roundoff(dtype)).all()) if magnitude.numel() else True


def relative(n: float, u: float) -> float:
    """Return gamma_n for one count n, infinite where n u >= 1."""
    return n * u / (1 - n * u) if n * u < 1 else float("inf")


def stored_bound(
    value: Tensor, own: Tensor, reference: Tensor, dtype: torch.dtype, stored: int = 1
) -> Tensor:
    """Bound the distance between a result computed in `dtype` and `value`, computed in float64.

    Args:
        value: the result as float64 computed it.
        own: the bound of the error of a computation in `accumulator_of(dtype)`.
        reference: the bound of the error of `value` itself.
        dtype: where the result is stored, which rounds if it is narrower.
        stored: how often.
    """
    bound = own + reference
    if accumulator_of(dtype) != dtype:
        rounding = relative(stored, unit_roundoff(dtype))
        bound = bound + rounding * (value.abs() + bound) + stored * smallest_subnormal(dtype)
    return bound


def propagated(
    polynomial: Callable[..., dict[str, Tensor]],
    magnitudes: tuple[Tensor, ...],
    errors: tuple[Tensor, ...],
    rounding: float,
) -> dict[str, Tensor]:
    """Bound the errors of polynomials of intermediate results that err themselves.

    With F the polynomial f with the absolute values of its coefficients,

        |f(x + δ) - f(x)| <= F(|x| + |δ|) - F(|x|),

    since each monomial's difference is at most that of its magnitudes; and computing f in floating point,
    each summand going through k roundings at most, adds gamma_k F(|x| + |δ|) (Higham, section 3.1).

    Args:
        polynomial: F, of the intermediate results; returns one tensor for each result.
        magnitudes: |x|, float64.
        errors: the bounds of |δ|, of the same shapes.
        rounding: gamma_k.

    Returns:
        The bounds by name, infinite where the magnitudes are.
    """
    right = polynomial(*magnitudes)
    moved = polynomial(*(size + error for size, error in zip(magnitudes, errors, strict=True)))
    bounds = {name: (moved[name] - right[name]) + rounding * moved[name] for name in right}
    return {name: bound.nan_to_num(torch.inf, torch.inf) for name, bound in bounds.items()}
