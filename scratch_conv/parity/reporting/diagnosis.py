"""Naming the bug: patterns in the difference, and classic faults with the same wrong values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from scratch_conv.parity.candidates.kinds import as_candidate
from scratch_conv.parity.catalogue import FAULTS, Fault
from scratch_conv.parity.catalogue.families import FAMILIES
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.compare import Difference, Verdict, compare
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.operators.rounding import unit_roundoff
from scratch_conv.parity.reporting.hints import Asked, Failure, computes, hints, is_lost
from scratch_conv.parity.reporting.patterns import describe_factor, describe_pattern

_TEN = 10
_LARGE = 4  # the smallest size of which it is asked whether calls fail from it on
_NEXT = 24  # cases that are drawn with sizes next to one
_MORE = 60  # cases that are drawn where few of the failures met first say something of this one
_FEW = 3
_ROUNDINGS = 2**12  # what a correct algorithm may lose, in units of roundoff of the greatest result
_ROUNDING_ONLY = "differs by rounding only"
_SHAPES = re.compile(r"has shape \(([\d, ]*)\), expected \(([\d, ]*)\)")


def diagnose(failures: list[Failure], asked: Asked) -> list[str]:
    """Return lines that say what the failures of a candidate point to.

    Args:
        failures: cases on which it failed and what differed there, the smallest one last.
        asked: the candidate.
    """
    if not failures:
        return []
    case, verdict = failures[-1]
    if is_lost(verdict):
        return hints(case, verdict, asked)
    lines = [*hints(case, verdict, asked), *_unsteady(case, verdict, asked)]
    if computes(verdict):  # exceptions are findings of their own, no evidence for or against this one
        failures = [each for each in failures if computes(each[1])]
    if len(failures) < _FEW or not any(_has_values(verdict) for _, verdict in failures):
        drawn = asked.sample([], lambda each: {*case.keywords} <= {*each.keywords}, _MORE)
        alike = [each for each in drawn if computes(each[1]) or not computes(verdict)]
        failures = [*(each for each in alike if each[1].differences), *failures]
    if _rounding_only(case, verdict, asked):
        lines += asked.judging(_classic_faults, failures, _any_name)
        return [*lines, *asked.judging(describe_rounding, case, verdict)]
    explained, found = asked.judging(explain, failures, _of_several_gradients(failures, asked))
    lines += found
    if not explained and computes(verdict):
        lines += _from_a_size(case, asked) or _shared(failures, asked)
    return lines


def _any_name(what: str) -> bool:
    return True


def _has_values(verdict: Verdict) -> bool:
    return any(each.got is not None for each in verdict.differences)


def _unsteady(case: Case, verdict: Verdict, asked: Asked) -> list[str]:
    """Say how often results change, where a second call gave others and they do not just add up."""
    unrepeated = [each for each in verdict.differences if each.what.startswith("unrepeated")]
    if not any(each.message.endswith("is repeated") for each in unrepeated):
        return []
    return [f"results change from run to run: {asked.changes(case, _TEN)} of {_TEN} differ from the first"]


def _of_several_gradients(failures: list[Failure], asked: Asked) -> list[Failure]:
    """Return more failures, where several gradients are wanted, if only one parameter's has differed yet."""
    differing = {each.what for _, verdict in failures for each in verdict.differences}
    if len(differing) != 1 or not differing <= {"grad_weight", "grad_bias"}:
        return []
    drawn = asked.sample([], lambda case: len(case.wanted) > 1, _MORE)
    return [each for each in drawn if each[1].differences]


def explain(failures: list[Failure], more: list[Failure]) -> tuple[bool, list[str]]:
    """Return whether a classic fault explains all failures, and lines about their values.

    Args:
        failures: what is to be explained, the smallest case last.
        more: further failures, for what may be the same in several gradients.
    """
    case, verdict = failures[-1]
    classic = _classic_faults(failures, _any_name)
    lines = [] if classic else _averaged([*more, *failures])
    for difference in verdict.differences:
        what = difference.what
        partly = [] if classic else _classic_faults(failures, what.__eq__)
        lines += [f"{what} {line}" for line in partly]
        lines += [f"{what}: {line}" for line in _in_words(case, difference, bool(classic or partly))]
    return bool(classic), lines + classic


def _in_words(case: Case, difference: Difference, explained: bool) -> Iterator[str]:
    """Describe one difference; where a classic fault explains it, by its factor alone."""
    yield from _shape_in_words(case, difference)
    got, expected, wrong = difference.got, difference.expected, difference.wrong
    if got is None or expected is None or wrong is None:
        return
    if explained:
        yield from describe_factor(got, expected)
        return
    input = case.tensors["input"].make(case.torch_dtype)
    if input.shape == wrong.shape and bool((wrong & ~input.isnan()).any()) is False:
        yield "the input is NaN there, and nowhere else it differs"
        return
    yield from describe_pattern(got, expected, wrong)


def _shape_in_words(case: Case, difference: Difference) -> Iterator[str]:
    found = _SHAPES.search(difference.message)
    if found is None:
        return
    got, expected = (tuple(map(int, re.findall(r"\d+", shape))) for shape in found.groups())
    if 0 in got and 0 not in expected and not case.keywords.get("padding"):
        yield "nothing is left of it where padding is 0: a slice [p:-p] is empty for p = 0"
    if len(got) >= 2 and got != expected and got == (*expected[:-2], *expected[:-3:-1]):
        yield "height and width are exchanged"


def _averaged(failures: list[Failure]) -> list[str]:
    """Say which gradients of parameters are torch's divided by the number of samples, in every failure."""
    named: dict[str, bool] = {}
    batch = 1
    for case, verdict in failures:
        size = case.tensors["input"].shape[0] if case.tensors["input"].shape else 1
        for each in verdict.differences:
            if each.got is None or each.expected is None or not each.what.startswith("grad_"):
                continue
            close = (each.got.to(each.expected.dtype) * size - each.expected).abs()
            fits = size > 1 and bool((close <= 1e-5 * each.expected.abs().max()).all())
            named[each.what] = named.get(each.what, True) and fits
            batch = size
    whole = [name for name, fits in named.items() if fits]
    verb = "is" if len(whole) == 1 else "are"
    return [f"{' and '.join(whole)} {verb} torch's divided by the batch size, {batch} here"] if whole else []


def _classic_faults(failures: list[Failure], named: Callable[[str], bool]) -> list[str]:
    """Name the faults of the catalogue with the candidate's wrong results, of those that are asked for.

    Two exceptions are never the same fault: they may agree, but wrong values have to.
    """
    operator = find_operator(failures[0][0].like)
    known = [fault for fault in FAULTS if fault.like == operator.name] + FAMILIES.get(operator.name, [])
    fitting = [fault for fault in known if _fits(fault, failures, named)]
    return [f"equals a classic fault, {fault.name}: {fault.wrong}" for fault in fitting[:3]]


def _fits(fault: Fault, failures: list[Failure], named: Callable[[str], bool]) -> bool:
    """Return whether a fault gives the same wrong results on every failure, and some wrong values."""
    candidate, evidence = as_candidate(fault.candidate, find_operator(fault.like)), False
    for case, verdict in reversed(failures):
        own = [each for each in verdict.differences if named(each.what)]
        theirs = [each for each in compare(candidate, case).differences if named(each.what)]
        if not _same(own, theirs):
            return False
        evidence |= any(each.what != "exception" for each in own)
    return evidence


def _same(one: list[Difference], other: list[Difference]) -> bool:
    """Return whether two candidates differ from torch in the same results and by the same wrong values."""
    if [each.what for each in one] != [each.what for each in other]:
        return False
    return all(_same_values(a, b) for a, b in zip(one, other, strict=True))


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


def roundings(difference: Difference) -> float:
    """Return the greatest error in units of roundoff of the greatest result; infinite where there is none."""
    got, expected, wrong = difference.got, difference.expected, difference.wrong
    if got is None or expected is None or wrong is None or not got.dtype.is_floating_point:
        return torch.inf
    error = float(torch.where(wrong, (got.double() - expected).abs(), 0.0).max())
    scale = float(expected.abs().max()) * unit_roundoff(got.dtype)
    return error / scale if scale else torch.inf


def _rounds(verdict: Verdict) -> bool:
    return all(roundings(each) <= _ROUNDINGS for each in verdict.differences)


def _rounding_only(case: Case, verdict: Verdict, asked: Asked) -> bool:
    """Return whether the differences are as small as rounding errors, in double precision too."""
    if not asked.judging(_rounds, verdict):
        return False
    return case.dtype == "float64" or asked.judging(_rounds, asked.judge(replace(case, dtype="float64")))


def describe_rounding(case: Case, verdict: Verdict) -> list[str]:
    """Say by how much the differences exceed their bound."""
    lines = []
    for each in verdict.differences:
        if each.got is None or each.expected is None or each.wrong is None or each.allowed is None:
            continue
        error = torch.where(each.wrong, (each.got.double() - each.expected).abs(), 0.0)
        at = int(error.argmax())
        worst, bound = float(error.flatten()[at]), float(each.allowed.flatten()[at])
        if bound:
            ratio = f"{worst / bound:.3g} times the bound of {bound:.9g}"
        else:
            ratio = (
                f"{roundings(each):.3g} units of roundoff of the greatest result; the bound is 0 for these"
            )
            ratio += " whole numbers"
        lines.append(f"{each.what} {_ROUNDING_ONLY}: by {worst:.9g}, {ratio}")
    if lines and find_operator(case.like).normwise:
        lines.append("if its errors are small beside the largest result: --accuracy norm")
    return lines


def rounds_only(diagnosis: list[str]) -> bool:
    """Return whether the lines of a diagnosis say that only rounding differs."""
    return any(_ROUNDING_ONLY in line for line in diagnosis)


def _from_a_size(case: Case, asked: Asked) -> list[str]:
    """Say from which size on calls fail, where of those drawn next to it the smaller ones pass."""
    forms = {name: len(shape) for name, shape in case.shapes.items()}
    axes = [
        (n, a, size) for n, shape in case.shapes.items() for a, size in enumerate(shape) if size >= _LARGE
    ]
    drawn = {
        size: asked.sample([], lambda each: _has_axes(each, forms), _NEXT, (size,))
        for size in sorted({size for *_, size in axes})
    }
    found: dict[str, float] = {}
    for name, axis, size in axes:
        judged = [(each.shapes[name][axis], bool(verdict.differences)) for each, verdict in drawn[size]]
        smaller, larger = ([each for each in judged if (each[0] < size) is less] for less in (True, False))
        if min(len(smaller), len(larger)) >= 2 and not any(fails for _, fails in smaller):
            failing = sum(fails for _, fails in larger)
            words = f"fails from {name}.shape[{axis}] = {size} on ({failing} of {len(larger)} drawn)"
            found[f"{words}; {max(smaller)[0]} is the largest that passes"] = failing / len(larger)
    best = max(found.values(), default=0.0)
    return [words for words, share in found.items() if share == best > 0.5]


def _has_axes(case: Case, forms: dict[str, int]) -> bool:
    """Return whether a case has all these tensors, with so many axes each."""
    return all(len(case.shapes.get(name, ())) == axes for name, axes in forms.items())


_PROPERTIES: dict[str, Callable[[Case], bool]] = {
    "height and width differ": lambda case: len(set(case.tensors["input"].shape[-2:])) > 1,
    "there are several samples": lambda case: case.tensors["input"].shape[0] > 1,
    "there are several channels": lambda case: case.tensors["input"].shape[1] > 1,
}


def _shared(failures: list[Failure], asked: Asked) -> list[str]:
    """Name what all failures have in common and those that pass have not, by some drawn cases."""
    if any(len(case.tensors["input"].shape) != 4 for case, _ in failures):
        return []
    drawn = asked.sample([], lambda case: len(case.tensors["input"].shape) == 4, 40)
    failing = [case for case, verdict in [*failures, *drawn] if verdict.differences]
    passing = [case for case, verdict in drawn if not verdict.differences]
    common = [
        words
        for words, holds in _PROPERTIES.items()
        if all(map(holds, failing)) and sum(not holds(case) for case in passing) >= 3
    ]
    others = [case for case in passing if all(_PROPERTIES[words](case) for words in common)]
    count = sum(bool(verdict.differences) for _, verdict in drawn)
    if not common or count < len(others):
        return []
    return [f"only where {' and '.join(common)}: {count} of {count + len(others)} drawn ones fail"]
