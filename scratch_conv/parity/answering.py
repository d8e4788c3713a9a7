"""What is asked of a candidate, answered where it runs: it is loaded, described, used and written as code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.candidate import Candidate
from scratch_conv.parity.candidates.kinds import as_candidate
from scratch_conv.parity.candidates.layer import LayerClass
from scratch_conv.parity.candidates.quiet import held_back
from scratch_conv.parity.candidates.targets import Target
from scratch_conv.parity.candidates.thresholds import thresholds_of
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.judging.compare import Difference
from scratch_conv.parity.judging.observe import Observation, observe
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.operators.calling import make_values, with_shape
from scratch_conv.parity.reporting.reproduction import reproduce
from scratch_conv.parity.searching import sampled

Form = tuple[tuple[int, ...], str]
"""The shape and the name of the dtype of torch's output."""


@dataclass(frozen=True)
class Described:
    """What a candidate's signature says.

    Attributes:
        name: the name under which it is reported.
        claims: what is claimed for it, without what its signature shows that it cannot do.
        reasons: a line for each reason why something was left out.
        remarks: a line for what in its signature is not torch's, though it is called all the same.
        thresholds: the whole numbers in its code; see `Drawing`.
        refusal: why it cannot be tested: the name of an exception's type, and its message.
    """

    name: str = ""
    claims: Supports = field(default_factory=Supports)
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    thresholds: tuple[int, ...] = ()
    refusal: tuple[str, str] | None = None


@dataclass(frozen=True)
class Subject:
    """Makes what answers for a candidate, in the process where that is wanted.

    Attributes:
        given: what `check` was given: the candidate, or the name by which it is imported.
        like: the operator it is compared with.
        adapter: how it is called.
    """

    given: Any
    like: str
    adapter: Adapter = field(default_factory=Adapter)

    def __call__(self) -> Callable[[tuple[Any, ...]], Any]:
        """Return a function that answers requests; it loads the candidate with the first one."""
        return _Answering(self)


class _Answering:
    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._candidate: Candidate[Any] | None = None

    def __call__(self, request: tuple[Any, ...]) -> Any:
        word, *args = request
        return getattr(self, word)(*args)

    @property
    def candidate(self) -> Candidate[Any]:
        if self._candidate is None:
            given, operator = self.subject.given, find_operator(self.subject.like)
            given, backward = (
                each.load() if isinstance(each, Target) else each
                for each in (given, self.subject.adapter.backward)
            )
            adapter = replace(self.subject.adapter, backward=backward)
            self._candidate = as_candidate(given, operator, adapter)
        return self._candidate

    def describe(self, stated: Supports) -> Described:
        """Return what the candidate's signature says of its claims."""
        try:
            claims, reasons = self.candidate.narrow(stated)
            claims, left = self._without_bias(claims)
            reasons += left
            remarks, thresholds = tuple(self.candidate.remarks()), thresholds_of(self.candidate.given)
            return Described(str(self.candidate.name), claims, tuple(reasons), remarks, thresholds)
        except (TypeError, ValueError) as error:
            return Described(refusal=(type(error).__name__, str(error)))

    def _without_bias(self, claims: Supports) -> tuple[Supports, list[str]]:
        """Leave the bias out of the claims of a layer that has no place for one."""
        candidate = self.candidate
        if not isinstance(candidate, LayerClass) or "bias" not in candidate.operator.arguments:
            return claims, []
        drawn: list[Case] = []
        if claims.takes("bias") and "bias" not in candidate.adapter.names.places:
            fixed = (*claims.fixed, ("bias", True))
            drawn = sampled(candidate.operator.cases(replace(claims, fixed=fixed)), 20, 0)
        held = (candidate.holds("bias", case, make_values(case)) for case in drawn)
        if next((each for each in held if each is not None), True):
            return claims, []
        reason = f"bias: {candidate.name} holds none; --names bias=... says where it is, if it does"
        return replace(claims, without=claims.without | {"bias"}), [reason]

    def observe(self, case: Case) -> Observation:
        """Return what the candidate does with a case; what it prints is held back."""
        candidate = self.candidate
        with held_back() as printed:
            observation = observe(candidate, case)
        if printed[0]:
            observation.notes.append("what it prints is held back")
        return observation

    def write(self, case: Case, form: Form | None, used: bool, differences: Sequence[Difference] = ()) -> str:
        """Return code that shows what it does.

        Args:
            case: the call.
            form: that of torch's output.
            used: whether the candidate may be used, to find out how it is called.
            differences: what differs on it, without its tensors.
        """
        candidate, values = self.candidate, make_values(case)
        if form is not None:
            values = with_shape(case, values, *form)
        wiring = candidate.wire(case, values) if used else candidate.guess(case)
        return reproduce(case, candidate, values, wiring, differences)
