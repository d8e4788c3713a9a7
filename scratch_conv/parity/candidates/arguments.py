"""The arguments that a candidate is called or constructed with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scratch_conv.parity.candidates.signatures import (
    check_call,
    name_of,
    parameters_of,
    short,
    takes_any_keyword,
)
from scratch_conv.parity.operators.calling import InterfaceError
from scratch_conv.parity.operators.operator import Operator

# Arguments that only say which parameters there are: a layer that has them always need not take these.
_FLAGS = frozenset({"bias", "affine", "track_running_stats"})


def constructor_arguments(
    layer: Callable[..., Any], operator: Operator, tensors: dict[str, Any], arguments: dict[str, Any]
) -> dict[str, Any]:
    """Return the keyword arguments that construct a layer for a call.

    They are those of the namesake in torch.nn; a square kernel_size is one number.
    """
    constructed = dict(operator.constructor(tensors, arguments))
    kernel_size = constructed.get("kernel_size")
    if isinstance(kernel_size, tuple) and len(set(kernel_size)) == 1:
        constructed["kernel_size"] = kernel_size[0]
    return _fitted(layer, operator, constructed, dict.fromkeys(_FLAGS, True))


def function_arguments(
    function: Callable[..., Any], operator: Operator, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Return the keyword arguments that a function is called with, besides its tensors."""
    return _fitted(function, operator, arguments, {})


def _fitted(
    candidate: Callable[..., Any], operator: Operator, given: dict[str, Any], flags: dict[str, bool]
) -> dict[str, Any]:
    """Leave out of the arguments what a candidate lacks and need not take; add the defaults that it requires.

    Args:
        candidate: a function or a class.
        operator: what it is compared with.
        given: the arguments by name.
        flags: torch's defaults of those that say which parameters there are.
    """
    taken = parameters_of(candidate)
    if taken is None:
        return given
    if takes_any_keyword(taken):
        return {
            name: value for name, value in given.items() if name in taken or value is not flags.get(name, ...)
        }
    optional = operator.implied | flags.keys()
    fitted = {name: value for name, value in given.items() if name not in optional or name in taken}
    for name, parameter in taken.items():
        default = {**operator.defaults, **flags}.get(name, ...)
        if default is ... or name in fitted or parameter.default is not parameter.empty:
            continue
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            fitted[name] = given.get("kernel_size") if default is None and name == "stride" else default
    return fitted


def construct(layer: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a layer of a class, and the arguments that it took.

    Raises:
        InterfaceError: the constructor, or one that it hands its **kwargs to, does not take the arguments.
    """
    check_call(layer, **arguments)
    try:
        return layer(**arguments), arguments
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        fewer = {name: value for name, value in arguments.items() if name not in _FLAGS}
        if len(fewer) < len(arguments):
            return construct(layer, fewer)
        words = ", ".join(f"{name}={short(value)}" for name, value in arguments.items())
        raise InterfaceError(f"{name_of(layer)}({words}): {error}") from None
