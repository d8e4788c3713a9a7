"""The dense layer, in which every output sees every input, and what leads from pictures to it."""

import math
from typing import Any

import numpy as np

from scratch_conv import kernels
from scratch_conv.kernels.geometry import Array
from scratch_conv.layers.initialization import Initialization, he_normal
from scratch_conv.layers.layer import Layer, expect_shape, in_one_precision


class Dense(Layer):
    """Multiplies by a matrix and adds a bias; also called fully connected, or linear.

        y = x · weightᵀ + bias
        dx = dy · weight,    dweight = dyᵀ · x,    dbias = Σ_n dy

    Shapes: x (N, I), y (N, O), weight (O, I), bias (O,).

    Arguments:
        in_features: I.
        out_features: O.
        bias: whether there is one.
        init: draws the first weights; the bias begins at zero.
        rng: where random numbers come from; a fresh generator by default.
        dtype: of the parameters.

    Raises:
        ValueError: on a call, x has another shape than the layer takes.
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
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight: Array = init((out_features, in_features), rng or np.random.default_rng()).astype(dtype)
        self.bias = np.zeros(out_features, dtype) if bias else None

    def forward(self, x: Array) -> Array:
        """Map x (N, I) to y (N, O)."""
        expect_shape(self, x, "N", self.in_features)
        self.x, weight, bias = in_one_precision(x, self.weight, self.bias)
        y = _product(self.x, weight.T)
        return y if bias is None else y + bias

    def backward(self, dy: Array) -> Array:
        """Carry dy (N, O) back to x (N, I), weight and bias."""
        dy, weight = in_one_precision(dy, self.weight)
        self.grad_weight = _product(dy.T, self.x)
        if self.bias is not None:
            self.grad_bias = dy.sum(axis=0)
        return _product(dy, weight)


def _product(a: Array, b: Array) -> Array:
    """Multiply two matrices, on the kernels' threads."""
    return kernels.matrix_product(a[None], b[None])[0]


class Flatten(Layer):
    """Lays the axes from `start_dim` to `end_dim` end to end; no number changes.

    Shapes: x (N, C, H, W), y (N, C·H·W), unless other axes are named.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Array) -> Array:
        """Reshape x."""
        self.shape = x.shape
        start, end = self.start_dim % x.ndim, self.end_dim % x.ndim + 1
        return x.reshape(*x.shape[:start], math.prod(x.shape[start:end]), *x.shape[end:])

    def backward(self, dy: Array) -> Array:
        """Reshape back."""
        return dy.reshape(self.shape)
