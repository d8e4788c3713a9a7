"""What a candidate may leave out of its claims, where it cannot be called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import PAIRS
from scratch_conv.parity.judging.clean import Caller
from scratch_conv.parity.judging.compare import Verdict
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.reporting.features import features_of

_DTYPES = "float64", "float32"
_ALWAYS = "if it computes in {} whatever it is given"
_LEAVE = "if this is not claimed, leave it out"

Failure = tuple[Case, Verdict]
_FEW = 8  # cases that show whether all of a kind fail
_PLAIN = (
    "unbatched",
    "further_axes",
    "class_probabilities",
    "byte_targets",
    "broadcast_targets",
    "empty",
    "layouts",
    "special_values",
    "string_padding",
)
_IMAGE = 4  # axes
_HALF = 20  # cases that show whether leaving something out helps


class Asked(Protocol):
    """A candidate that can be asked more."""

    judging: Caller

    def judge(self, case: Case) -> Verdict:
        """Return how it does on a case."""

    def sample(
        self, without: list[str], wanted: Callable[[Case], bool], count: int, near: tuple[int, ...] = ()
    ) -> list[Failure]:
        """Return how it does on some cases of a kind, without what is named, of sizes near some numbers."""

    def changes(self, case: Case, times: int) -> int:
        """Return how often it computes something else than at first."""


def computes(verdict: Verdict) -> bool:
    """Return whether a candidate could be called and returned something that autograd knows."""
    return all(
        each.what not in ("exception", "interface") and not each.message.endswith("unknown to autograd")
        for each in verdict.differences
    )


def hints(case: Case, verdict: Verdict, asked: Asked) -> list[str]:
    """Return what to leave out where it is not claimed: only that with which every drawn case fails."""
    lines = []
    if not computes(verdict):
        needed = features_of(case)
        failing = {name: count for name in needed if (count := _failing(name, case, verdict, asked))}
        for name in list(failing):
            if name.startswith("rectangular.") and name.partition(".")[2] in failing:
                del failing[name]  # as one number it fails too
        if failing and _works_without(list(failing), asked):
            lines.append(f"{_LEAVE}: --without {','.join(failing)}")
            tried = ", ".join(f"{name} ({count} of {count} drawn fail)" for name, count in failing.items())
            lines.append(f"no call with it is tested then: {tried}")
        if _takes_images_only(case, asked):
            lines.append(f"if it takes images only: --fix axes={_IMAGE}; nothing else is tested then")
        averages = find_operator(case.like).averages_its_batches(case.keywords)
        if averages and any("NoneType" in each.message for each in verdict.differences):
            lines.append("a layer is given a momentum of 1 as None, which averages over all its batches")
    for dtype in _DTYPES:
        if any(dtype in each.dtypes[:1] for each in verdict.differences) and _always(dtype, verdict, asked):
            hint = f"--dtypes {dtype}, or supports={{'dtypes': '{dtype}'}}"
            lines.append(f"{_ALWAYS.format(dtype)}, compare it there: {hint}")
    if any(each.what == "time" for each in verdict.differences):
        lines.append("if it compiles or is slow, give it more time: --time-limit 60, or time_limit=60")
    return lines


def is_lost(verdict: Verdict) -> bool:
    """Return whether a candidate hung or died: each call of that kind costs seconds."""
    return any(each.what in ("time", "process") for each in verdict.differences)


def hinted(diagnosis: list[str]) -> list[str]:
    """Return what the lines of a diagnosis say may be left out."""
    lines = [line.partition("--without ")[2] for line in diagnosis if line.startswith(_LEAVE)]
    return [name for line in lines for name in line.split(",")]


def hinted_dtype(diagnosis: list[str]) -> str | None:
    """Return the dtype that a candidate always computes in, if the lines of a diagnosis say so."""
    dtypes = ("float64", "float32")
    return next(
        (each for each in dtypes for line in diagnosis if line.startswith(_ALWAYS.format(each))), None
    )


def _always(dtype: str, verdict: Verdict, asked: Asked) -> bool:
    """Return whether every drawn call of another dtype that computes something has a result of this one."""
    whats = {each.what for each in verdict.differences if dtype in each.dtypes[:1]}

    def alike(case: Case) -> bool:
        wanted = {f"grad_{name}" for name in case.wanted}
        return case.dtype != dtype and (bool(whats & wanted) or "output" in whats)

    seen = [judged for _, judged in asked.sample([], alike, _FEW) if computes(judged)]
    return all(any(dtype in each.dtypes[:1] for each in judged.differences) for judged in seen)


def _failing(name: str, case: Case, verdict: Verdict, asked: Asked) -> int:
    """Return of how many drawn cases that need this claim alone all fail; 0 where one does not.

    Where the pair of the case has two different numbers, theirs have, too.
    """
    others = [each for each in _PLAIN if each != name]
    pairs = [f"rectangular.{each}" for each in PAIRS if f"rectangular.{each}" != name]
    others += pairs if name.startswith("rectangular") else ["rectangular"]
    differentiated = all(each.what.startswith("grad_") for each in verdict.differences)
    unequal = _unequal(name, case)

    def alike(case: Case) -> bool:
        needs = name in features_of(case) and (_unequal(name, case) or not unequal)
        return needs and (bool(case.wanted) or not differentiated)

    seen = asked.sample(others, alike, _FEW)
    return 0 if any(computes(verdict) for _, verdict in seen) else len(seen)


def _takes_images_only(case: Case, asked: Asked) -> bool:
    """Return whether drawn calls with as many axes as a case's fail, all of them, and not all of images."""
    axes = len(case.shapes["input"])
    if axes == _IMAGE:
        return False

    def outcomes(count: int) -> list[bool]:
        seen = asked.sample([*_PLAIN, "rectangular"], lambda each: len(each.shapes["input"]) == count, _FEW)
        return [computes(verdict) for _, verdict in seen]

    own = outcomes(axes)
    return bool(own) and not any(own) and any(outcomes(_IMAGE))


def _unequal(name: str, case: Case) -> bool:
    """Return whether what `rectangular.<name>` is about is a pair of two different numbers in a case."""
    value = case.keywords.get(name.partition(".")[2])
    return isinstance(value, tuple) and len(set(value)) > 1


def _works_without(names: list[str], asked: Asked) -> bool:
    """Return whether a candidate computes something on half of a few cases at least."""
    computed = [computes(verdict) for _, verdict in asked.sample(names, lambda case: True, _HALF)]
    return bool(computed) and 2 * sum(computed) >= len(computed)
