"""A family of activations, each a row of a table: its values, and its derivative of every order.

A row says how y = f(x) is computed, and how an incoming gradient is multiplied by s⁽ⁿ⁻¹⁾, where s = f' as a
function of what is kept for the backward pass: of x; or of y, for those whose derivative is a polynomial in
y. The derivative of that product with respect to what was kept is the product with the next order. So two
functions, of a name and an order, are all that a framework needs to differentiate any of them at will.

Shapes: all arrays of one call have the same shape. Parameters are numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import factorial, pi, sqrt
from typing import Any

import numpy as np

from scratch_conv.kernels.activation.normal import density, probability
from scratch_conv.kernels.activation.polynomials import Polynomial, derivative, evaluated
from scratch_conv.kernels.elementwise import over_elements
from scratch_conv.kernels.windows import Array

__all__ = ["activation", "activation_slope", "keeps_output"]

_BLOCK_BYTES = 2**18
"""So much of each array, and a few temporary ones of that size, stay in the core's own cache."""


@dataclass(frozen=True)
class _Activation:
    """A row: `value(x, *parameters, out=y)`, and `slope(values, kept, order, *parameters, out=products)`."""

    value: Callable[..., object]
    slope: Callable[..., object]
    keeps_output: bool = False


def activation(x: Array, name: str, *parameters: float) -> Array:
    """Return y = f(x), of the dtype of x."""
    y, value = np.empty_like(x), _TABLE[name].value
    over_elements(lambda y, x: value(x, *parameters, out=y), y, x, chunk_bytes=_BLOCK_BYTES)
    return y


def activation_slope(values: Array, kept: Array, name: str, order: int, *parameters: float) -> Array:
    """Return values · s⁽ᵒʳᵈᵉʳ⁻¹⁾, with s = f' as a function of x, or of y where `keeps_output`."""
    products, slope = np.empty_like(values), _TABLE[name].slope

    def work(products: Array, values: Array, kept: Array) -> None:
        slope(values, kept, order, *parameters, out=products)

    over_elements(work, products, values, kept, chunk_bytes=_BLOCK_BYTES)
    return products


def keeps_output(name: str) -> bool:
    """Return whether the derivative of an activation is computed from its output, not from its input."""
    return _TABLE[name].keeps_output


def chosen(condition: Array, yes: Array | float, no: Array | float, dtype: Any) -> Array:
    """Return `yes` where a condition holds, else `no`: by their bits, in a third of the time of np.where."""
    if np.dtype(dtype).itemsize > 8:  # as no integers are
        return np.where(condition, yes, no)
    bits = np.dtype(f"i{np.dtype(dtype).itemsize}")
    one, other = (np.asarray(each, dtype).view(bits) for each in (yes, no))
    result = np.bitwise_and(-condition.view(np.int8), one ^ other, dtype=bits)
    result ^= other
    return result.view(dtype)


def gated(values: Array, condition: Array, out: Array) -> None:
    """Write the values where a condition holds, else 0, to `out`: of infinities and NaN, too."""
    bits = np.dtype(f"i{values.dtype.itemsize}")
    np.bitwise_and(values.view(bits), -condition.view(np.int8), out=out.view(bits))


def _smooth(
    functions: Callable[..., tuple[Array, ...]],
    slope: Polynomial,
    rules: tuple[Polynomial, ...] = (),
) -> Callable[..., object]:
    """Return the slopes of an activation whose derivative is a polynomial in x and in some functions of x.

    Args:
        functions: returns these functions' values.
        slope: the polynomial; of the first order.
        rules: their derivatives, polynomials in the same.
    """

    @lru_cache
    def of_order(order: int) -> Polynomial:
        return slope if order == 1 else derivative(of_order(order - 1), rules)

    def product(values: Array, kept: Array, order: int, *_: float, out: Array) -> None:
        np.multiply(values, evaluated(of_order(order), (kept, *functions(kept))), out=out)

    return product


def _logistic(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    y = np.negative(x)
    np.exp(y, out=y)
    y += 1
    return np.divide(1, y, out=y)


# x σ(v(x)), with v = x (silu) or the cubic that makes σ(v) nearly the normal distribution (gelu's tanh form:
# (1 + tanh u) / 2 = σ(2u)). In x, a = σ(v) and b = a (1 - a): a' = b v' and b' = b (1 - 2a) v'. That b is
# exactly zero where a rounds to 1, and so are the derivatives of higher order, whatever the power of x.

_CUBIC = 2 * sqrt(2 / pi), 2 * sqrt(2 / pi) * 0.044715


def _cubic(x: Array) -> Array:
    y = x * x
    y *= _CUBIC[1]
    y += _CUBIC[0]
    y *= x
    return y


def _weighted(exponent: Callable[[Array], Array], v: dict[int, float]) -> _Activation:
    """Return x σ(v), for v' with these coefficients."""
    rules: tuple[Polynomial, ...] = (
        {(power, 0, 1): c for power, c in v.items()},
        {(power, j, 1): c * factor for power, c in v.items() for j, factor in ((0, 1.0), (1, -2.0))},
    )

    def value(x: Array, *, out: Array) -> None:
        y = np.negative(exponent(x))
        np.exp(y, out=y)
        y += 1
        np.divide(x, y, out=out)

    def functions(x: Array) -> tuple[Array, Array]:
        a = _logistic(exponent(x))
        return a, a * (1 - a)

    return _Activation(value, _smooth(functions, derivative({(1, 1, 0): 1.0}, rules), rules))


def _gelu(x: Array, *, out: Array) -> None:
    np.multiply(x, probability(x), out=out)


# x a, with a = tanh(log(1 + eˣ)) = n / (n + 2), n = eˣ (eˣ + 2), b = σ(x) and c = 1 - a²: a' = bc,
# b' = b - b² and c' = -2abc. Beyond 20, a is 1 to the last digit and c is 0: b does not matter.


def _mish_functions(x: Array) -> tuple[Array, Array, Array]:
    exponential = np.exp(np.minimum(x, 20))
    n = exponential * (exponential + 2)
    a = n / (n + 2)
    return a, exponential / (exponential + 1), 1 - a * a


def _mish(x: Array, *, out: Array) -> None:
    n = np.exp(np.minimum(x, 20))
    n *= n + 2
    np.multiply(x, n / (n + 2), out=out)


_MISH_RULES: tuple[Polynomial, ...] = (
    {(0, 0, 1, 1): 1.0},
    {(0, 0, 1, 0): 1.0, (0, 0, 2, 0): -1.0},
    {(0, 1, 1, 1): -2.0},
)


# Where beta x is beyond the threshold, softplus is x itself.


def _softplus(x: Array, beta: float, threshold: float, *, out: Array) -> None:
    z = x * beta
    y = np.log1p(np.exp(z))
    y /= beta
    out[...] = chosen(z > threshold, x, y, x.dtype)


def _softplus_slope(
    values: Array, x: Array, order: int, beta: float, threshold: float, *, out: Array
) -> None:
    z = x * beta
    slope = evaluated(_logistic_of_order(order), (_logistic(z),)) * beta ** (order - 1)
    np.multiply(values, chosen(z > threshold, float(order == 1), slope, x.dtype), out=out)


@lru_cache
def _logistic_of_order(order: int) -> Polynomial:
    """Return the derivative of order n - 1 of a = σ(z), as a polynomial in a."""
    polynomial: Polynomial = {(0, 1): 1.0}
    for _ in range(order - 1):
        polynomial = derivative(polynomial, ({(0, 1): 1.0, (0, 2): -1.0},))
    return {exponents[1:2]: c for exponents, c in polynomial.items()}


# alpha · scale · (exp(input_scale · x) - 1) below zero, scale · x above.


def _elu(x: Array, alpha: float, scale: float, input_scale: float, *, out: Array) -> None:
    below = np.minimum(x, 0)
    below *= input_scale
    np.expm1(below, out=below)
    below *= alpha * scale
    np.maximum(x, 0, out=out)
    out *= scale
    out += below


def _elu_slope(
    values: Array, x: Array, order: int, alpha: float, scale: float, input_scale: float, *, out: Array
) -> None:
    below = np.minimum(x, 0)
    below *= input_scale
    np.exp(below, out=below)
    below *= alpha * scale * input_scale**order
    first = order == 1
    np.multiply(values, chosen(x > 0 if first else x >= 0, scale * first, below, x.dtype), out=out)


# x / (1 + |x|), of order n: (-sgn x)ⁿ⁻¹ n! / (1 + |x|)ⁿ⁺¹.


def _softsign(x: Array, *, out: Array) -> None:
    y = np.abs(x)
    y += 1
    np.divide(x, y, out=out)


def _softsign_slope(values: Array, x: Array, order: int, *, out: Array) -> None:
    y = np.abs(x)
    y += 1
    np.divide(1, y, out=y)
    np.multiply(values, y, out=out)
    for _ in range(order):
        out *= y
    if order > 1:
        out *= np.sign(x) ** (order - 1) * ((-1) ** (order - 1) * factorial(order))


# Linear or quadratic by piece. Where a piece is constant, the gradient is zero, whatever comes in.


def _leaky_relu(x: Array, negative_slope: float, *, out: Array) -> None:
    if 0 < negative_slope <= 1:  # in a third of the time
        np.maximum(x, x * negative_slope, out=out)
    else:
        out[...] = chosen(x > 0, x, x * negative_slope, x.dtype)


def _leaky_relu_slope(values: Array, x: Array, order: int, negative_slope: float, *, out: Array) -> None:
    if order > 1:
        out.fill(0)
    else:
        np.multiply(values, chosen(x > 0, 1.0, negative_slope, x.dtype), out=out)


def _hardtanh(x: Array, low: float, high: float, *, out: Array) -> None:
    np.clip(x, x.dtype.type(low), x.dtype.type(high), out=out)


def _hardtanh_slope(values: Array, x: Array, order: int, low: float, high: float, *, out: Array) -> None:
    if order > 1:
        out.fill(0)
    else:
        gated(values, (x > low) & (x < high), out)


def _hardsigmoid(x: Array, *, out: Array) -> None:
    np.clip(x + 3, 0, 6, out=out)
    out /= 6


def _hardsigmoid_slope(values: Array, x: Array, order: int, *, out: Array) -> None:
    _hardtanh_slope(values, x, order, -3, 3, out=out)
    out /= 6


def _hardswish(x: Array, *, out: Array) -> None:
    _hardsigmoid(x, out=out)
    out *= x


def _hardswish_slope(values: Array, x: Array, order: int, *, out: Array) -> None:
    if order == 1:
        gated(values, ~(x <= -3), out)
        out *= chosen(x >= 3, 1.0, np.maximum(x, -3) * (1 / 3) + 0.5, x.dtype)
    elif order == 2:
        gated(values, np.abs(x) < 3, out)
        out /= 3
    else:
        out.fill(0)


def _sigmoid(x: Array, *, out: Array) -> None:
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += 1
    np.divide(1, out, out=out)


_TABLE = {
    "elu": _Activation(_elu, _elu_slope),
    "gelu": _Activation(
        _gelu,
        _smooth(
            lambda x: (probability(x), density(x)),
            {(0, 1, 0): 1.0, (1, 0, 1): 1.0},
            ({(0, 0, 1): 1.0}, {(1, 0, 1): -1.0}),
        ),
    ),
    "gelu_tanh": _weighted(_cubic, {0: _CUBIC[0], 2: 3 * _CUBIC[1]}),
    "hardsigmoid": _Activation(_hardsigmoid, _hardsigmoid_slope),
    "hardswish": _Activation(_hardswish, _hardswish_slope),
    "hardtanh": _Activation(_hardtanh, _hardtanh_slope),
    "leaky_relu": _Activation(_leaky_relu, _leaky_relu_slope),
    "mish": _Activation(
        _mish, _smooth(_mish_functions, derivative({(1, 1, 0, 0): 1.0}, _MISH_RULES), _MISH_RULES)
    ),
    "sigmoid": _Activation(_sigmoid, _smooth(lambda y: (), {(1,): 1.0, (2,): -1.0}), keeps_output=True),
    "silu": _weighted(lambda x: x, {0: 1.0}),
    "softplus": _Activation(_softplus, _softplus_slope),
    "softsign": _Activation(_softsign, _softsign_slope),
    "tanh": _Activation(np.tanh, _smooth(lambda y: (), {(0,): 1.0, (2,): -1.0}), keeps_output=True),
}
