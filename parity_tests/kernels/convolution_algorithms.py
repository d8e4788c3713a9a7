"""The operations of an algorithm for convolution, and that they give what im2col does."""

from typing import Any

import numpy as np
from drawn_arrays import laid_out

from scratch_conv.kernels import Window
from scratch_conv.kernels.convolution import im2col
from scratch_conv.kernels.windows import Array


def numbers(rng: np.random.Generator, *shape: int) -> Array:
    """Draw small whole numbers, whose sums are exact."""
    return rng.integers(-4, 5, shape).astype(np.float32)


def operations(
    x: Array, w: Array, bias: Array, grad_output: Array, window: Window, groups: int
) -> dict[str, tuple[Any, ...]]:
    """Return the arguments of an algorithm's three functions, by their names."""
    return {
        "conv": (x, w, bias, window, groups),
        "conv_grad_weight": (grad_output, x, window, groups),
        "conv_grad_input": (grad_output, w, x.shape[2:], window, groups),
    }


def assert_gives_what_im2col_does(
    algorithm: Any,
    rng: np.random.Generator,
    x: Array,
    w: Array,
    bias: Array,
    window: Window,
    groups: int,
    order: tuple[int, ...] = (0, 1, 2, 3),
) -> None:
    """Compare values and both gradients; those of the outputs lie in memory in this order of axes."""
    outputs = im2col.conv(x, w, bias, window, groups).shape
    grad_output = laid_out(numbers(rng, *outputs), order)
    for name, arguments in operations(x, w, bias, grad_output, window, groups).items():
        actual, expected = (getattr(module, name)(*arguments) for module in (algorithm, im2col))
        np.testing.assert_array_equal(actual, expected, strict=True)
