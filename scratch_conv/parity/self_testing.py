"""The suite, proved by faults that it has to find and right implementations that it must not refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scratch_conv.parity.catalogue import FAULTS, SOUND
from scratch_conv.parity.checking import check
from scratch_conv.parity.reporting.report import Report


@dataclass(frozen=True)
class Trial:
    """One implementation that is known to be right or wrong, and what `check` said.

    Attributes:
        name: the fault's or the variant's.
        sound: whether it is right.
        wrong: what it gets wrong; empty for a right one.
        report: what `check` said.
    """

    name: str
    sound: bool
    wrong: str
    report: Report

    @property
    def as_it_should(self) -> bool:
        """Whether a fault was found or a right implementation passed."""
        return self.report.passed == self.sound


def planned(fault_seeds: int, sound_seeds: int, like: str | None = None) -> int:
    """Return how many trials a self-test has."""
    faults, variants = ([each for each in some if like in (None, each.like)] for some in (FAULTS, SOUND))
    return len(faults) * fault_seeds + len(variants) * sound_seeds


def self_test(
    examples: int = 500,
    seed: int = 0,
    fault_seeds: int = 1,
    sound_seeds: int = 1,
    like: str | None = None,
) -> Iterator[Trial]:
    """Check every fault of the catalogue and every sound variant, one after the other.

    Args:
        examples: how many configurations to draw for each at most.
        seed: the first seed.
        fault_seeds: how many seeds, one after the other, a fault is looked for with.
        sound_seeds: how many a sound variant is checked with.
        like: the operator to which the test is limited; None: every one.
    """
    for fault in (each for each in FAULTS if like in (None, each.like)):
        for each in range(seed, seed + fault_seeds):
            report = check(fault.candidate, fault.like, examples, each, further=False)
            yield Trial(f"{fault.like}: {fault.name}", False, fault.wrong, report)
    for variant in (each for each in SOUND if like in (None, each.like)):
        for each in range(seed, seed + sound_seeds):
            report = check(variant.candidate, variant.like, examples, each, variant.supports)
            yield Trial(f"{variant.like}: {variant.name}", True, "", report)
