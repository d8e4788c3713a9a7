"""The whole numbers in a candidate's code, next to which sizes are drawn: there it may go another way."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Iterator
from typing import Any

_LEAST, _MOST, _MANY = 5, 5000, 12  # smaller sizes are drawn anyway


def thresholds_of(candidate: Any) -> tuple[int, ...]:
    """Return the whole numbers that a candidate's code holds, from 5 to 5,000, the twelve smallest.

    Its code is that of the function or class, and of the functions, classes and numbers that it names in its
    module, and these in turn. A number elsewhere in the module is none of them.

    Args:
        candidate: a function or a class, as `check` takes it. Compiled code has none.
    """
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    waiting, seen, found = [inspect.unwrap(candidate)], set[int](), set[int]()
    while waiting:
        each = waiting.pop()
        if type(each) is int:
            found.add(each)
        elif id(each) not in seen:
            seen.add(id(each))
            waiting += _held_by(each)
    return tuple(sorted(each for each in found if _LEAST <= each <= _MOST)[:_MANY])


def _held_by(value: Any) -> Iterator[Any]:
    """Yield the numbers in a class, a function or its code, and the classes, functions and code in it.

    What Python and torch add to a class is left out: the number of its first line, and the class of nodes
    that stands beside an autograd.Function, which holds the count of all such classes.
    """
    if inspect.isclass(value):
        for name, each in vars(value).items():
            written = not inspect.isclass(each) or each.__module__ == value.__module__
            if written and not (type(each) is int and name.startswith("__")):
                yield getattr(each, "__func__", each)
    elif inspect.isfunction(value):
        yield value.__code__
        for each in map(value.__globals__.get, value.__code__.co_names):
            if type(each) is int or getattr(each, "__module__", None) == value.__module__:
                yield each
    elif inspect.iscode(value):
        loaded = (each.argval for each in dis.get_instructions(value) if each.opname.startswith("LOAD_"))
        for each in loaded:
            yield from each if isinstance(each, tuple) else (each,)
