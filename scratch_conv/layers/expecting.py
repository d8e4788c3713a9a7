"""Checks of the layers' arguments, before any work."""

from typing import Any

import numpy as np

from scratch_conv.kernels.windows import Array
from scratch_conv.layers.layer import Layer

__all__ = ["axis_of", "expect_array", "expect_counts", "expect_gradient", "expect_input", "expect_parameters"]

_KINDS = {"floats": "f", "integers": "iu"}


def expect_input(layer: Layer, x: Array, *sizes: int | str) -> None:
    """Check that a layer's x is an array of floats, of the given sizes.

    Args:
        layer: named in the error.
        x: the input.
        sizes: of each axis; a letter where any size is allowed. No sizes if any shape is allowed.

    Raises:
        TypeError: x is something else.
        ValueError: x has another shape.
    """
    expect_array(layer, "x", x)
    fits = len(x.shape) == len(sizes) and all(
        isinstance(size, str) or size == given for size, given in zip(sizes, x.shape, strict=True)
    )
    if sizes and not fits:
        raise ValueError(f"{layer!r}: expected x of shape ({', '.join(map(str, sizes))}), got {x.shape}")


def expect_gradient(layer: Layer, dy: Array) -> None:
    """Check that a layer has computed a y, and that dy is an array of floats of y's shape.

    Raises:
        RuntimeError: there was no forward pass.
        TypeError: dy is something else.
        ValueError: dy has another shape.
    """
    if layer.output_shape is None:
        raise RuntimeError(f"{layer!r}: backward before forward")
    expect_array(layer, "dy", dy)
    if dy.shape != layer.output_shape:
        raise ValueError(f"{layer!r}: expected dy of y's shape {layer.output_shape}, got {dy.shape}")


def expect_parameters(layer: Layer, **shapes: tuple[int, ...]) -> None:
    """Check that the parameters of a layer, which may have been replaced, have the shapes that it needs.

    Raises:
        ValueError: one has another.
    """
    for name, shape in shapes.items():
        parameter = getattr(layer, name)
        if parameter is not None and parameter.shape != shape:
            raise ValueError(f"{layer!r}: expected {name} of shape {shape}, got {parameter.shape}")


def expect_array(owner: object, name: str, values: Any, of: str = "floats") -> None:
    """Check that an argument of a layer or a loss is an array of "floats" or of "integers".

    Raises:
        TypeError: it is something else.
    """
    is_array = type(values) in (np.ndarray, np.memmap)  # a mask, or a matrix's products, would be lost
    if not is_array or values.dtype.kind not in _KINDS[of]:
        given = values.dtype if is_array else type(values).__name__
        hint = "; x.astype(np.float32) / 255?" if name == "x" and is_array and given == np.uint8 else ""
        raise TypeError(f"{owner!r}: expected {name} to be a NumPy array of {of}, got {given}{hint}")


def expect_counts(**counts: int) -> None:
    """Check that arguments are integers, and not negative.

    Raises:
        ValueError: one of them is not.
    """
    for name, count in counts.items():
        if not isinstance(count, (int, np.integer)) or count < 0:
            raise ValueError(f"{name} must be an integer of at least 0; got {count!r}")


def axis_of(layer: Layer, name: str, x: Array) -> int:
    """Return the axis of x that an argument of a layer names, from the front; for None torch's choice.

    Raises:
        ValueError: x has no such axis.
    """
    axis: int | None = getattr(layer, name)
    if axis is None:
        axis = 0 if x.ndim in (0, 1, 3) else 1
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{layer!r}: x of shape {x.shape} has no axis {name}={axis}")
    return axis % x.ndim
