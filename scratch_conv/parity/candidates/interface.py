"""How a candidate is called: what its constructor takes, and what its parameters are called."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch

from scratch_conv.parity.operators.calling import InterfaceError
from scratch_conv.parity.operators.operator import Operator

SPELLINGS = {
    "weight": ("weight", "weights", "W", "w", "kernel", "kernels", "filters", "gamma", "scale"),
    "bias": ("bias", "biases", "b", "beta", "shift"),
    "running_mean": ("running_mean", "moving_mean"),
    "running_var": ("running_var", "moving_var", "running_variance", "moving_variance"),
}
"""What a parameter may be called."""

ABSENT = {"weight": 1.0, "bias": 0.0}
"""What a parameter holds to be as good as absent."""

# Arguments that only say which parameters there are: a layer that has them always need not take these.
_FLAGS = frozenset({"bias", "affine", "track_running_stats"})


def signature_of(candidate: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function or of a class's constructor, None where it cannot be known."""
    if getattr(candidate, "__init__", None) is torch.nn.Module.__init__:
        return inspect.Signature()  # it has *args and **kwargs, and refuses them
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
        words = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items())
        raise InterfaceError(f"{name_of(layer)}({words}): {error}") from None


def counts_its_calls(operator: Operator, tensors: dict[str, Any], arguments: dict[str, Any]) -> bool:
    """Return whether a right layer's second call gives something else: an average over all its batches."""
    return operator.constructor(tensors, arguments).get("momentum", ...) is None


def check_call(candidate: Callable[..., Any], *positional: Any, **keywords: Any) -> None:
    """See that a candidate can be called with these arguments.

    Raises:
        InterfaceError: says which argument it lacks or does not take.
    """
    signature = signature_of(candidate)
    if signature is None:
        return
    try:
        signature.bind(*positional, **keywords)
    except TypeError as error:
        words = [*map(_short, positional), *(f"{name}={_short(value)}" for name, value in keywords.items())]
        raise InterfaceError(f"{name_of(candidate)}({', '.join(words)}): {error}") from None


def _short(value: Any) -> str:
    return type(value).__name__ if hasattr(value, "shape") else repr(value)


def name_of(candidate: object) -> str:
    """Return the name under which a candidate is reported."""
    return full_name(candidate).rpartition("<locals>.")[2]


def full_name(candidate: object) -> str:
    """Return the name of a candidate within its module, or that of its type.

    Torch's own functions are methods of a hidden class and known by their short name.
    """
    name = getattr(candidate, "__name__", "")
    module = sys.modules.get(getattr(candidate, "__module__", None) or "")
    if name and getattr(module, name, None) is candidate:
        return str(name)
    return str(getattr(candidate, "__qualname__", type(candidate).__qualname__))
