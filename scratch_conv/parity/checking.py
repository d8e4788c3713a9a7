"""`check`: compare a candidate with torch's operator."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from scratch_conv.parity.candidates import as_call, is_layer, name_of
from scratch_conv.parity.case import Case
from scratch_conv.parity.comparison import Verdict, compare
from scratch_conv.parity.diagnosis import diagnose
from scratch_conv.parity.isolation import Isolated
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.operators.base import Operator
from scratch_conv.parity.report import Report
from scratch_conv.parity.reproduction import reproduce
from scratch_conv.parity.searching import search
from scratch_conv.parity.supports import Claims, Supports, parse_supports


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

    Arguments:
        candidate: a function with the signature of torch.nn.functional.<like>, called with tensors by
            position and the rest by torch's keyword names; an nn.Module class with the constructor of its
            torch.nn namesake; or a class of a layer in NumPy (see `scratch_conv.parity.numpy_layers`).
        like: the operator's name in torch.nn.functional.
        examples: how many configurations to draw.
        seed: the same seed draws the same configurations.
        supports: what the candidate claims, a `Supports` or a mapping such as {"dilation": False}.
        time_limit: seconds that one call, with its gradients and its repetition, may take.
        progress: called with the number of examples so far.

    Returns:
        A report; `str(report)` reads well. Where processes can be forked, the candidate runs in a forked one,
        and a hang or a crash is a finding like another; elsewhere it runs in this process and the time limit
        is not kept.

    Raises:
        TypeError: the candidate is nothing that can be called.
        ValueError: `like` or a key of `supports` is unknown, or `examples` is not positive.
    """
    operator = find_operator(like)
    claims = parse_supports(supports, operator.arguments)
    if examples < 1:
        raise ValueError(f"examples must be at least 1, got {examples}")
    if is_layer(candidate):
        claims = replace(claims, functional=False)
    call = as_call(candidate, operator)

    def judge(case: Case) -> Verdict:
        return compare(call, case, claims)

    start = time.perf_counter()
    strategy = drawn_cases(operator, claims)
    if "fork" in multiprocessing.get_all_start_methods():
        with Isolated(judge, time_limit) as isolated:
            found = search(strategy, isolated, examples, seed, progress=progress)
    else:
        found = search(strategy, judge, examples, seed, progress=progress)
    report = Report(name_of(candidate), like, found.examples, seed, found.share)
    report.seconds = time.perf_counter() - start
    if found.case is not None and found.verdict is not None:
        report.counterexample, report.differences = found.case, found.verdict.differences
        report.diagnosis = diagnose([*found.failures, (found.case, found.verdict)])
        report.code = reproduce(found.case, candidate)
    return report


def drawn_cases(operator: Operator, supports: Supports) -> st.SearchStrategy[Case]:
    """Return the cases of a check: valid ones, and one in four invalid where exceptions are compared."""
    valid = operator.cases(supports)
    return st.one_of(valid, valid, valid, operator.invalid_cases(supports)) if supports.errors else valid
