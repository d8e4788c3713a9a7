"""The dense layer, in which every output depends on every input."""

from typing import Any

import numpy as np

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import expect_counts, expect_gradient, expect_input, expect_parameters
from scratch_conv.layers.initialization import Initialization, he_normal
from scratch_conv.layers.layer import Layer, in_one_precision

__all__ = ["Dense"]


class Dense(Layer):
    """Multiplies by a matrix and adds a bias; also called fully connected, or linear.

        y = x · weightᵀ + bias
        dx = dy · weight,    dweight = dyᵀ · x,    dbias = Σ_n dy

    Shapes: x (N, I), y (N, O), weight (O, I), bias (O,).

    Args:
        in_features: I.
        out_features: O.
        bias: whether there is one.
        init: draws the initial weights; the initial bias is zero.
        rng: the generator of random numbers, or its seed; a fresh one by default.
        dtype: of the parameters.

    Raises:
        ValueError: a number of features is negative; on a call, x or a parameter has the wrong shape.
    """

    parameter_names = ("weight", "bias")
    bias: Array | None
    grad_weight: Array
    grad_bias: Array

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initialization = he_normal,
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        expect_counts(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight: Array = init((out_features, in_features), np.random.default_rng(rng)).astype(dtype)
        self.bias = np.zeros(out_features, dtype) if bias else None

    def forward(self, x: Array) -> Array:
        """Return y (N, O) for x (N, I)."""
        expect_input(self, x, "N", self.in_features)
        expect_parameters(self, weight=(self.out_features, self.in_features), bias=(self.out_features,))
        self.x, weight, bias = in_one_precision(x, self.weight, self.bias)
        y = _product(self.x, weight.T)
        self.output_shape = y.shape
        return y if bias is None else y + bias

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x; store those of weight and bias."""
        expect_gradient(self, dy)
        dy, weight = in_one_precision(dy, self.weight)
        self.grad_weight = _product(dy.T, self.x)
        if self.bias is not None:
            self.grad_bias = kernels.summed(dy, (0,))[0]
        return _product(dy, weight)


def _product(a: Array, b: Array) -> Array:
    """Return the product of two matrices, computed on the kernels' threads."""
    return kernels.matrix_product(a[None], b[None])[0]
