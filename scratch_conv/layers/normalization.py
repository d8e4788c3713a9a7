"""Batch and layer normalization."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import expect_array, expect_counts, expect_gradient, expect_input
from scratch_conv.layers.layer import Layer, in_one_precision

__all__ = ["BatchNorm2D", "LayerNorm"]


class BatchNorm2D(Layer):
    """Normalizes every channel to mean 0 and variance 1, then applies a learned scale and shift.

        y = weight · (x - μ) / √(σ² + eps) + bias

    In training μ and σ² are those of the batch, and the running statistics are updated; in evaluation the
    running statistics are used. The derivatives are in `scratch_conv/kernels/normalization.py` (Ioffe
    and Szegedy, Batch normalization, 2015).

    Shapes: x and y (N, C, H, W), the parameters and the statistics (C,).

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the weight of the batch in the new running statistics; None for the average of all batches.
        dtype: of the parameters and the statistics.

    Raises:
        ValueError: the number of features is negative; on a call, x has the wrong shape, or in training only
            one value a channel.
    """

    parameter_names = ("weight", "bias")
    statistic_names = ("running_mean", "running_var", "num_batches_tracked")
    grad_weight: Array
    grad_bias: Array

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, *, dtype: Any = np.float32
    ) -> None:
        expect_counts(num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight: Array = np.ones(num_features, dtype)
        self.bias: Array = np.zeros(num_features, dtype)
        self.running_mean: Array = np.zeros(num_features, dtype)
        self.running_var: Array = np.ones(num_features, dtype)
        self.num_batches_tracked = np.zeros((), np.int64)

    def forward(self, x: Array) -> Array:
        """Return x (N, C, H, W) normalized."""
        expect_input(self, x, "N", self.num_features, "H", "W")
        given = x, self.weight, self.bias, self.running_mean, self.running_var
        x, weight, bias, running_mean, running_var = in_one_precision(*given)
        batch, channels, height, width = x.shape
        self.x = x.reshape(batch, channels, height * width)
        self.by_batch = self.training  # in this pass, whatever the mode is in the backward pass
        if self.by_batch:
            y, self.mean, self.variance = kernels.batch_norm(self.x, weight, bias, self.eps)
            self._update_running_statistics(count=batch * height * width)
        else:
            self.mean, self.variance = running_mean, running_var
            y = kernels.batch_norm_inference(self.x, self.mean, self.variance, weight, bias, self.eps)
        self.output_shape = x.shape
        return y.reshape(x.shape)

    def _update_running_statistics(self, count: int) -> None:
        if count < 2:
            raise ValueError(f"{self!r}: in training a channel needs more than one value")
        self.num_batches_tracked += 1
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = count / (count - 1)
        mean = kernels.running_average(self.running_mean, self.mean, momentum, 1.0)
        variance = kernels.running_average(self.running_var, self.variance, momentum, unbiased)
        self.running_mean[...], self.running_var[...] = mean, variance

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x, also through the statistics; store the others."""
        expect_gradient(self, dy)
        dy, weight = in_one_precision(dy, self.weight)
        pixels = dy.reshape(self.x.shape)
        if self.by_batch:
            dx, self.grad_weight, self.grad_bias = kernels.batch_norm_grad(
                pixels, self.x, self.mean, self.variance, weight, self.eps
            )
        else:
            scale = kernels.inverse_deviation(self.variance, self.eps)[:, None]
            self.grad_weight = kernels.summed(pixels * (self.x - self.mean[:, None]) * scale, (0, 2))[0, :, 0]
            self.grad_bias = kernels.summed(pixels, (0, 2))[0, :, 0]
            dx = pixels * (weight[:, None] * scale)
        return dx.reshape(dy.shape)


class LayerNorm(Layer):
    """Normalizes every sample to mean 0 and variance 1 over its last axes, then applies a scale and shift.

        y = weight · (x - μ) / √(σ² + eps) + bias

    Unlike batch normalization it treats each sample alone, so it is the same in training and evaluation. The
    derivatives are in `scratch_conv/kernels/group_normalization.py` (Ba, Kiros and Hinton, Layer
    normalization, 2016).

    Shapes: x and y (*, *normalized_shape), the parameters normalized_shape.

    Args:
        normalized_shape: the sizes of the axes that are normalized over; one number for the last axis.
        eps: added to the variance.
        bias: whether a shift is learned.
        dtype: of the parameters.

    Raises:
        ValueError: a size is negative, or there is none; on a call, x has the wrong shape.
    """

    parameter_names = ("weight", "bias")
    bias: Array | None
    grad_weight: Array
    grad_bias: Array

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        alone = isinstance(normalized_shape, (int, np.integer))
        sizes = (normalized_shape,) if alone else tuple(normalized_shape)  # type: ignore[arg-type]
        for size in sizes or (-1,):
            expect_counts(normalized_shape=size)  # type: ignore[arg-type]
        self.normalized_shape, self.eps = sizes, eps
        self.weight: Array = np.ones(sizes, dtype)
        self.bias = np.zeros(sizes, dtype) if bias else None

    def forward(self, x: Array) -> Array:
        """Return x (*, *normalized_shape) normalized."""
        expect_array(self, "x", x)
        if x.shape[-len(self.normalized_shape) :] != self.normalized_shape:
            expected = ", ".join(["*", *map(str, self.normalized_shape)])
            raise ValueError(f"{self!r}: expected x of shape ({expected}), got {x.shape}")
        given, weight, bias = in_one_precision(x, self.weight, self.bias)
        self.x = given.reshape(self._rows(x))
        y, self.mean, self.variance = kernels.group_norm(self.x, 1, _flat(weight), _flat(bias), self.eps)
        self.output_shape = x.shape
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x, also through the statistics; store the others."""
        expect_gradient(self, dy)
        x, rows, weight = in_one_precision(self.x, dy.reshape(self.x.shape), self.weight)
        dx, dw, db = kernels.group_norm_grad(rows, x, self.mean, self.variance, _flat(weight), self.eps)
        self.grad_weight = dw.reshape(self.normalized_shape)
        if self.bias is not None:
            self.grad_bias = db.reshape(self.normalized_shape)
        return dx.reshape(dy.shape)

    def _rows(self, x: Array) -> tuple[int, int, int]:
        """Return the shape in which every sample is a row, of one pixel a channel."""
        outer = x.shape[: x.ndim - len(self.normalized_shape)]
        return math.prod(outer), math.prod(self.normalized_shape), 1


def _flat(parameter: Array | None) -> Array | None:
    return None if parameter is None else parameter.reshape(-1)
