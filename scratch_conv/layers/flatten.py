"""Flattening."""

import math

from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import axis_of, expect_gradient, expect_input
from scratch_conv.layers.layer import Layer

__all__ = ["Flatten"]


class Flatten(Layer):
    """Merges the axes from `start_dim` to `end_dim` into one.

    Shapes: x (N, C, H, W), y (N, C·H·W), by default.

    Raises:
        ValueError: on a call, x does not have these axes, in this order.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Array) -> Array:
        """Return x, reshaped."""
        expect_input(self, x)
        start, end = axis_of(self, "start_dim", x), axis_of(self, "end_dim", x) + 1
        if start >= end:
            raise ValueError(f"{self!r}: start_dim comes after end_dim in x of shape {x.shape}")
        self.shape = x.shape
        self.output_shape = (*x.shape[:start], math.prod(x.shape[start:end]), *x.shape[end:])
        return x.reshape(self.output_shape)

    def backward(self, dy: Array) -> Array:
        """Return dy in the shape of x."""
        expect_gradient(self, dy)
        return dy.reshape(self.shape)
