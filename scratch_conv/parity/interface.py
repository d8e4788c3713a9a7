"""How a candidate is called: what its constructor takes, and what its parameters are called."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from scratch_conv.parity.operators.base import Operator
from scratch_conv.parity.running import InterfaceError

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


def parameters_of(candidate: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Return the parameters of a function or of a class's constructor, None where they cannot be known."""
    try:
        return dict(inspect.signature(candidate).parameters)
    except (TypeError, ValueError):  # a builtin, for example
        return None


def takes_any_keyword(parameters: dict[str, inspect.Parameter]) -> bool:
    """Tell whether there is a **kwargs among the parameters."""
    return any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def constructor_arguments(
    layer: Callable[..., Any], operator: Operator, tensors: dict[str, Any], arguments: dict[str, Any]
) -> dict[str, Any]:
    """Return the keyword arguments that construct a layer for a call.

    They are those of the namesake in torch.nn; a square kernel_size is one number.
    """
    constructed = operator.constructor(tensors, arguments)
    kernel_size = constructed.get("kernel_size")
    if isinstance(kernel_size, tuple) and len(set(kernel_size)) == 1:
        constructed["kernel_size"] = kernel_size[0]
    taken = parameters_of(layer)
    if taken is None or takes_any_keyword(taken):
        return constructed
    return {name: value for name, value in constructed.items() if name not in _FLAGS or name in taken}


def counts_its_calls(operator: Operator, tensors: dict[str, Any], arguments: dict[str, Any]) -> bool:
    """Tell whether a right layer's second call gives something else: an average over all its batches."""
    return operator.constructor(tensors, arguments).get("momentum", ...) is None


def check_call(candidate: Callable[..., Any], *positional: Any, **keywords: Any) -> None:
    """See that a candidate can be called with these arguments.

    Raises:
        InterfaceError: says which argument it lacks or does not take.
    """
    try:
        signature = inspect.signature(candidate)
    except (TypeError, ValueError):
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
