"""Drawing cases until one fails, and making that one as small as it gets."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir, storage_directory
from hypothesis.errors import Unsatisfiable
from hypothesis.internal.conjecture import providers
from hypothesis.internal.conjecture.engine import ConjectureRunner
from hypothesis.internal.constants_ast import Constants

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.compare import Verdict

_FAILURES = 6  # how many are kept for the diagnosis


class _FailureError(Exception):
    """Raised so that Hypothesis knows that a case failed."""


@dataclass
class Search:
    """What a search has come to.

    Attributes:
        examples: how many cases were drawn before and with the first failure.
        share: the worst error as a share of the bound, over the cases that passed.
        case: the smallest failing case, or None.
        verdict: what differs on it.
        failures: the failing cases met first, which are larger and say more.
        skipped: how many cases the candidate refused before that, by the name of the exception.
    """

    examples: int = 0
    share: float = 0.0
    case: Case | None = None
    verdict: Verdict | None = None
    failures: list[tuple[Case, Verdict]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def search(
    strategy: st.SearchStrategy[Case],
    judge: Callable[[Case], Verdict],
    examples: int,
    seed: int,
    shrink_seconds: float = 15.0,
    progress: Callable[[int], None] | None = None,
) -> Search:
    """Draw cases until one fails, then shrink it.

    Args:
        strategy: draws the cases.
        judge: compares a candidate on a case.
        examples: how many cases to draw at most.
        seed: the same seed draws the same cases.
        shrink_seconds: after so long a smaller failure is no longer looked for.
        progress: called with the number of cases drawn so far.

    Returns:
        The search's outcome. Nothing is written to disk.
    """
    found = Search()
    verdicts: dict[Case, Verdict] = {}
    deadline = float("inf")

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        derandomize=False,
    )
    @given(strategy)
    def attempt(case: Case) -> None:
        nonlocal deadline
        if found.case is None:
            found.examples += 1
            if progress is not None:
                progress(found.examples)
        if case not in verdicts:
            if time.monotonic() > deadline:
                return
            verdicts[case] = judge(case)
        verdict = verdicts[case]
        if verdict.skipped and found.case is None:
            found.skipped[verdict.skipped] += 1
        if not verdict.differences:
            found.share = max(found.share, verdict.share)
            return
        if found.case is None:
            deadline = time.monotonic() + shrink_seconds
        if len(found.failures) < _FAILURES:
            found.failures.append((case, verdict))
        found.case, found.verdict = case, verdict
        raise _FailureError

    ends = contextlib.suppress(_FailureError, Unsatisfiable)
    with same_draws(), _independent_draws(), _nothing_stored(), ends:
        attempt()
    return found


def sampled(strategy: st.SearchStrategy[Case], count: int, seed: int) -> list[Case]:
    """Return so many cases of a seed; fewer where there are no more."""
    cases: list[Case] = []

    def keep(case: Case) -> Verdict:
        cases.append(case)
        return Verdict()

    search(strategy, keep, count, seed)
    return cases


@contextlib.contextmanager
def same_draws() -> Iterator[None]:
    """Let a seed draw the same cases whatever modules are loaded.

    Hypothesis draws some numbers among the constants in the source of every loaded module that is not in
    site-packages: a candidate's file, or this package if it is installed editable. It has no setting for it.
    """
    none = Constants()
    before = {name: getattr(providers, name) for name in ("_get_local_constants", "CONSTANTS_CACHE")}
    vars(providers).update(_get_local_constants=lambda: none, CONSTANTS_CACHE={})
    try:
        yield
    finally:
        vars(providers).update(before)


@contextlib.contextmanager
def _independent_draws() -> Iterator[None]:
    """Let each case be drawn anew.

    Hypothesis makes five of six cases from the one before, by copying one number over another, so that a size
    that is rare and large seldom lasts. It has no setting for it.
    """
    name = "generate_mutations_from"
    before = vars(ConjectureRunner).get(name)
    setattr(ConjectureRunner, name, lambda runner, data: None)
    try:
        yield
    finally:
        setattr(ConjectureRunner, name, before)


@contextlib.contextmanager
def _nothing_stored() -> Iterator[None]:
    """Keep Hypothesis from leaving a folder .hypothesis in the working directory.

    Even without a database it would put there what it reads in the modules around.
    """
    before = storage_directory(intent_to_write=False).home_directory
    with tempfile.TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(before)
