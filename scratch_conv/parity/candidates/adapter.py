"""What a user says of how a candidate is called, where it is not called as torch's namesake."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from scratch_conv.parity.candidates.layouts import NO_LAYOUT, Layout, parse_layout
from scratch_conv.parity.candidates.names import NO_NAMES, Names, parse_names
from scratch_conv.parity.candidates.targets import Target
from scratch_conv.parity.drawing.claims import Supports, words_of
from scratch_conv.parity.operators.operator import Operator

ARRAYS = ("torch", "numpy", "jax", "mlx")
"""The arrays that a function may be called with."""


@dataclass(frozen=True)
class Adapter:
    """How a candidate is called.

    Attributes:
        names: what it calls its arguments, parameters and methods.
        layout: the order of the axes of its images and its weight.
        arrays: what a function is called with, one of `ARRAYS`; empty where its code shows it.
        backward: for a function, another one that is given the gradient of the output and what the first one
            returned beside the output.
        outputs: the names of what is returned: "output", "indices", and any others.
        gradients: the names of the tensors whose gradients backward returns, in their order.
        device: where tensors are put for it.
        builtin: the names of torch's arguments that it need not take, since they have one value in all calls.
        unclaimed: the names of those that are left at its own default.
    """

    names: Names = NO_NAMES
    layout: Layout = NO_LAYOUT
    arrays: str = ""
    backward: Any = None
    outputs: tuple[str, ...] = ()
    gradients: tuple[str, ...] = ()
    device: str = ""
    builtin: frozenset[str] = field(default_factory=frozenset)
    unclaimed: frozenset[str] = field(default_factory=frozenset)

    @property
    def copies(self) -> bool:
        """Whether the candidate is given copies of a call's tensors."""
        return bool(self.layout or self.device or (self.arrays and self.arrays != "torch"))

    @property
    def rearranges(self) -> bool:
        """Whether tensors are put into another layout or on another device."""
        return bool(self.layout or self.device)

    def narrow(self, claims: Supports, operator: Operator) -> tuple[Supports, list[str]]:
        """Leave out of a candidate's claims what cannot be asked of it when it is called so."""
        claims, reasons = self.layout.narrow(claims)
        for name in ("inplace", "return_indices"):
            if self.copies and name in operator.arguments and claims.takes(name):
                claims = replace(claims, without=claims.without | {name})
                reasons.append(f"{name}: the tensors are copied for it")
        return claims, reasons


def parse_adapter(
    operator: Operator,
    *,
    names: str | Mapping[str, str] | None = None,
    layout: str | None = None,
    weights: str | None = None,
    arrays: str | None = None,
    backward: Any = None,
    outputs: str | tuple[str, ...] | None = None,
    gradients: str | tuple[str, ...] | None = None,
    device: str | None = None,
    claims: Supports | None = None,
) -> Adapter:
    """Return how a candidate is called; see `Adapter` and `scratch-conv parity --help`.

    Raises:
        ValueError: says which word is wrong.
        TypeError: `backward` cannot be called.
    """
    constructed = inspect.signature(operator.module).parameters
    known = {*operator.arguments, *operator.sizes, *constructed} - {"device", "dtype", "axes"}
    if arrays is not None and arrays not in ARRAYS:
        raise ValueError(f"arrays must be one of {', '.join(ARRAYS)}, got {arrays!r}")
    if backward is not None and not (callable(backward) or isinstance(backward, Target)):
        raise TypeError(f"backward must be a function, got {type(backward).__name__}")
    if device and operator.random:
        raise ValueError(
            f"device: {device} draws other random numbers than the CPU; {operator.name} needs the same"
        )
    return Adapter(
        parse_names(names, known, operator.signature),
        parse_layout(operator, layout, weights),
        arrays or "",
        backward,
        _listed("outputs", outputs, None, "output"),
        _listed("gradients", gradients, operator.signature, None),
        _device(device),
        frozenset(name for name, _ in claims.fixed) if claims else frozenset(),
        claims.without if claims else frozenset(),
    )


def _listed(
    option: str, words: str | tuple[str, ...] | None, known: tuple[str, ...] | None, needed: str | None
) -> tuple[str, ...]:
    """Return names that are written as one text or several, having looked whether they are known."""
    listed = tuple(words_of(words)) if isinstance(words, str) else tuple(words or ())
    wrong = [name for name in listed if known is not None and name not in (*known, "_")]
    if wrong:
        raise ValueError(
            f"{option}: unknown {', '.join(map(repr, wrong))}; choose from {', '.join(known or ())}"
        )
    if listed and needed is not None and needed not in listed:
        raise ValueError(f"{option}: one of them has to be {needed!r}, got {', '.join(listed)}")
    return listed


def _device(device: str | None) -> str:
    """Return the device, having seen that tensors can be put there.

    Raises:
        ValueError: there is none of that name.
    """
    import torch

    try:
        if device:
            kind = torch.device(device).type
            present = kind in ("cpu", "meta") or getattr(torch, kind).is_available()
            if not present or kind == "meta":
                raise ValueError(f"device: there is no {device} here")
    except (RuntimeError, AttributeError) as error:
        raise ValueError(f"device: {device!r} is none of torch's devices") from error
    return device or ""
