"""Activations."""

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import expect_gradient, expect_input
from scratch_conv.layers.layer import Layer

__all__ = ["LeakyReLU", "ReLU", "Sigmoid", "Tanh"]


class ReLU(Layer):
    """Sets negative elements to zero.

        y = max(x, 0),    dx = dy where y > 0, else 0

    Shapes: x and y of any one shape.
    """

    y: Array
    pooled: tuple[Array, Array, Array] | None = None
    """Where a sequence has computed it after max pooling: x, the indices of the maxima, and their y."""

    def forward(self, x: Array) -> Array:
        """Return max(x, 0)."""
        expect_input(self, x)
        self.y = kernels.relu(x)
        self.output_shape = self.y.shape
        return self.y

    def backward(self, dy: Array) -> Array:
        """Return dy where x is positive, else 0."""
        expect_gradient(self, dy)
        return kernels.relu_gate(dy, self.y)

    def branches(self) -> list[Array]:
        """Return where x is positive."""
        return [self.y > 0]


class LeakyReLU(Layer):
    """Scales negative elements down.

        y = x where x > 0, else negative_slope · x,    dx likewise of dy

    Shapes: x and y of any one shape.

    Args:
        negative_slope: the factor below zero.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Array) -> Array:
        """Return x where it is positive, else negative_slope · x."""
        expect_input(self, x)
        self.x = x
        self.output_shape = x.shape
        return kernels.activation(x, "leaky_relu", self.negative_slope)

    def backward(self, dy: Array) -> Array:
        """Return dy where x is positive, else negative_slope · dy."""
        expect_gradient(self, dy)
        return kernels.activation_slope(dy, self.x, "leaky_relu", 1, self.negative_slope)

    def branches(self) -> list[Array]:
        """Return where x is positive."""
        return [self.x > 0]


class Sigmoid(Layer):
    """Squeezes all numbers into the interval from 0 to 1.

        y = 1 / (1 + exp(-x)),    dx = dy · y (1 - y)

    Shapes: x and y of any one shape.
    """

    def forward(self, x: Array) -> Array:
        """Return the sigmoid of x."""
        expect_input(self, x)
        self.y = kernels.activation(x, "sigmoid")
        self.output_shape = self.y.shape
        return self.y

    def backward(self, dy: Array) -> Array:
        """Return dy · y (1 - y)."""
        expect_gradient(self, dy)
        return kernels.activation_slope(dy, self.y, "sigmoid", 1)


class Tanh(Layer):
    """Squeezes all numbers into the interval from -1 to 1.

        y = tanh x,    dx = dy · (1 - y²)

    Shapes: x and y of any one shape.
    """

    def forward(self, x: Array) -> Array:
        """Return the hyperbolic tangent of x."""
        expect_input(self, x)
        self.y = kernels.activation(x, "tanh")
        self.output_shape = self.y.shape
        return self.y

    def backward(self, dy: Array) -> Array:
        """Return dy · (1 - y²)."""
        expect_gradient(self, dy)
        return kernels.activation_slope(dy, self.y, "tanh", 1)
