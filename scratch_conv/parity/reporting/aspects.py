"""The aspects of a layer, each of which passes or differs on its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.judging.compare import Difference, Verdict
from scratch_conv.parity.reporting.features import features_of

KINDS = ("special_values", "empty", "unbatched", "layouts")
"""The aspects that are kinds of calls, which are left out once one differs."""

_CONDUCT = ("unrepeated", "shared memory", "changed")


@dataclass
class Finding:
    """One way to differ from torch.

    Attributes:
        case: the smallest case that shows it.
        differences: what differs on it.
        diagnosis: lines that say what that points to.
    """

    case: Case
    differences: list[Difference]
    diagnosis: list[str] = field(default_factory=list)

    @property
    def whats(self) -> set[str]:
        """What differs."""
        return {each.what for each in self.differences}

    @property
    def aspects(self) -> list[str]:
        """The aspects that differ."""
        return list(dict.fromkeys(aspect_of(self.case, each) for each in self.differences))

    def __str__(self) -> str:
        lines = [f"also differs: {', '.join(self.aspects)}", f"smallest case: {self.case}"]
        lines += [f"  {each.message}" for each in self.differences]
        return "\n".join([*lines, *(f"  diagnosis: {line}" for line in self.diagnosis)])


def aspect_of(case: Case, difference: Difference) -> str:
    """Return the aspect of a difference, given the smallest case that shows it."""
    what = difference.what
    if is_conduct(difference):
        return "repeated calls"
    kind = next((name for name in KINDS if name in features_of(case)), None)
    if kind is not None:
        return kind
    if "torch refuses this call" in difference.message:
        return "errors"
    if what.startswith("second_"):
        return "second_derivatives"
    return what if what.startswith("grad_") else "values"


def is_conduct(difference: Difference) -> bool:
    """Return whether a difference is what a candidate keeps or writes into, whatever the kind of call."""
    return difference.what.startswith(_CONDUCT)


@dataclass
class Seen:
    """Which aspects the cases had that passed or differed.

    Attributes:
        aspects: their names.
    """

    aspects: set[str] = field(default_factory=set)

    def add(self, case: Case, verdict: Verdict) -> None:
        """Enter a case that was judged and computed."""
        if any(each.what in ("exception", "interface", "time", "process") for each in verdict.differences):
            return
        self.aspects |= {"values", "repeated calls", *(f"grad_{name}" for name in case.wanted)}
        self.aspects |= {name for name in KINDS if name in features_of(case)}
        self.aspects |= {"second_derivatives"} if case.order == 2 else set()


def table(claims: Supports, findings: list[Finding], seen: Seen) -> dict[str, str]:
    """Return for each aspect whether it passed, differs, was skipped or is not claimed."""
    differing = {aspect for finding in findings for aspect in finding.aspects}
    gradients = sorted(name for name in seen.aspects | differing if name.startswith("grad_"))
    names = [
        "values",
        *(gradients or ["gradients"]),
        *KINDS,
        "second_derivatives",
        "errors",
        "repeated calls",
    ]
    outcome = {}
    for name in names:
        if name in differing:
            outcome[name] = "differs"
        elif not getattr(claims, name, True):
            outcome[name] = "not claimed"
        else:
            outcome[name] = "passed" if name in seen.aspects else "skipped"
    return outcome
