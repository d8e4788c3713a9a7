"""Softmax."""

import math

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import axis_of, expect_gradient, expect_input
from scratch_conv.layers.layer import Layer

__all__ = ["Softmax"]


class Softmax(Layer):
    """Turns scores into probabilities: positive, with a sum of one.

        y[k] = exp(x[k]) / Σ_j exp(x[j]),    dx = y · (dy - Σ_j y[j] · dy[j])

    To train a classifier, leave it out: `SoftmaxCrossEntropy` includes a softmax.

    Shapes: x and y of any one shape.

    Args:
        dim: the axis of the classes; None as in torch, 0 for x of one or three axes, else 1.

    Raises:
        ValueError: on a call, x has no such axis.
    """

    def __init__(self, dim: int | None = 1) -> None:
        self.dim = dim

    def forward(self, x: Array) -> Array:
        """Return the probabilities."""
        expect_input(self, x)
        self.y = kernels.softmax(self._by_classes(x))
        self.output_shape = x.shape
        return self.y.reshape(x.shape)

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x."""
        expect_gradient(self, dy)
        return kernels.softmax_grad(self._by_classes(dy), self.y).reshape(dy.shape)

    def _by_classes(self, x: Array) -> Array:
        """View x as (A, K, B), with the classes in the middle."""
        axis = axis_of(self, "dim", x)
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        return x.reshape(math.prod(before), x.shape[axis], math.prod(after))
