"""Naming the bug: patterns in the difference, and classic faults with the same wrong values."""

from __future__ import annotations

from collections.abc import Callable

import torch

from scratch_conv.parity.candidates.kinds import as_candidate
from scratch_conv.parity.catalogue import FAULTS
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.clean import Caller
from scratch_conv.parity.judging.compare import Difference, Verdict, compare
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.reporting.features import features_of
from scratch_conv.parity.reporting.patterns import describe_pattern

Failure = tuple[Case, Verdict]


def diagnose(
    failures: list[Failure], works_without: Callable[[list[str]], bool], judging: Caller
) -> list[str]:
    """Return lines that say what the failures of a candidate point to.

    Args:
        failures: cases on which it failed and what differed there, the smallest one last.
        works_without: returns whether the candidate computes something where no case needs these features.
        judging: where torch is asked.
    """
    if not failures:
        return []
    case, verdict = failures[-1]
    lines = []
    if not computes(verdict) and (needed := features_of(case)) and works_without(needed):
        lines.append(f"if this is not claimed, leave it out: --without {','.join(needed)}")
    if any("float64" in each.dtypes[:1] for each in verdict.differences):
        hint = "--dtypes float64, or supports={'dtypes': 'float64'}"
        lines.append(f"if it computes in float64 whatever it is given, compare it there: {hint}")
    for difference in verdict.differences:
        if difference.got is not None and difference.expected is not None and difference.wrong is not None:
            found = describe_pattern(difference.got, difference.expected, difference.wrong)
            lines += [f"{difference.what}: {line}" for line in found]
    return lines + judging(classic_faults, failures)


def computes(verdict: Verdict) -> bool:
    """Return whether a candidate could be called and returned something."""
    return all(each.what not in ("exception", "interface") for each in verdict.differences)


def classic_faults(failures: list[Failure]) -> list[str]:
    """Name the faults of the catalogue with the candidate's wrong results on every failure."""
    operator = find_operator(failures[0][0].like)
    fitting = [fault for fault in FAULTS if fault.like == operator.name]
    for case, verdict in failures:
        fitting = [
            each for each in fitting if _same(compare(as_candidate(each.candidate, operator), case), verdict)
        ]
    return [f"equals a classic fault, {fault.name}: {fault.wrong}" for fault in fitting[:3]]


def _same(one: Verdict, other: Verdict) -> bool:
    """Return whether two candidates differ from torch in the same results and by the same wrong values."""
    if [each.what for each in one.differences] != [each.what for each in other.differences]:
        return False
    return all(_same_values(a, b) for a, b in zip(one.differences, other.differences, strict=True))


def _same_values(one: Difference, other: Difference) -> bool:
    if one.got is None or other.got is None:
        return one.got is other.got and (one.what == "exception" or one.message == other.message)
    if one.got.shape != other.got.shape or one.allowed is None:
        return False
    a, b = one.got.to(torch.complex128), other.got.to(torch.complex128)
    equal = (a == b) | (
        ~a.isfinite() & ~b.isfinite()
    )  # overflow may be an infinity in one and NaN in the other
    return bool((((a - b).abs() <= 2 * one.allowed) | equal).all())
