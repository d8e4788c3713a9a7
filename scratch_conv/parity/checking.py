"""Comparing candidates with torch: `check` searches and reports, `assert_parity` asserts one case."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from scratch_conv.parity.candidates.candidate import Candidate, W
from scratch_conv.parity.candidates.kinds import as_candidate
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FEATURES, Claims, Supports, parse_supports
from scratch_conv.parity.judging.compare import Difference, Verdict, compare
from scratch_conv.parity.judging.expect import expect
from scratch_conv.parity.judging.isolate import Isolated, LostError, can_isolate
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.operators.operator import Operator
from scratch_conv.parity.reporting.diagnosis import computes, diagnose
from scratch_conv.parity.reporting.report import Report
from scratch_conv.parity.reporting.reproduction import reproduce
from scratch_conv.parity.searching import search

T = TypeVar("T")
_FEW = 20  # cases that show whether leaving something out helps


def check(
    candidate: Any,
    like: str,
    examples: int = 500,
    seed: int = 0,
    supports: Claims = None,
    *,
    time_limit: float = 10.0,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Compare a candidate with a torch operator on drawn configurations; never raises for a wrong candidate.

    Args:
        candidate: a function with the signature of torch.nn.functional.<like>, called with tensors by
            position and the rest by torch's keyword names; an nn.Module class with the constructor of its
            torch.nn namesake; or a class of a layer in NumPy (see `parity.candidates.numpy_layer`).
        like: the operator's name in torch.nn.functional.
        examples: how many configurations to draw.
        seed: the same seed draws the same configurations.
        supports: what the candidate claims, a `Supports` or a mapping such as {"dilation": False}. What its
            signature shows that it lacks is left out by itself, and the report says so.
        time_limit: seconds that one call, with its gradients and its repetition, may take.
        progress: called with the number of examples so far.

    Returns:
        A report; `str(report)` reads well. The candidate runs in a forked process, and a hang or a crash is a
        finding like another. Where none can be forked, or none that differentiates (autograd has threads in
        this process: after torch.compile, or with a GPU), it runs in this one, the time limit is not kept,
        and the report says so.

    Raises:
        TypeError: the candidate is nothing that can be called, or a claim is neither True nor False.
        ValueError: `like` or a key of `supports` is unknown, or `examples` is not positive.
    """
    operator = find_operator(like)
    stated = parse_supports(supports, operator.arguments, operator.sizes)
    if examples < 1:
        raise ValueError(f"examples must be at least 1, got {examples}")
    tested = as_candidate(candidate, operator)
    claims, reasons = tested.narrow(stated)
    start = time.perf_counter()
    limit = time_limit if can_isolate() else None
    if limit is None:
        reasons.append("isolation: nothing can be forked, or autograd has threads here (after torch.compile)")
    notes: dict[str, None] = {}  # in the order in which they were made

    def judge(case: Case) -> Verdict:
        verdict = _judge(isolated, case)
        notes.update(dict.fromkeys(verdict.notes))
        return verdict

    with _isolated(lambda case: compare(tested, case, claims), limit) as isolated:
        found = search(drawn_cases(operator, claims), judge, examples, seed, progress=progress)
        failures = [*found.failures, *([(found.case, found.verdict)] if found.case and found.verdict else [])]
        diagnosis = diagnose(failures, lambda names: _works(judge, operator, _leave_out(claims, names), seed))
    report = Report(tested.name, like, found.examples, seed, found.share)
    unclaimed = ", ".join(stated.left_out())
    report.left_out = [*reasons, *([f"{unclaimed}: not claimed"] if unclaimed else [])]
    report.notes, report.skipped = list(notes), found.skipped
    report.seconds = time.perf_counter() - start
    if found.case is not None and found.verdict is not None:
        report.counterexample, report.differences = found.case, found.verdict.differences
        report.diagnosis = diagnosis
        report.code = reproduce(found.case, tested, _wire(tested, found.case, limit))
    return report


def _leave_out(claims: Supports, names: list[str]) -> Supports:
    """Return the claims without features and arguments of these names."""
    features: dict[str, Any] = dict.fromkeys(set(names) & set(FEATURES), False)
    return replace(claims, without=claims.without | (set(names) - set(FEATURES)), **features)


def _works(judge: Callable[[Case], Verdict], operator: Operator, claims: Supports, seed: int) -> bool:
    """Return whether a candidate computes something on half of a few cases at least."""
    computed = []

    def count(case: Case) -> Verdict:
        computed.append(computes(judge(case)))
        return Verdict()

    search(operator.cases(claims), count, _FEW, seed)
    return 2 * sum(computed) >= len(computed)


def _judge(work: Callable[[Case], Verdict], case: Case) -> Verdict:
    """Judge a case; a hang and a death of the process are differences too."""
    try:
        return work(case)
    except LostError as lost:
        return Verdict([Difference(lost.what, str(lost))])


def _wire(candidate: Candidate[W], case: Case, limit: float | None) -> W:
    """Return how the candidate is called on a case; a guess, where finding that out hangs or dies."""
    with _isolated(
        lambda case: candidate.wire(case, expect(candidate.operator, case).values), limit
    ) as wired:
        try:
            return wired(case)
        except LostError:
            return candidate.guess(case)


def _isolated(
    work: Callable[[Case], T], time_limit: float | None
) -> AbstractContextManager[Callable[[Case], T]]:
    """Return work that is done in a process of its own; in this one where there is no time limit."""
    return nullcontext(work) if time_limit is None else Isolated(work, time_limit)


def drawn_cases(operator: Operator, supports: Supports) -> st.SearchStrategy[Case]:
    """Return the cases of a check: valid ones, and one in four invalid where exceptions are compared."""
    valid = operator.cases(supports)
    return st.one_of(valid, valid, valid, operator.invalid_cases(supports)) if supports.errors else valid


def cases(like: str, supports: Claims = None, *, invalid: bool = False) -> st.SearchStrategy[Case]:
    """Return a strategy that draws calls of an operator.

    Args:
        like: the operator's name in torch.nn.functional.
        supports: what the candidate claims; see `Supports`.
        invalid: draw calls that torch (mostly) refuses instead.

    Raises:
        ValueError: for an unknown name.
    """
    operator = find_operator(like)
    claims = parse_supports(supports, operator.arguments, operator.sizes)
    return operator.invalid_cases(claims) if invalid else operator.cases(claims)


def assert_parity(candidate: Any, case: Case, supports: Claims = None) -> None:
    """Call a candidate on a case, in this process.

    Args:
        candidate: a function, an nn.Module class or a NumPy layer, as `check` takes it.
        case: the call.
        supports: what is compared besides values: see `Supports.memory_format` and `Supports.errors`.

    Raises:
        AssertionError: says what differs from torch.
    """
    operator = find_operator(case.like)
    verdict = compare(
        as_candidate(candidate, operator), case, parse_supports(supports, operator.arguments, operator.sizes)
    )
    if verdict.differences:
        lines = [str(case), f"  {case}", *(f"  {each.message}" for each in verdict.differences)]
        raise AssertionError("\n".join(lines))
