"""Comparing candidates with torch: `check` searches and reports, `assert_parity` asserts one case."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from scratch_conv.parity.answering import Described, Subject
from scratch_conv.parity.candidates.kinds import as_candidate
from scratch_conv.parity.candidates.targets import Target
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FEATURES, FLOATS, Claims, Supports, parse_supports
from scratch_conv.parity.judging.clean import Caller, Here, clean_process
from scratch_conv.parity.judging.compare import Difference, Verdict, judge, prepare
from scratch_conv.parity.judging.expect import expect, output_form
from scratch_conv.parity.judging.isolate import Isolated, LostError, Request, can_isolate
from scratch_conv.parity.judging.observe import Observation, observe
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.operators.operator import Operator
from scratch_conv.parity.options import Words, stated
from scratch_conv.parity.reporting.aspects import KINDS, Finding, Seen, is_conduct, table
from scratch_conv.parity.reporting.diagnosis import diagnose, rounds_only
from scratch_conv.parity.reporting.features import features_of
from scratch_conv.parity.reporting.hints import computes, hinted, is_lost
from scratch_conv.parity.reporting.report import Report
from scratch_conv.parity.searching import sampled, search

_FURTHER = 100  # cases that are drawn for each further finding
_FINDINGS = 5
_FURTHER_SECONDS = 60.0
_SHRINKING = 3.0  # seconds
_DRAWN = 8  # cases that are drawn for each of a kind that is wanted


def check(
    candidate: Any,
    like: str,
    examples: int = 500,
    seed: int = 0,
    supports: Claims = None,
    *,
    without: Words = None,
    with_: Words = None,
    dtypes: Words = None,
    fix: str | Mapping[str, Any] | None = None,
    skip_on: Any = None,
    accuracy: str | None = None,
    names: str | Mapping[str, str] | None = None,
    layout: str | None = None,
    weights: str | None = None,
    arrays: str | None = None,
    backward: Any = None,
    outputs: Words = None,
    gradients: Words = None,
    device: str | None = None,
    time_limit: float = 10.0,
    in_process: bool = False,
    further: bool = True,
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
        without: what it does not claim, as names separated by commas or a list of names.
        with_: what it claims besides.
        dtypes: the names of the dtypes that it takes.
        fix: arguments that have one value in all calls: {"eps": 1e-7}, or "eps=1e-7,padding=same".
        skip_on: exceptions, or names of them, by which it says that it does not claim a call, besides
            NotImplementedError.
        accuracy: "norm" for an algorithm whose errors are small beside the largest result only.
        names: what it calls torch's arguments, tensors and methods: {"num_filters": "out_channels"}, or
            "num_filters=out_channels,weight=conv.W,forward=forward_pass".
        layout: the order of its images' axes, such as "nhwc", or of its inputs' and outputs', "hw:hwc".
        weights: the order of its weight's axes, such as "hwio".
        arrays: "numpy", "jax" or "mlx" for a function of such arrays.
        backward: for a function, that which returns the gradients: called with the gradient of the output and
            with what the first one returned beside the output.
        outputs: the names of what it returns, such as "output,cache".
        gradients: the tensors whose gradients its backward returns, in their order: "input,weight,bias".
        device: where tensors are put for it, such as "cuda".
        time_limit: seconds that one call, with its gradients and its repetition, may take; the first one
            three times as many, since compilers work then.
        in_process: run the candidate in this process, where it may hang or end it.
        further: where it differs, go on and see which other aspects differ.
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
    claims_and_calling = {
        "without": without,
        "with": with_,
        "dtypes": dtypes,
        "fix": fix,
        "skip_on": skip_on,
        "accuracy": accuracy,
        "names": names,
        "layout": layout,
        "weights": weights,
        "arrays": arrays,
        "backward": backward,
        "outputs": outputs,
        "gradients": gradients,
        "device": device,
    }
    claimed, adapter = stated(operator, supports, claims_and_calling)
    if examples < 1:
        raise ValueError(f"examples must be at least 1, got {examples}")
    start = time.perf_counter()
    isolating = not in_process and can_isolate()
    subject = Subject(candidate, like, adapter)
    with Isolated(subject, time_limit) if isolating else nullcontext(InProcess(subject())) as tested:
        # Where the candidate is imported elsewhere only, torch is in this process as it was installed.
        judging = Here() if isolating and isinstance(candidate, Target) else clean_process()
        described = _describe(tested, claimed, candidate)
        refuse_impossible(operator, described.claims)
        trial = Trial(like, tested, judging, described.claims, seed, described.thresholds)
        trial.notes.update(dict.fromkeys(described.remarks))
        if numbers := ", ".join(map(str, trial.thresholds)):
            trial.notes[f"sizes next to the numbers in its code are drawn too: {numbers}"] = None
        found = search(
            drawn_cases(operator, trial.claims, trial.thresholds),
            trial.judge,
            examples,
            seed,
            progress=progress,
        )
        report = Report(described.name, like, found.examples, seed, found.share)
        if found.case is not None and found.verdict is not None:
            report.counterexample, report.differences = found.case, found.verdict.differences
            failures = [*found.failures, (found.case, found.verdict)]
            report.diagnosis = diagnose(failures, trial)
            report.code = trial.write(found.case, found.verdict)
            if further:
                first = Finding(found.case, found.verdict.differences, report.diagnosis)
                report.further = trial.go_on(first)
                report.aspects = table(trial.claims, [first, *report.further], trial.seen)
    report.left_out = list(described.reasons)
    if not isolating:
        reason = "nothing can be forked, or autograd has threads here (after torch.compile)"
        reason = "asked to run in this process" if in_process else reason
        report.left_out.append(f"isolation: {reason}")
    if unclaimed := ", ".join(claimed.left_out()):
        report.left_out.append(f"{unclaimed}: not claimed")
    report.notes, report.skipped = list(trial.notes), found.skipped
    report.unclaimed = [name for name in claimed.left_out() if name not in FLOATS]
    if isinstance(tested, Isolated) and tested.spawned:
        report.notes.append("tested in a spawned process: in a forked one it hangs or dies")
    report.seconds = time.perf_counter() - start
    return report


class InProcess:
    """A candidate in this process, asked as one in another is."""

    def __init__(self, work: Callable[[Request], Any]) -> None:
        self.work = work

    def __call__(self, request: Request) -> Any:
        """Return the answer to a request."""
        return self.work(request)

    def send(self, request: Request) -> None:
        """Take a request."""
        self._request = request

    def receive(self, retry: bool = True) -> Any:
        """Return the answer to it."""
        return self.work(self._request)


@dataclass
class Trial:
    """A candidate and what judges it.

    Attributes:
        like: the operator it is compared with.
        tested: where the candidate runs.
        judging: where torch is asked.
        claims: what is claimed for the candidate.
        seed: the same seed draws the same cases.
        thresholds: sizes next to these are drawn too.
        notes: how it was called, where that is not plain, in the order in which it was said.
        seen: the aspects of the cases that were judged.
    """

    like: str
    tested: Isolated | InProcess
    judging: Caller
    claims: Supports
    seed: int
    thresholds: tuple[int, ...] = ()
    notes: dict[str, None] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)

    def judge(self, case: Case) -> Verdict:
        """Judge a case; a hang and a death of the process are differences too."""
        self.tested.send(("observe", case))
        self.judging.begin(prepare, case, self.claims.accuracy)
        try:
            observation = self.tested.receive()
        except LostError as lost:
            return Verdict([Difference(lost.what, str(lost))])
        finally:
            self.judging.finish()
        verdict = self.judging(judge, case, observation, self.claims)
        self.notes.update(dict.fromkeys(verdict.notes))
        if not verdict.skipped:
            self.seen.add(case, verdict)
        return verdict

    def go_on(self, first: Finding) -> list[Finding]:
        """Return what else differs: what is known to is left out of the cases, or of what is compared."""
        operator, claims, masked = find_operator(self.like), self.claims, set[str]()
        findings: list[Finding] = []
        last = first
        end = time.monotonic() + _FURTHER_SECONDS

        def judge_rest(case: Case) -> Verdict:
            verdict = self.judge(case)
            return replace(verdict, differences=[d for d in verdict.differences if d.what not in masked])

        while len(findings) < _FINDINGS and time.monotonic() < end:
            if is_lost(Verdict(last.differences)):
                break
            kinds = [name for name in features_of(last.case) if name in KINDS]
            if kinds and not all(map(is_conduct, last.differences)):
                claims = _leave_out(claims, kinds)
            elif operator.normwise and claims.accuracy != "norm" and rounds_only(last.diagnosis):
                claims = replace(claims, accuracy="norm")
                self.claims = replace(self.claims, accuracy="norm")  # rounding may hide what else is wrong
            elif not computes(Verdict(last.differences)) and (left_out := hinted(last.diagnosis)):
                claims = _leave_out(claims, left_out)
            else:  # where it raises without a kind of calls that always fails, others may still be compared
                masked |= {each.what for each in last.differences}
            drawn = drawn_cases(operator, claims, self.thresholds)
            found = search(drawn, judge_rest, _FURTHER, self.seed, _SHRINKING)
            if found.case is None or found.verdict is None:
                break
            whats = {each.what for each in found.verdict.differences}
            if any(found.case == each.case and whats == each.whats for each in findings):
                masked |= whats  # what was to be left out is drawn all the same
                continue
            failures = [*found.failures, (found.case, found.verdict)]
            last = Finding(found.case, found.verdict.differences, diagnose(failures, self))
            findings.append(last)
        return findings

    def sample(
        self, without: list[str], wanted: Callable[[Case], bool], count: int, near: tuple[int, ...] = ()
    ) -> list[tuple[Case, Verdict]]:
        """Return how the candidate does on some cases of a kind, without what is named, near some sizes."""
        seen: list[tuple[Case, Verdict]] = []
        end = time.monotonic() + _FURTHER_SECONDS

        def attempt(case: Case) -> Verdict:
            hopeless = bool(seen) and is_lost(seen[-1][1])
            if len(seen) < count and not hopeless and time.monotonic() < end and wanted(case):
                seen.append((case, self.judge(case)))
            return Verdict()

        claims = _leave_out(self.claims, without)
        search(find_operator(self.like).cases(claims, near), attempt, _DRAWN * count, self.seed)
        return seen

    def changes(self, case: Case, times: int) -> int:
        """Return how often the candidate computes something else than at first."""
        try:
            seen: list[Observation] = [self.tested(("observe", case)) for _ in range(times + 1)]
        except LostError:
            return times
        return sum(each.results != seen[0].results or bool(each.repeated) for each in seen[1:])

    def write(self, case: Case, verdict: Verdict) -> str:
        """Return code that shows what the candidate does with a case, given what differs on it."""
        form, code = self.judging(output_form, case), ""
        plain = [Difference(each.what, each.message, dtypes=each.dtypes) for each in verdict.differences]
        try:
            code = self.tested(("write", case, form, True, plain))
        except LostError:
            code = self.tested(("write", case, form, False, plain))
        return code


def _describe(tested: Isolated | InProcess, stated: Supports, candidate: Any) -> Described:
    """Return what the candidate's signature says.

    Raises:
        TypeError: it is nothing that can be called.
        ValueError: it cannot be imported, or no dtype is left.
    """
    tested.send(("describe", stated))
    try:
        described: Described = tested.receive(retry=False)
    except LostError as lost:
        raise ValueError(f"cannot load {getattr(candidate, 'name', candidate)}: its module {lost}") from None
    if described.refusal is not None:
        kind, message = described.refusal
        raise (TypeError if kind == "TypeError" else ValueError)(message)
    return described


def refuse_impossible(operator: Operator, claims: Supports) -> None:
    """Refuse arguments of one value that no call of torch's has.

    Raises:
        ValueError: says which.
    """
    if not claims.fixed:
        return
    words = ", ".join(f"{name}={value!r}" for name, value in claims.fixed)
    try:
        drawn = sampled(operator.cases(claims), 1, 0)
    except Exception as failed:  # drawing reckons with what torch takes
        raise ValueError(f"fix: no call of {operator.name} has {words}: {failed}") from failed
    if not drawn:
        raise ValueError(f"fix: no call of {operator.name} within these claims has {words}")
    error = expect(operator, replace(drawn[0], wanted=(), order=1)).error
    if error is not None:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"fix: torch refuses {words}: {type(error).__name__}: {reason}")


def _leave_out(claims: Supports, names: list[str]) -> Supports:
    """Return the claims without features and arguments of these names, and pairs of `rectangular.<name>`."""
    features: dict[str, Any] = dict.fromkeys(set(names) & set(FEATURES), False)
    square = {name.partition(".")[2] for name in names if "." in name}
    arguments = {name for name in names if name not in FEATURES and "." not in name}
    return replace(claims, without=claims.without | arguments, square=claims.square | square, **features)


def drawn_cases(
    operator: Operator, supports: Supports, thresholds: tuple[int, ...] = ()
) -> st.SearchStrategy[Case]:
    """Return the cases of a check, one in four of each kind but the first.

    They are valid; of sizes next to thresholds, if there are any; invalid, if exceptions are compared.
    """
    valid = operator.cases(supports)
    kinds = [operator.cases(supports, thresholds)] if thresholds else []
    kinds += [operator.invalid_cases(supports)] if supports.errors else []
    return st.one_of(*[valid] * (4 - len(kinds)), *kinds) if kinds else valid


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
    claims = parse_supports(supports, operator.arguments, operator.sizes, operator.signature)
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
    judging = clean_process()
    claims = parse_supports(supports, operator.arguments, operator.sizes, operator.signature)
    judging.begin(prepare, case, claims.accuracy)
    observation = observe(as_candidate(candidate, operator), case)
    judging.finish()
    verdict = judging(judge, case, observation, claims)
    if verdict.differences:
        lines = [str(case), f"  {case}", *(f"  {each.message}" for each in verdict.differences)]
        raise AssertionError("\n".join(lines))
