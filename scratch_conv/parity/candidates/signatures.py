"""A candidate's signature, and its name."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from types import MethodType
from typing import Any

import torch

from scratch_conv.parity.operators.calling import InterfaceError

_MISSING = re.compile(r"missing a required(?: keyword-only)? argument: '(\w+)'")


def class_of(candidate: object) -> type | None:
    """Return the class that a candidate is, or whose partial application it is; None for anything else."""
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    return candidate if isinstance(candidate, type) else None


def signature_of(candidate: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function or of a class's constructor, None where it cannot be known."""
    if isinstance(candidate, type) and getattr(candidate, "__init__", None) is torch.nn.Module.__init__:
        return inspect.Signature()  # it has *args and **kwargs, and refuses them
    bound = inspect.ismethod(candidate)
    function: Any = candidate.__func__ if inspect.ismethod(candidate) else candidate
    if inspect.isfunction(function) or type(function) is type:
        return _signature(function, bound)
    return _read_signature(candidate)


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Any], bound: bool) -> inspect.Signature | None:
    """Return the signature of a function or a class, read once; if bound, without self."""
    return _read_signature(MethodType(function, function) if bound else function)


def _read_signature(candidate: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(candidate)
    except (TypeError, ValueError):  # a builtin, for example
        return None


def parameters_of(candidate: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Return the parameters of a function or of a class's constructor, None where they cannot be known."""
    signature = signature_of(candidate)
    return None if signature is None else dict(signature.parameters)


def takes_any_keyword(parameters: dict[str, inspect.Parameter]) -> bool:
    """Return whether there is a **kwargs among the parameters."""
    return any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def check_call(candidate: Callable[..., Any], *positional: Any, **keywords: Any) -> None:
    """Check that a candidate can be called with these arguments.

    Raises:
        InterfaceError: says which argument it lacks or does not take.
    """
    signature = signature_of(candidate)
    if signature is None:
        return
    try:
        signature.bind(*positional, **keywords)
    except TypeError as error:
        words = [*map(short, positional), *(f"{name}={short(value)}" for name, value in keywords.items())]
        missing = _MISSING.search(str(error))
        hint = f"; --names {missing[1]}=... says which of torch's it is" if missing else ""
        raise InterfaceError(f"{name_of(candidate)}({', '.join(words)}): {error}{hint}") from None


def short(value: Any) -> str:
    """Return a value as it is quoted in messages: the type alone of an array."""
    return type(value).__name__ if hasattr(value, "shape") else repr(value)


def name_of(candidate: object) -> str:
    """Return the name under which a candidate is reported."""
    return full_name(candidate).rpartition("<locals>.")[2]


def full_name(candidate: object) -> str:
    """Return the name of a candidate within its module, or that of its type.

    Torch's own functions are methods of a hidden class and known by their short name.
    """
    if isinstance(candidate, functools.partial):
        return _name_of_partial(candidate) or f"partial({name_of(candidate.func)})"
    name = getattr(candidate, "__name__", "")
    module = sys.modules.get(getattr(candidate, "__module__", None) or "")
    if name and getattr(module, name, None) is candidate:
        return str(name)
    return str(getattr(candidate, "__qualname__", type(candidate).__qualname__))


def module_of(candidate: object) -> str | None:
    """Return the name of the module in which a candidate stands under its name; None where it does not."""
    if isinstance(candidate, functools.partial):
        return module_of(candidate.func) if _name_of_partial(candidate) else None
    return getattr(candidate, "__module__", None) if hasattr(candidate, "__name__") else None


def _name_of_partial(candidate: functools.partial[Any]) -> str:
    """Return the name of a partial application in the module of what it applies, empty where it has none."""
    module = sys.modules.get(getattr(candidate.func, "__module__", None) or "")
    return next((name for name, value in vars(module).items() if value is candidate), "") if module else ""
