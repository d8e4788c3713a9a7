"""The dense layer, in which every output sees every input, and what leads from images to it."""

import math
from typing import Any

import numpy as np

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import axis_of, expect_counts, expect_gradient, expect_input
from scratch_conv.layers.initialization import Initialization, he_normal
from scratch_conv.layers.layer import Layer, in_one_precision


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
        rng: where random numbers come from: a generator, or a number to seed one; a fresh one by default.
        dtype: of the parameters.

    Raises:
        ValueError: a number of features is negative; on a call, x has another shape than the layer takes.
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
        """Map x (N, I) to y (N, O)."""
        expect_input(self, x, "N", self.in_features)
        self.x, weight, bias = in_one_precision(x, self.weight, self.bias)
        y = _product(self.x, weight.T)
        self.output_shape = y.shape
        return y if bias is None else y + bias

    def backward(self, dy: Array) -> Array:
        """Carry dy (N, O) back to x (N, I), weight and bias."""
        expect_gradient(self, dy)
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

    Raises:
        ValueError: on a call, x does not have these axes, in this order.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Array) -> Array:
        """Reshape x."""
        expect_input(self, x)
        start, end = axis_of(self, "start_dim", x), axis_of(self, "end_dim", x) + 1
        if start >= end:
            raise ValueError(f"{self!r}: start_dim comes after end_dim in x of shape {x.shape}")
        self.shape = x.shape
        self.output_shape = (*x.shape[:start], math.prod(x.shape[start:end]), *x.shape[end:])
        return x.reshape(self.output_shape)

    def backward(self, dy: Array) -> Array:
        """Reshape back."""
        expect_gradient(self, dy)
        return dy.reshape(self.shape)
