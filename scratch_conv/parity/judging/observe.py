"""What a candidate does with a case, besides its results: what it changes, keeps and repeats."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.candidates.candidate import Candidate, Use
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.operators.calling import Values, run, share_memory


@dataclass
class Observation:
    """Everything seen of a candidate on one case.

    Attributes:
        results: what it computed, by name.
        strides: the strides of its output.
        error: what it raised, or None.
        again: whether it raised that when the call was repeated only.
        changed: names of the tensors that it wrote into, a layer's parameters among them.
        aliases: names of the tensors of the call whose memory its output is.
        unrepeated: names of the results that were different bits when called again.
        notes: how a layer was called, where that is not plain.
        reused: whether the second call wrote into the memory of the first call's results.
    """

    results: dict[str, Tensor] = field(default_factory=dict)
    strides: tuple[int, ...] = ()
    error: Exception | None = None
    again: bool = False
    changed: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    unrepeated: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reused: bool = False


def observe(candidate: Candidate[Any], case: Case, values: Values) -> Observation:
    """Run a candidate twice and record what it does. Never raises what the candidate raises.

    A layer is constructed once: what it keeps from the first call may not show in the second.
    """
    use = candidate.start()
    observation = _observe(use, case, values, candidate.operator.signature)
    observation.notes = use.notes()
    return observation


def _observe(use: Use, case: Case, values: Values, signature: tuple[str, ...]) -> Observation:
    before = {name: tensor.clone() for name, tensor in values.named().items()}
    again = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = run(use, case, values, signature)
            changed, again = _changed(before, values, use.held()), True
            first = one.results
            kept = {name: value.clone() for name, value in first.items()}
            second = run(use, case, values, signature).results
            return Observation(
                results=kept,
                strides=first["output"].stride(),
                changed=changed,
                aliases=one.aliases,
                unrepeated=[name for name in kept if not same_bits(kept[name], second[name])],
                reused=any(_reused(first[name], second[name], values) for name in kept),
            )
    except Exception as error:  # whatever a candidate raises is a finding
        return Observation(error=error, again=again, changed=_changed(before, values, {}))


def _changed(before: dict[str, Tensor], values: Values, held: dict[str, Tensor]) -> list[str]:
    """Return the names of the tensors that have other bits than before, in the call's hands or in a layer."""
    return [
        name
        for name, tensor in values.named().items()
        if not same_bits(before[name], tensor) or not same_bits(before[name], held.get(name, tensor))
    ]


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Return whether shape, dtype and bits are the same (a NaN equals itself, -0.0 is not 0.0)."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(_bytes(a), _bytes(b))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)


def _reused(first: Tensor, second: Tensor, values: Values) -> bool:
    """Return whether two calls' results are one memory, and not that of a tensor both were given."""
    given = [*values.named().values(), *values.directions.values()]
    return share_memory(first, second) and not any(share_memory(first, tensor) for tensor in given)
