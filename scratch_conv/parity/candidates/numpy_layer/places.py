"""Where a layer in NumPy keeps its parameters and their gradients."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratch_conv.parity.candidates.names import SPELLINGS
from scratch_conv.parity.candidates.returned import GRADIENTS
from scratch_conv.parity.operators.calling import InterfaceError

_STORES = ("parameters", "params", "weights", "_params")
_GRADIENT_STORES = ("gradients", "grads", "grad", "dparams", "d", "_grads")
_VALUES = ("val", "value", "data", "values", "array", "param", "w")
_OWN_GRADIENTS = ("grad", "gradient", "g", "dval", "d")
_STEP = re.compile(r"\.?(\w+)|\[([^\]]+)\]")


@dataclass(frozen=True)
class Place:
    """Where a layer keeps an array.

    Attributes:
        steps: how it is reached from the layer: an attribute's name each, or a list with one key or index.
    """

    steps: tuple[str | tuple[Any], ...]

    def get(self, layer: Any) -> Any:
        """Return what is stored there, None where nothing is."""
        found = layer
        for step in self.steps:
            try:
                found = getattr(found, step, None) if isinstance(step, str) else found[step[0]]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def put(self, layer: Any, value: NDArray[Any]) -> None:
        """Store an array there."""
        holder, last = Place(self.steps[:-1]).get(layer), self.steps[-1]
        if isinstance(last, str):
            setattr(holder, last, value)
        elif isinstance(holder, tuple):
            parts = [*holder]
            parts[last[0]] = value
            Place(self.steps[:-1]).put(layer, tuple(parts))  # type: ignore[arg-type]
        else:
            holder[last[0]] = value

    def beside(self, step: str | tuple[Any]) -> Place:
        """Return another place in the same holder."""
        return Place((*self.steps[:-1], step))

    def within(self, *steps: str | tuple[Any]) -> Place:
        """Return a place inside what is stored there."""
        return Place((*self.steps, *steps))

    def __str__(self) -> str:
        return "layer" + "".join(
            f".{step}" if isinstance(step, str) else f"[{step[0]!r}]" for step in self.steps
        )


LAYER = Place(())


def named_place(text: str) -> Place:
    """Return the place that a user writes as `conv.W`, `params['W1']` or `params[0]`."""
    steps: list[str | tuple[Any]] = []
    for name, key in _STEP.findall(text):
        try:
            steps.append(name or (ast.literal_eval(key),))
        except (SyntaxError, ValueError):
            steps.append((key,))
    return Place(tuple(steps))


def find_parameter(layer: Any, name: str, named: str | None = None) -> Place | None:
    """Return where a layer holds the parameter that torch calls `name`, None where it holds none.

    Args:
        layer: the layer.
        name: torch's name.
        named: where the user says that it is.

    Raises:
        InterfaceError: there is no array where the user says.
    """
    if named is not None:
        place = named_place(named)
        if isinstance(place.get(layer), np.ndarray):
            return place
        raise InterfaceError(
            f"{place} is said to be {name} and is no array; the layer holds {holdings(layer)}"
        )
    for holder in (LAYER, *_inner(layer)):
        for place in _candidates(holder, name, holder.get(layer)):
            if isinstance(place.get(layer), np.ndarray):
                return place
    return None


def _inner(layer: Any) -> Iterator[Place]:
    """Return where a layer holds objects of its own making, which may hold the parameters."""
    for name, value in getattr(layer, "__dict__", {}).items():
        layered = not callable(value) or callable(getattr(value, "forward", None))
        if hasattr(value, "__dict__") and not isinstance(value, (type, np.ndarray)) and layered:
            yield Place((name,))


def _candidates(holder: Place, name: str, inside: Any) -> Iterator[Place]:
    """Return the places in a holder where a parameter may be, the usual ones first."""
    spelled = SPELLINGS[name]
    yield from (holder.within(each) for each in spelled)
    yield from (holder.within(store, (each,)) for store in _STORES for each in spelled)
    for each in spelled:
        for value in _VALUES:
            yield holder.within(each, (value,))
            yield holder.within(each, value)
    index = ("weight", "bias").index(name) if name in ("weight", "bias") else None
    for store in _STORES if index is not None else ():
        if isinstance(getattr(inside, store, None), (list, tuple)):
            yield from (holder.within(store, (index,)), *(holder.within(store, (index,), v) for v in _VALUES))
    tokens = {each.lower() for each in spelled if len(each) > 1}
    alike = [
        key for key in getattr(inside, "__dict__", {}) if _words(key) & tokens and not _words(key) & _OTHERS
    ]
    if len(alike) == 1:
        yield holder.within(alike[0])


_OTHERS = {
    "d",
    "grad",
    "grads",
    "gradient",
    "delta",
    "velocity",
    "cache",
    "momentum",
    "prev",
    "old",
    "best",
    "init",
}


def _words(key: str) -> set[str]:
    return {word for word in re.split(r"[_\d]+", key.lower()) if word}


def find_gradient(layer: Any, name: str, place: Place | None = None, named: str | None = None) -> Place:
    """Return where a layer has left the gradient of a parameter.

    Args:
        layer: the layer, after its backward.
        name: torch's name of the parameter.
        place: where the parameter is.
        named: where the user says that the gradient is.

    Raises:
        InterfaceError: it holds none under the names that are known.
    """
    places = [named_place(named)] if named is not None else _gradient_places(layer, name, place)
    for each in places:
        if isinstance(each.get(layer), np.ndarray):
            return each
    raise InterfaceError(
        f"after backward there is no gradient of {name}, such as grad_{name} or d{SPELLINGS[name][2]}; "
        f"the layer holds {holdings(layer)}; --names grad_{name}=... says where it is"
    )


def _gradient_places(layer: Any, name: str, place: Place | None) -> Iterator[Place]:
    own = [] if place is None else [step if isinstance(step, str) else step[0] for step in place.steps[-1:]]
    spelled = list(dict.fromkeys([*(each for each in own if isinstance(each, str)), *SPELLINGS[name]]))
    if place is not None and (len(place.steps) > 1) and own[0] in _VALUES:  # values beside their gradient
        yield from (place.beside((each,)) for each in _OWN_GRADIENTS)
        yield from (place.beside(each) for each in _OWN_GRADIENTS)
        spelled = list(dict.fromkeys([str(place.steps[-2]), *SPELLINGS[name]]))
    holders = (
        [] if place is None else [Place(place.steps[:end]) for end in range(len(place.steps) - 1, 0, -1)]
    )
    for spelling in spelled:
        forms = [form.format(spelling) for form in GRADIENTS]
        stored = [(store, (each,)) for store in _GRADIENT_STORES for each in (spelling, *forms)]
        for holder in (*holders, LAYER):
            yield from (holder.within(*each) for each in stored)
            yield from (holder.within((each,)) for each in forms)
            yield from (holder.within(each) for each in forms)
    index = ("weight", "bias").index(name) if name in ("weight", "bias") else None
    for holder in (*holders, LAYER):
        for store in _GRADIENT_STORES if index is not None else ():
            if isinstance(getattr(holder.get(layer), store, None), (list, tuple)):
                yield holder.within(store, (index,))


def holdings(layer: Any) -> str:
    """Return the names of a layer's attributes, and the keys of the dictionaries among them."""
    words = []
    for name, value in sorted(getattr(layer, "__dict__", {}).items()):
        keys = f" with {', '.join(map(str, value))}" if isinstance(value, dict) and value else ""
        inside = getattr(value, "__dict__", {})
        inside = f" with {', '.join(inside)}" if inside and not callable(value) else ""
        words.append(f"{name}{keys or inside}")
    return ", ".join(words) or "nothing"


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
