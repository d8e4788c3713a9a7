"""What a candidate does with a case, besides its results: what it changes, keeps and repeats."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from scratch_conv.parity.candidates.candidate import Candidate, Use
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.packing import Packed, pack
from scratch_conv.parity.judging.raising import Raised, as_raised
from scratch_conv.parity.operators.calling import (
    Values,
    differentiate,
    forward,
    make_values,
    share_memory,
    with_gradients,
)


@dataclass
class Observation:
    """Everything seen of a candidate on one case, as plain data.

    Attributes:
        results: what it computed, by name; where it raised, what it had computed before.
        strides: the strides of its output.
        error: what it raised, or None.
        again: whether it raised that when the call was repeated only.
        changed: names of the tensors that it wrote into, a layer's parameters among them.
        aliases: names of the tensors of the call whose memory its output is.
        repeated: the results that were different bits when called again, as they were then.
        notes: how a layer was called, where that is not plain.
        copied: whether it was given copies of the tensors, so that none of them can be its output.
        reused: whether the second call wrote into the memory of the first call's results.
    """

    results: dict[str, Packed] = field(default_factory=dict)
    strides: tuple[int, ...] = ()
    error: Raised | None = None
    again: bool = False
    changed: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    repeated: dict[str, Packed] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    copied: bool = False
    reused: bool = False


def observe(candidate: Candidate[Any], case: Case) -> Observation:
    """Run a candidate twice and record what it does. Never raises what the candidate raises.

    A layer is constructed once: what it keeps from the first call may not show in the second. The incoming
    gradient has the shape of the candidate's own output.
    """
    use = candidate.start()
    observation = Observation()
    values = make_values(case)
    before = {name: pack(tensor) for name, tensor in values.tensors.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _observe(observation, use, case, values, before, candidate.operator.signature)
    except Exception as error:  # whatever a candidate raises is a finding
        observation.error = as_raised(error)
        observation.changed = observation.changed or _changed(before, values.tensors, {})
    observation.notes, observation.copied = use.notes(), use.copies
    return observation


def _observe(
    seen: Observation,
    use: Use,
    case: Case,
    values: Values,
    before: dict[str, Packed],
    signature: tuple[str, ...],
) -> None:
    """Fill in what is seen of two calls; may raise what the candidate raises."""
    first = forward(use, case, values, signature)
    output = first.results["output"]
    seen.strides, seen.aliases = tuple(map(int, output.stride())), first.aliases
    if not _pack_all(first.results, seen):
        return
    values = with_gradients(case, values, output)
    named = values.named()
    if values.grad_output is not None:
        before["grad_output"] = pack(values.grad_output)
    gradients = differentiate(case, values, first)
    if not _pack_all(gradients, seen):
        return
    seen.changed, seen.again = _changed(before, named, use.held()), True
    second = forward(use, case, values, signature)
    others = {**second.results, **differentiate(case, values, second)}
    packed = {name: pack(tensor) for name, tensor in others.items()}
    seen.repeated = {name: value for name, value in packed.items() if value != seen.results.get(name, value)}
    mine = {**first.results, **gradients}
    seen.reused = any(name in others and _reused(mine[name], others[name], values) for name in mine)
    seen.again = False


def _pack_all(results: dict[str, Tensor], seen: Observation) -> bool:
    """Record results; return whether they could be, which they cannot if sparse, quantized, ..."""
    try:
        seen.results |= {name: pack(tensor) for name, tensor in results.items()}
    except Exception as error:
        seen.error = Raised("result", f"cannot be compared: {type(error).__name__}: {error}")
        return False
    return True


def _changed(before: dict[str, Packed], now: dict[str, Tensor], held: dict[str, Tensor]) -> list[str]:
    """Return the names of the tensors that have other bits than before, in the call's hands or in a layer."""
    return [
        name
        for name, tensor in now.items()
        if pack(tensor) != before[name] or (name in held and pack(held[name]) != before[name])
    ]


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Return whether shape, dtype and bits are the same (a NaN equals itself, -0.0 is not 0.0)."""
    return pack(a) == pack(b)


def _reused(first: Tensor, second: Tensor, values: Values) -> bool:
    """Return whether two calls' results are one memory, and not that of a tensor both were given."""
    given = [*values.named().values(), *values.directions.values()]
    return share_memory(first, second) and not any(share_memory(first, tensor) for tensor in given)
