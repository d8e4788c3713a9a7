"""Dropout."""

import numpy as np

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import expect_gradient, expect_input
from scratch_conv.layers.layer import Layer

__all__ = ["Dropout"]


class Dropout(Layer):
    """In training, zeroes each element with probability p and scales the others so that the mean is kept.

        y = x · mask / (1 - p),    dx = dy · mask / (1 - p)

    In evaluation y is x (Srivastava et al., Dropout, 2014).

    Shapes: x and y of any one shape.

    Args:
        p: the probability, 0 to 1.
        rng: the generator of random numbers, or its seed; a fresh one by default.

    Raises:
        ValueError: p is not a probability.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | int | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability, 0 to 1; got {p}")
        self.p, self.rng = p, np.random.default_rng(rng)

    def forward(self, x: Array) -> Array:
        """Return x with elements dropped."""
        expect_input(self, x)
        self.output_shape = x.shape
        self.mask = self.draw_mask(x) if self.training and self.p > 0 else None
        return self._drop(x)

    def backward(self, dy: Array) -> Array:
        """Return dy with the same elements dropped."""
        expect_gradient(self, dy)
        return self._drop(dy)

    def draw_mask(self, x: Array) -> Array:
        """Draw a mask for x: ones with probability 1 - p, else zeros."""
        return (self.rng.random(x.shape) >= self.p).astype(x.dtype)

    def _drop(self, x: Array) -> Array:
        if self.mask is None:
            return x
        return kernels.drop(x, self.mask, 1 / (1 - self.p) if self.p < 1 else 0.0)
