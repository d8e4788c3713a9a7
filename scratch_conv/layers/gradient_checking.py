"""Check that a backward pass is the derivative of its forward pass, by central differences.

    dx[i] ≈ Σ dy · (y(x + h·e_i) - y(x - h·e_i)) / 2h

in float64, for every element of x and of every parameter, and for a random dy. The relative error of an
analytic gradient a and a numeric one n is |a - n| / max(|a|, |n|).

Two cases need care. Rounding: where y changes, it is known to about ε·|y|, so n only to about ε·Σ|dy·y| / h;
the difference is divided by at least ten million times that. Where y does not change, a change below its
rounding may be lost (a probability near 1 hides an increase), and a difference of that size passes.

Kinks: ReLU and max pooling have points without a derivative. Where the two ends of a central difference lie
on different sides of one, as the layers' `branches` show, the derivative is taken from the side that x is on.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from scratch_conv.kernels.windows import Array
from scratch_conv.layers.layer import Layer

__all__ = ["GradientCheck", "gradient_check"]

BOUND = 1e-5
"""A relative error of this or more fails."""

_STEPS = (1e-5, 1e-6, 1e-7)
"""h, from the most accurate to one that may still fit between two kinks."""

_FEWEST = 1e7
"""A gradient of fewer roundings than this is too inaccurate for a relative error."""


@dataclass(frozen=True)
class Element:
    """One element of a gradient.

    Attributes:
        name: "x", or the name of a parameter.
        index: its index in that array.
        analytic: its gradient from the backward pass.
        numeric: its gradient from the difference of two forward passes.
        error: the relative error.
    """

    name: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float

    def badness(self) -> float:
        """Return the error, or infinity if it is NaN."""
        return float(np.nan_to_num(self.error, nan=np.inf))


@dataclass(frozen=True)
class GradientCheck:
    """The result of `gradient_check`; `str` of it is a summary.

    Attributes:
        worst: the worst element of x and of each parameter, by name.
        skipped: the number of elements that lie on a kink on both sides, where nothing can be compared.
    """

    worst: dict[str, Element]
    skipped: int

    @property
    def element(self) -> Element:
        """The worst element of all."""
        return max(self.worst.values(), key=Element.badness)

    @property
    def error(self) -> float:
        """The worst relative error of all."""
        return self.element.error

    @property
    def passed(self) -> bool:
        """Whether every relative error is below 1e-5; NaN is not."""
        return all(element.error < BOUND for element in self.worst.values())

    def __str__(self) -> str:
        worst = self.element
        verdict = "equal" if self.passed else "DIFFER"
        element = f"{worst.name}[{', '.join(map(str, worst.index))}]"
        skipped = f"; {self.skipped} elements on a kink skipped" if self.skipped else ""
        return (
            f"gradients {verdict}: worst relative error {worst.error:.1e} at {element}, "
            f"backward {worst.analytic:.9g}, numeric {worst.numeric:.9g}{skipped}"
        )


def gradient_check(layer: Layer, x: Array, seed: int = 0) -> GradientCheck:
    """Compare the gradients of a layer or a network with differences of its outputs.

    The layer itself is not changed: copies in float64 are used. The check takes two forward passes for every
    element, so pass few, small images.

    Args:
        layer: in training or evaluation mode; dropout drops the same elements in each pass.
        x: an input, with its batch axis.
        seed: for drawing dy.

    Raises:
        TypeError: layer is no layer: a loss, a function.
        ValueError: a gradient has another shape than its array, or there is nothing to compare.
        RuntimeError: a backward pass has not stored the gradient of a parameter.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"expected a layer or a network, a subclass of Layer; got {type(layer).__name__}")
    layer, x = deepcopy(layer).astype(np.float64), np.array(x, np.float64)
    used = deepcopy(layer)
    y = used.forward(x.copy()).copy()  # the layer may return its input, or overwrite what it keeps
    dy = np.random.default_rng(seed).standard_normal(y.shape)
    point = _Point(layer, x, y, dy, used.branches())
    analytic = {"x": used.backward(dy.copy()), **used.gradients}
    worst, skipped = {}, 0
    for name, values in {"x": x, **layer.parameters}.items():
        shape = getattr(analytic[name], "shape", None)  # None if backward returns nothing
        if shape != values.shape:
            shapes = f"the gradient of {name} has shape {shape}, {name} has {values.shape}"
            raise ValueError(f"{layer!r}: {shapes}")
        elements = [
            _compare(point, name, values, index, analytic[name]) for index in np.ndindex(values.shape)
        ]
        compared = [element for element in elements if element is not None]
        skipped += len(elements) - len(compared)
        if compared:
            worst[name] = max(compared, key=Element.badness)
    if not worst:
        raise ValueError(f"{layer!r}: nothing to compare, with x of shape {x.shape} and {skipped} kinks")
    return GradientCheck(worst, skipped)


@dataclass(frozen=True)
class _Point:
    """The point where derivatives are taken: a fresh layer, its input and its output.

    Attributes:
        branches: the side of its kinks that the layer is on there.
    """

    layer: Layer
    x: Array
    y: Array
    dy: Array
    branches: list[Array]

    def output(self) -> tuple[Array, bool]:
        """Return y, and whether the layer was on the same side of all kinks."""
        used = deepcopy(self.layer)  # a copy: a forward pass updates statistics and draws random numbers
        y = used.forward(self.x.copy())
        same = all(map(np.array_equal, used.branches(), self.branches))
        return y, same


def _compare(
    point: _Point, name: str, values: Array, index: tuple[int, ...], gradient: Array
) -> Element | None:
    """Return the comparison of one element; None if it lies on a kink on both sides."""
    for h in _STEPS:
        difference = _difference(point, values, index, h)
        if difference is not None:
            analytic, numeric = float(gradient[index]), float((point.dy * difference).sum() / h)
            roundings, changed = np.finfo(np.float64).eps * np.abs(point.dy * point.y) / h, difference != 0
            known, lost = _FEWEST * roundings[changed].sum(), roundings[~changed].sum() / BOUND
            divisor = max(abs(analytic), abs(numeric), float(known), float(lost))
            error = abs(analytic - numeric) / divisor if analytic != numeric else 0.0
            return Element(name, index, analytic, numeric, error)
    return None


def _difference(point: _Point, values: Array, index: tuple[int, ...], h: float) -> Array | None:
    """Return h times the derivative of y with respect to one element, from the difference of two outputs.

    Central or, beside a kink, one-sided on the side without it; None if both sides have one.
    """
    here = values[index]

    def at(steps: int) -> tuple[Array, bool]:
        values[index] = here + steps * h
        try:
            return point.output()
        finally:
            values[index] = here

    (after, same_after), (before, same_before) = at(1), at(-1)
    if same_after and same_before:
        return (after - before) / 2
    for side, y, same in ((1, after, same_after), (-1, before, same_before)):
        farther, same_farther = at(2 * side) if same else (y, False)
        if same_farther:  # a parabola through three points: an error of order h², as for central ones
            return side * (4 * y - farther - 3 * point.y) / 2
    return None
