"""Is a backward pass the derivative of its forward pass? Central differences answer.

    dx[i] ≈ Σ dy · (y(x + h·e_i) - y(x - h·e_i)) / 2h

in float64, for every element of x and of every parameter, and for a dy drawn at random. The relative error of
an analytic gradient a and a numeric one n is |a - n| / max(|a|, |n|).

Two things need care. Rounding: where y changes at all it is known to about ε·|y|, so n to about ε·Σ|dy·y| / h
and no better; the difference is divided by ten million times that at least. Where y stays the same, less than
its rounding may have been lost (a probability near 1 hides what it gains), and a difference of that passes.

Kinks: ReLU and max pooling have points without a derivative; where the two ends of a central difference lie
on different sides of one, as the layers' `branches` tell, the derivative is taken from the side that x is on.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from scratch_conv.kernels.windows import Array
from scratch_conv.layers.layer import Layer

BOUND = 1e-5
"""A relative error from this on fails."""

_STEPS = (1e-5, 1e-6, 1e-7)
"""h, from the most accurate one to what may still fit between two kinks."""

_FEWEST = 1e7
"""A gradient of fewer roundings than this is not known well enough to be judged by its own size."""


@dataclass(frozen=True)
class Element:
    """One element of a gradient.

    Attributes:
        name: "x", or the name of a parameter.
        index: its place in that array.
        analytic: its gradient as the backward pass has it.
        numeric: as the difference of two forward passes has it.
        error: the relative error.
    """

    name: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float

    def badness(self) -> float:
        """Return the error, a NaN as the worst."""
        return float(np.nan_to_num(self.error, nan=np.inf))


@dataclass(frozen=True)
class GradientCheck:
    """What `gradient_check` found; `str` of it reads well.

    Attributes:
        worst: the worst element of x and of each parameter, by name.
        skipped: how many elements lie on a kink from both sides, where there is nothing to compare.
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
        """Whether every relative error is below 1e-5; a NaN is not."""
        return all(element.error < BOUND for element in self.worst.values())

    def __str__(self) -> str:
        worst = self.element
        verdict = "equal" if self.passed else "DIFFER"
        place = f"{worst.name}[{', '.join(map(str, worst.index))}]"
        skipped = f"; {self.skipped} elements on a kink skipped" if self.skipped else ""
        return (
            f"gradients {verdict}: worst relative error {worst.error:.1e} at {place}, "
            f"backward {worst.analytic:.9g}, numeric {worst.numeric:.9g}{skipped}"
        )


def gradient_check(layer: Layer, x: Array, seed: int = 0) -> GradientCheck:
    """Compare what a layer, or a network, gives as gradients with differences of its outputs.

    The layer itself is left as it is: copies in float64 do the work. It takes two forward passes for every
    element, so give it few images, and small ones.

    Arguments:
        layer: in training or not, as it is; dropout drops the same elements in each pass.
        x: an input, with its batch axis.
        seed: decides dy.

    Raises:
        ValueError: a gradient does not have the shape of what it belongs to, or there is nothing to compare.
    """
    layer, x = deepcopy(layer).astype(np.float64), np.array(x, np.float64)
    used = deepcopy(layer)
    y = used.forward(x.copy()).copy()  # the layer may return its input, or write into what it remembers
    dy = np.random.default_rng(seed).standard_normal(y.shape)
    point = _Point(layer, x, y, dy, used.branches())
    analytic = {"x": used.backward(dy.copy()), **used.gradients}
    worst, skipped = {}, 0
    for name, values in {"x": x, **layer.parameters}.items():
        if analytic[name].shape != values.shape:
            shapes = f"the gradient of {name} has shape {analytic[name].shape}, {name} has {values.shape}"
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
    """Where derivatives are taken: a layer that has computed nothing yet, its input, and what comes of it.

    Attributes:
        branches: which side of its kinks the layer is on there.
    """

    layer: Layer
    x: Array
    y: Array
    dy: Array
    branches: list[Array]

    def output(self) -> tuple[Array, bool]:
        """Compute y, and tell whether the layer was on the same side of all kinks."""
        used = deepcopy(self.layer)  # as it was: a forward pass moves statistics and draws random numbers
        y = used.forward(self.x.copy())
        same = all(map(np.array_equal, used.branches(), self.branches))
        return y, same


def _compare(
    point: _Point, name: str, values: Array, index: tuple[int, ...], gradient: Array
) -> Element | None:
    """Compare one element; None where it lies on a kink from both sides."""
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
    """Tell by how much y grows with one element, taken times h: what the difference of two outputs says.

    From both sides or, beside a kink, from the one without it; None where there is none.
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
        if same_farther:  # the parabola through three points, of an error in h² as above
            return side * (4 * y - farther - 3 * point.y) / 2
    return None
