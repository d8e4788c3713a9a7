"""What a candidate's own signature shows of what it does not claim."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from scratch_conv.parity.candidates.interface import name_of, parameters_of, takes_any_keyword
from scratch_conv.parity.candidates.numpy_layer import is_numpy_layer
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.operators.operator import Operator

_PAIRS = ("kernel_size", "stride", "padding", "dilation", "output_padding")
_UNKNOWN_TO_NUMPY = "bfloat16"


def narrow(candidate: Any, operator: Operator, claims: Supports) -> tuple[Supports, list[str]]:
    """Leave out of a candidate's claims what its signature shows that it cannot do.

    Args:
        candidate: a function, an nn.Module class or a NumPy layer's class.
        operator: what it is compared with.
        claims: what is claimed for it.

    Returns:
        The claims that are left, and a line for each reason why something was left out. A signature with
        **kwargs, or none that can be read, shows nothing.

    Raises:
        ValueError: no dtype is left.
    """
    name, reasons = name_of(candidate), []
    lacking = _lacking(candidate, operator) - claims.without
    claims = replace(claims, without=claims.without | lacking)
    if "dim" in lacking:
        reasons.append(f"dim: the last axis in every call, no such argument of {name}")
    if lacking - {"dim"}:
        listed = ", ".join(sorted(lacking - {"dim"}))
        reasons.append(f"{listed}: kept at torch's default, no such argument of {name}")
    whole = [each for each in _annotated_int(candidate) if claims.takes(each)]
    if whole and claims.rectangular:
        reasons.append(f"rectangular: {', '.join(whole)} annotated as int")
        claims = replace(claims, rectangular=False)
    if "padding" in whole and claims.string_padding:
        reasons.append("string_padding: padding annotated as int")
        claims = replace(claims, string_padding=False)
    if is_numpy_layer(candidate):
        return _narrow_numpy(candidate, claims, reasons)
    return claims, reasons


def _narrow_numpy(candidate: Any, claims: Supports, reasons: list[str]) -> tuple[Supports, list[str]]:
    if claims.gradients and not callable(getattr(candidate, "backward", None)):
        reasons.append(f"gradients: {name_of(candidate)} has no backward")
        claims = replace(claims, gradients=False)
    if claims.second_derivatives:
        reasons.append("second_derivatives: a backward in NumPy cannot be differentiated")
        claims = replace(claims, second_derivatives=False)
    if _UNKNOWN_TO_NUMPY in claims.dtypes:
        reasons.append(f"{_UNKNOWN_TO_NUMPY}: NumPy has no such dtype")
        claims = replace(claims, dtypes=tuple(each for each in claims.dtypes if each != _UNKNOWN_TO_NUMPY))
    return claims, reasons


def _lacking(candidate: Any, operator: Operator) -> set[str]:
    """Return the names of torch's arguments that the signature lacks."""
    taken = parameters_of(candidate)
    if taken is None:
        return set()
    tensors = {name for name in operator.arguments if name in operator.signature}
    others = set(operator.arguments) - tensors
    named = {each.name for each in taken.values() if each.kind is not each.POSITIONAL_ONLY}
    lacking = set() if takes_any_keyword(taken) else others - named
    if inspect.isclass(candidate):
        lacking |= set() if takes_any_keyword(taken) else operator.constructed - named
        return lacking - {"training"}  # a layer's mode, of which its constructor shows nothing
    return lacking | {name for name in tensors if not _has_place(taken, operator, name)}


def _has_place(taken: dict[str, inspect.Parameter], operator: Operator, tensor: str) -> bool:
    """Return whether a function's signature has a place for a tensor where torch's has it."""
    if any(each.kind is each.VAR_POSITIONAL for each in taken.values()):
        return True
    places = [each.name for each in taken.values() if each.kind is not each.KEYWORD_ONLY]
    index = operator.signature.index(tensor)
    others = set(operator.arguments) - set(operator.signature)
    return index < len(places) and places[index] not in others


def _annotated_int(candidate: Any) -> list[str]:
    taken = parameters_of(candidate) or {}
    return [name for name in _PAIRS if name in taken and taken[name].annotation in (int, "int")]
