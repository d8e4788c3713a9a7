"""Gradients of a layer that uses them up: its backward(dy, rate) takes a step of gradient descent."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratch_conv.parity.candidates.names import ARGUMENTS, Names
from scratch_conv.parity.candidates.numpy_layer.places import Place
from scratch_conv.parity.candidates.signatures import check_call, parameters_of

_EXPONENTS = {2: 4, 4: 60, 8: 400}
"""The usual rate, as a power of two, for values of so many bytes."""


def rate_of(method: Any, names: Names) -> str | None:
    """Return the name of the argument of a backward that is the rate of a step; None where it takes none."""
    taken = parameters_of(method) or {}
    own = [name for name, source in names.sources.items() if source.name == "rate"]
    for word in (*own, "rate", *ARGUMENTS["rate"].split()):
        if word in taken and (word in own or taken[word].default is inspect.Parameter.empty):
            return word
    return None


class Descent:
    """A step of gradient descent, from which the gradient is taken: (before - after) / rate.

    The step is taken by copies of the layer. With a power of two as rate, the division is exact; and where
    rate times gradient is so large that the parameter is less than half a unit in its last place, so are both
    subtractions: the gradient is what the layer computed, to the last bit. Where that overflows, a rate of 1
    is as good; where the gradient is too small, zero, or beside a parameter that is not finite, it is that of
    a copy with zeros for parameters.

    Args:
        layer: the layer, after its forward.
        method: the name of its backward.
        word: the name of the rate there.
        places: where its parameters are.
    """

    def __init__(self, layer: Any, method: str, word: str, places: dict[str, Place]) -> None:
        self.layer, self.method, self.word, self.places = layer, method, word, places
        sizes = [place.get(layer).dtype.itemsize for place in places.values()]
        self.usual = 2.0 ** _EXPONENTS.get(min(sizes, default=4), 60)
        self._steps: dict[tuple[float, bool], dict[str, NDArray[Any]]] = {}
        self._dy: NDArray[Any] = np.zeros(())

    def step(self, dy: NDArray[Any]) -> Any:
        """Return what backward returns at the usual rate, from a copy of the layer."""
        self._dy = dy
        returned, self._steps[self.usual, False] = self._taken(self.usual)
        return returned

    def _taken(self, rate: float, zeroed: bool = False) -> tuple[Any, dict[str, NDArray[Any]]]:
        """Return what a backward returns, and the steps that it takes, by the parameters' names."""
        copied = deepcopy(self.layer)
        for place in self.places.values() if zeroed else ():
            place.put(copied, np.zeros_like(place.get(copied)))
        before = {name: np.array(place.get(copied)) for name, place in self.places.items()}
        method = getattr(copied, self.method)
        check_call(method, self._dy, **{self.word: rate})
        with np.errstate(all="ignore"):
            returned = method(self._dy.copy(), **{self.word: rate})
            steps = {name: before[name] - place.get(copied) for name, place in self.places.items()}
            return returned, {name: step / step.dtype.type(rate) for name, step in steps.items()}

    def gradient(self, name: str) -> NDArray[Any]:
        """Return the gradient of a parameter."""
        before, found = self.places[name].get(self.layer), self._by(self.usual, name)
        with np.errstate(all="ignore"):
            small = np.abs(found) * (self.usual * np.finfo(before.dtype).eps / 4) <= np.abs(before)
        hidden = (small | ~np.isfinite(before)) & (before != 0)
        if hidden.any():
            found = np.where(hidden, self._by(1.0, name, zeroed=True), found)
        if not np.isfinite(found).all():
            found = np.where(np.isfinite(found) | hidden, found, self._by(1.0, name))
        return np.asarray(found)

    def _by(self, rate: float, name: str, zeroed: bool = False) -> NDArray[Any]:
        if (rate, zeroed) not in self._steps:
            self._steps[rate, zeroed] = self._taken(rate, zeroed)[1]
        return np.asarray(self._steps[rate, zeroed][name])
