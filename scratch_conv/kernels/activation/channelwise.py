"""The leaky rectifier whose slope below zero is learnt, one for each channel or one for all (PReLU).

    y = x where x > 0, else weight · x

With k = 1 where x > 0, else the weight: dx = k · dy, and dweight is the sum of dy · x where x is not
positive. The product with k is linear in dy and in the weight, so that every order of derivative is made of
it and of `negative_gate`.

Shapes: x (any), weight of what broadcasts to it.
"""

import numpy as np

from scratch_conv.kernels.activation.family import chosen
from scratch_conv.kernels.elementwise import over_elements
from scratch_conv.kernels.windows import Array

__all__ = ["negative_gate", "prelu", "prelu_slope"]


def prelu(x: Array, weight: Array) -> Array:
    """Return x where x > 0, else weight · x: the greater of both where no weight is above 1."""
    if not (np.all(weight > 0) and np.all(weight <= 1)):
        return prelu_slope(x, x, weight)
    y = np.empty_like(x)

    def work(y: Array, x: Array, weight: Array) -> None:
        np.multiply(x, weight, out=y)
        np.maximum(x, y, out=y)

    over_elements(work, y, x, np.broadcast_to(weight, x.shape))
    return y


def prelu_slope(values: Array, x: Array, weight: Array) -> Array:
    """Return the values where x > 0, else weight · values."""
    products = np.empty_like(values)

    def work(products: Array, values: Array, x: Array, weight: Array) -> None:
        np.multiply(values, chosen(x > 0, 1.0, weight, x.dtype), out=products)

    over_elements(work, products, values, x, np.broadcast_to(weight, x.shape))
    return products


def negative_gate(values: Array, x: Array) -> Array:
    """Return the values where x is not positive, else 0."""
    gated = np.empty_like(values)

    def work(gated: Array, values: Array, x: Array) -> None:
        gated[...] = chosen(x > 0, 0.0, values, values.dtype)

    over_elements(work, gated, values, x)
    return gated
