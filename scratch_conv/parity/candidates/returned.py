"""What a candidate's forward and backward return, in the forms that people choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scratch_conv.parity.candidates.names import SPELLINGS
from scratch_conv.parity.operators.calling import InterfaceError, describe_returned

GRADIENTS = (
    "grad_{}",
    "d{}",
    "{}_grad",
    "d_{}",
    "dLd{}",
    "dL_d{}",
    "d_L_d_{}",
    "grad{}",
    "{}_gradient",
    "delta_{}",
)
"""What the gradient of a parameter may be called."""


def selected(returned: Any, outputs: tuple[str, ...]) -> Any:
    """Return the output among what is returned, or the tuple of it and the indices.

    Args:
        returned: what the candidate returned.
        outputs: the names of its elements; none where it is the output itself.

    Raises:
        InterfaceError: it has not as many elements.
    """
    if not outputs:
        return returned
    if not isinstance(returned, (tuple, list)) or len(returned) != len(outputs):
        expected = f"{len(outputs)} values ({', '.join(outputs)})"
        raise InterfaceError(f"expected {expected} to be returned, got {describe_returned(returned)}")
    named = dict(zip(outputs, returned, strict=True))
    return (named["output"], named["indices"]) if "indices" in named else named["output"]


def is_of(word: str, tensor: str) -> bool:
    """Return whether a word is a name for the gradient of a tensor."""
    spellings = (tensor, *SPELLINGS.get(tensor, ()))
    return any(word in (form.format(each) for each in spellings) for form in GRADIENTS)


def sorted_gradients(returned: Any, order: tuple[str, ...], stated: bool) -> dict[str, Any]:
    """Return the gradients that a backward returns, by the names of their tensors.

    They come as one array, a tuple or a list, a dictionary, or the first one beside a dictionary or a tuple
    of the others.

    Args:
        returned: what it returned.
        order: the names of the tensors, in the order in which they are taken to stand.
        stated: whether the user says so; else what is missing is looked for elsewhere.

    Raises:
        InterfaceError: there are not as many as the user says.
    """
    if isinstance(returned, Mapping):
        return _keyed(returned, order)
    if not isinstance(returned, (tuple, list)):
        return {} if returned is None else {order[0]: returned}
    if stated and len(returned) != len(order):
        expected = f"the gradients of {', '.join(order)}"
        raise InterfaceError(f"expected {expected} to be returned, got {describe_returned(returned)}")
    grads = {
        name: grad for name, grad in zip(order, returned, strict=False) if name != "_" and grad is not None
    }
    if len(returned) == 2 and len(order) > 1:
        first, others = order[0], returned[1]
        if isinstance(others, Mapping):
            return {first: returned[0], **_keyed(others, order[1:], bare=True)}
        if isinstance(others, (tuple, list)):
            return {first: returned[0], **dict(zip(order[1:], others, strict=False))}
    return grads


def _keyed(grads: Mapping[Any, Any], order: tuple[str, ...], bare: bool = False) -> dict[str, Any]:
    """Return the gradients in a dictionary; `bare` keys may be those of the parameters."""
    found: dict[str, Any] = {}
    for key, grad in grads.items():
        for name in order:
            if is_of(str(key), name) or (bare and key in SPELLINGS.get(name, ())):
                found.setdefault(name, grad)
    return found
