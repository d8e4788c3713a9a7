"""Where a layer in NumPy keeps its parameters and their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratch_conv.parity.candidates.layer import SPELLINGS
from scratch_conv.parity.operators.calling import InterfaceError

_GRADIENTS = ("grad_{}", "d{}", "{}_grad", "d_{}")
_STORES = ("", "parameters", "params")
_GRADIENT_STORES = ("gradients", "grads")


@dataclass(frozen=True)
class Place:
    """Where a layer keeps an array: an attribute, or an entry of a dictionary among its attributes.

    Attributes:
        name: the attribute's name, or the key.
        store: the name of the dictionary; empty for an attribute.
    """

    name: str
    store: str = ""

    def get(self, layer: Any) -> Any:
        """Return what is stored there, None where nothing is."""
        if not self.store:
            return getattr(layer, self.name, None)
        held = getattr(layer, self.store, None)
        return held.get(self.name) if isinstance(held, dict) else None

    def put(self, layer: Any, value: NDArray[Any]) -> None:
        """Store an array there."""
        if self.store:
            getattr(layer, self.store)[self.name] = value
        else:
            setattr(layer, self.name, value)

    def __str__(self) -> str:
        return f"layer.{self.store}[{self.name!r}]" if self.store else f"layer.{self.name}"


def find_parameter(layer: Any, name: str) -> Place | None:
    """Return where a layer holds the parameter that torch calls `name`, None where it holds none."""
    places = [Place(spelling, store) for store in _STORES for spelling in SPELLINGS[name]]
    return next((place for place in places if isinstance(place.get(layer), np.ndarray)), None)


def find_gradient(layer: Any, name: str) -> Place:
    """Return where a layer has left the gradient of a parameter.

    Raises:
        InterfaceError: it holds none under the names that are known.
    """
    for spelling in SPELLINGS[name]:
        forms = [form.format(spelling) for form in _GRADIENTS]
        stored = [Place(each, store) for store in _GRADIENT_STORES for each in (spelling, *forms)]
        for place in (*stored, *map(Place, forms)):
            if isinstance(place.get(layer), np.ndarray):
                return place
    held = ", ".join(sorted(getattr(layer, "__dict__", {}))) or "nothing"
    raise InterfaceError(
        f"after backward there is no gradient of {name}, such as grad_{name} or d{SPELLINGS[name][2]}; "
        f"the layer holds {held}"
    )


def is_merged(shape: tuple[int, ...], parts: tuple[int, ...]) -> bool:
    """Return whether a shape is another one with neighbouring axes merged, but for axes of one."""
    if 0 in parts:
        return 0 in shape
    left = [size for size in parts if size != 1]
    for size in shape:
        while size > 1 and left and size % left[0] == 0:
            size //= left.pop(0)
        if size != 1:
            return False
    return not left
