"""The report of a check."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.compare import Difference
from scratch_conv.parity.reporting.aspects import Finding
from scratch_conv.parity.reporting.hints import hinted
from scratch_conv.parity.reporting.reproduction import side_by_side


@dataclass
class Report:
    """The outcome of a check.

    Attributes:
        candidate: the name of what was checked.
        like: the operator it was compared with.
        examples: how many cases were compared.
        seed: the seed that draws the same cases again.
        share: the worst error as a share of the bound, over the cases that passed.
        seconds: how long it took.
        counterexample: the smallest failing case, or None.
        differences: what differs on it.
        diagnosis: lines that name the pattern of the difference and the classic faults that would explain it.
        code: what to paste to see it again.
        left_out: what was not drawn, each line with its reason.
        notes: how the candidate was called, where that is not plain.
        further: what else differs.
        aspects: for each aspect "passed", "differs", "skipped" or "not claimed", where it differs in one.
        unclaimed: what was not claimed, as the options name it.
        skipped: how many cases it refused as not claimed, by the name of the exception.
    """

    candidate: str
    like: str
    examples: int
    seed: int
    share: float = 0.0
    seconds: float = 0.0
    counterexample: Case | None = None
    differences: list[Difference] = field(default_factory=list)
    diagnosis: list[str] = field(default_factory=list)
    code: str = ""
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    further: list[Finding] = field(default_factory=list)
    aspects: dict[str, str] = field(default_factory=dict)
    unclaimed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def passed(self) -> bool:
        """Whether no case failed, of one at least that was not skipped."""
        return self.counterexample is None and self.tested

    def __bool__(self) -> bool:
        """Return whether the candidate passed."""
        return self.passed

    @property
    def tested(self) -> bool:
        """Whether the candidate could be called and its results found."""
        if self.counterexample is None and self.skipped.total() >= self.examples:
            return False
        return all(each.what != "interface" for each in self.differences)

    def __str__(self) -> str:
        head = f"{self.candidate} like {self.like}: {self.examples} examples, seed {self.seed}"
        left_out = [f"  left out: {line}" for line in self.left_out]
        left_out += [f"  note: {line}" for line in self.notes]
        left_out += [
            f"  skipped: {count} of {self.examples} ({count / self.examples:.0%}): raised {name}: not claimed"
            for name, count in self.skipped.items()
        ]
        if self.counterexample is None and not self.tested:
            return "\n".join([f"{head}: could not be tested: nothing was computed", *left_out])
        if self.counterexample is None:
            worst = f"worst error {self.share:.3g} of the bound"
            return "\n".join([f"{head}: equal to torch ({worst}, {self.seconds:.1f} s)", *left_out])
        verdict = "differs from torch" if self.tested else "could not be tested"
        parts = [f"{head}: {verdict}", *left_out, *self._table(), f"smallest case: {self.counterexample}"]
        parts += [f"  {each.message}" for each in self.differences]
        parts += [f"  diagnosis: {line}" for line in self.diagnosis]
        parts += [text for text in map(side_by_side, self.differences) if text]
        parts += map(str, self.further)
        if self.proposed:
            unclaimed = ",".join(dict.fromkeys([*self.unclaimed, *self.proposed]))
            parts.append(f"all that may be left out, if it is not claimed: --without {unclaimed}")
        return "\n".join([*parts, "", self.code])

    @property
    def proposed(self) -> list[str]:
        """What may be left out, if it is not claimed: every drawn call with it fails."""
        diagnoses = [self.diagnosis, *(each.diagnosis for each in self.further)]
        return list(dict.fromkeys(name for each in diagnoses for name in hinted(each)))

    def _table(self) -> list[str]:
        """Return a line for each outcome, with the aspects that have it."""
        outcomes: dict[str, list[str]] = {}
        for name, outcome in self.aspects.items():
            outcomes.setdefault(outcome, []).append(name)
        return [f"  {outcome}: {', '.join(names)}" for outcome, names in sorted(outcomes.items())]
