"""One classic fault: a wrong implementation, what is wrong with it, and where it was made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scratch_conv.parity.operators.calling import Call

TEXTBOOK = "textbook"


@dataclass(frozen=True)
class Fault:
    """A wrong implementation of an operator.

    Attributes:
        name: a few words, joined by hyphens.
        like: the operator it pretends to be.
        wrong: what it gets wrong.
        source: an issue or a change where the mistake was made in the wild; `textbook` where none was looked
            up.
        candidate: the implementation, to be called like torch's.
    """

    name: str
    like: str
    wrong: str
    source: str
    candidate: Call


class Collection:
    """The faults of one operator, each entered by a decorator."""

    def __init__(self, like: str) -> None:
        self.like = like
        self.faults: list[Fault] = []

    def add(self, name: str, wrong: str, source: str = TEXTBOOK) -> Callable[[Call], Call]:
        """Return a decorator that enters an implementation under a name."""

        def enter(candidate: Call) -> Call:
            self.faults.append(Fault(name, self.like, wrong, source, candidate))
            return candidate

        return enter
