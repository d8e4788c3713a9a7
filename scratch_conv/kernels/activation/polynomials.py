"""Polynomials in x and some functions a(x), b(x), ... whose derivatives are such polynomials again.

A polynomial is {(i, j, k, ...): c}, the sum of c · xⁱ aʲ bᵏ ... By the product rule its derivative is a
polynomial, too, so that a function that has one derivative of this form has one of every order.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from scratch_conv.kernels.windows import Array

Exponents = tuple[int, ...]
Polynomial = Mapping[Exponents, float]


def derivative(polynomial: Polynomial, rules: Sequence[Polynomial]) -> Polynomial:
    """Return the derivative of a polynomial, given those of a and b, and so on."""
    one = {(0,) * (len(rules) + 1): 1.0}
    total: dict[Exponents, float] = defaultdict(float)
    for exponents, c in polynomial.items():
        for variable, rule in enumerate((one, *rules)):
            if power := exponents[variable]:
                lowered = [each - (place == variable) for place, each in enumerate(exponents)]
                for others, d in rule.items():
                    total[tuple(map(sum, zip(lowered, others, strict=True)))] += c * d * power
    return {exponents: c for exponents, c in total.items() if c}


def evaluated(polynomial: Polynomial, variables: Sequence[Array]) -> Array | float:
    """Return the values of a polynomial, by Horner's scheme in the first variable.

    Its coefficients are polynomials in the others, which go to zero where x is large: they are multiplied by
    x one time after the other, so that no power of x overflows.
    """
    if not variables:
        return sum(polynomial.values())
    degree = max((exponents[0] for exponents in polynomial), default=0)
    total: Array | float = 0.0
    for power in range(degree, -1, -1):
        rest = {exponents[1:]: c for exponents, c in polynomial.items() if exponents[0] == power}
        if power < degree:
            total = variables[0] if isinstance(total, float) and total == 1 else total * variables[0]
        if rest:
            coefficient = evaluated(rest, variables[1:])
            total = coefficient if isinstance(total, float) and total == 0 else total + coefficient
    return total
