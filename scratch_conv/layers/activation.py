"""Activations."""

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import expect_gradient, expect_input
from scratch_conv.layers.layer import Layer

__all__ = ["ReLU"]


class ReLU(Layer):
    """Sets negative elements to zero.

        y = max(x, 0),    dx = dy where y > 0, else 0

    Shapes: x and y of any one shape.
    """

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
