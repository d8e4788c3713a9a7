"""Initial values of weights, drawn so that signals neither vanish nor explode from layer to layer.

A weight (O, I, ...) has fan_in = I · ... inputs to each output, and fan_out = O · ... outputs of each input.

    He:      variance 2 / fan_in              before a ReLU, which zeroes half of the units
    Glorot:  variance 2 / (fan_in + fan_out)  before a nearly linear unit; also called Xavier

Sources: He et al., Delving deep into rectifiers, 2015, section 2.2; Glorot and Bengio, Understanding the
difficulty of training deep feedforward neural networks, 2010, section 4.2.
"""

import math
from collections.abc import Callable

import numpy as np

from scratch_conv.kernels.windows import Array

__all__ = ["Initialization", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform"]

Initialization = Callable[[tuple[int, ...], np.random.Generator], Array]
"""Draws a weight of the given shape, in float64."""


def he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw from a normal distribution of variance 2 / fan_in."""
    return rng.normal(0, math.sqrt(2 / fans(shape)[0]), shape)


def he_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw from a uniform distribution of variance 2 / fan_in, between ±√(6 / fan_in)."""
    limit = math.sqrt(6 / fans(shape)[0])
    return rng.uniform(-limit, limit, shape)


def glorot_normal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw from a normal distribution of variance 2 / (fan_in + fan_out)."""
    return rng.normal(0, math.sqrt(2 / sum(fans(shape))), shape)


def glorot_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw from a uniform distribution of variance 2 / (fan_in + fan_out)."""
    limit = math.sqrt(6 / sum(fans(shape)))
    return rng.uniform(-limit, limit, shape)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return fan_in and fan_out of a weight (O, I, ...), each at least one."""
    outputs, inputs, *taps = shape
    return max(1, inputs * math.prod(taps)), max(1, outputs * math.prod(taps))
