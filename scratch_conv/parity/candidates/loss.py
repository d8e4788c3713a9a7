"""How losses are called: inputs in an order of their own, a backward pass without the output's gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratch_conv.parity.candidates.names import Names, Source, match
from scratch_conv.parity.candidates.signatures import parameters_of
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.operators.calling import InterfaceError
from scratch_conv.parity.operators.operator import Operator


def without_target(
    claims: Supports, operator: Operator, gradients: Sequence[str], outputs: Sequence[str] = ()
) -> tuple[Supports, list[str]]:
    """Leave out the gradient of a target, which few losses in NumPy return, unless one is stated."""
    stated = "target" in gradients or "grad_target" in outputs
    if "target" not in getattr(operator, "differentiable", ()) or stated or not claims.gradients:
        return claims, []
    reason = "grad_target: not asked of a loss in NumPy unless --gradients input,target says so"
    return replace(claims, constants=claims.constants | {"target"}), [reason]


def inputs_in_order(method: Callable[..., Any], operator: Operator, names: Names) -> tuple[str, ...]:
    """Return torch's names of an operator's inputs in the order in which a method takes them."""
    shown = _shown(method, operator, names)
    return shown if {*shown} == {*operator.inputs} else operator.inputs


def inputs_of_backward(
    backward: Callable[..., Any] | None, operator: Operator, names: Names
) -> tuple[str, ...] | None:
    """Return what the backward pass of a loss takes instead of the gradient of its output.

    Returns:
        The names of the inputs, none for one that takes nothing: it returns the gradients of the loss as it
        is. None for a backward pass that takes the gradient of the output.
    """
    taken = None if backward is None else parameters_of(backward)
    if taken is None or len(operator.inputs) == 1:
        return None
    required = [name for name, each in taken.items() if each.default is each.empty]
    shown = _shown(backward, operator, names)  # type: ignore[arg-type]
    return shown if not taken or (len(shown) == len(required) and "target" in shown) else None


def _shown(method: Callable[..., Any], operator: Operator, names: Names) -> tuple[str, ...]:
    taken = parameters_of(method) or {}
    plain = {n: each for n, each in taken.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    sources = match(plain, operator.inputs, names)
    found = [sources.get(name) for name in plain]
    return tuple(each.name for each in found if isinstance(each, Source) and each.name in operator.inputs)


def chained(grads: Mapping[str, Any], dy: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the gradients of a loss times the gradient of its output.

    Raises:
        InterfaceError: they are sums of the gradients of several losses.
    """
    if dy.ndim and any(np.shape(grad) != dy.shape for grad in grads.values()):
        raise InterfaceError(
            "the backward pass takes no gradient of the output, of which there are several; "
            "--fix reduction=mean or reduction=sum"
        )
    return {name: np.asarray(grad) * dy for name, grad in grads.items()}
