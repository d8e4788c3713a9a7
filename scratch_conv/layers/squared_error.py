"""The loss of a regression."""

import numpy as np

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import expect_array

__all__ = ["MSE"]


class MSE:
    """The mean squared error of predictions.

        loss = 1/n · Σ (x - target)²
        dx = 2/n · (x - target) · dloss

    Shapes: x and target of any one shape, of n elements; the loss ().
    """

    x: Array | None = None

    def forward(self, x: Array, target: Array) -> Array:
        """Return the mean loss of a batch.

        Raises:
            TypeError: x or target are not arrays of floats.
            ValueError: their shapes differ, which would be broadcast.
        """
        expect_array(self, "x", x)
        expect_array(self, "target", target)
        if x.shape != target.shape:
            raise ValueError(f"expected x and target of one shape, got shapes {x.shape} and {target.shape}")
        dtype = np.result_type(x, target)
        self.x, self.target = x.astype(dtype, copy=False), target.astype(dtype, copy=False)
        return self._of_order(0, None, (1,) * x.ndim).reshape(())

    def __call__(self, x: Array, target: Array) -> Array:
        """Return the mean loss of a batch: the same as `forward`."""
        return self.forward(x, target)

    def backward(self, dy: float | Array = 1.0) -> Array:
        """Return the gradient with respect to x.

        Args:
            dy: the gradient with respect to the loss.

        Raises:
            RuntimeError: there was no forward pass.
        """
        if self.x is None:
            raise RuntimeError(f"{self!r}: backward before forward")
        incoming = np.asarray(dy, self.x.dtype).reshape((1,) * self.x.ndim)
        return self._of_order(1, incoming, self.x.shape)

    def _of_order(self, order: int, incoming: Array | None, shape: tuple[int, ...]) -> Array:
        assert self.x is not None
        orders, count = (order, 0), float(self.x.size)
        return kernels.pair_loss(self.x, self.target, incoming, "square", orders, (), shape, count)

    def __repr__(self) -> str:
        return "MSE()"
