"""Implementations of an operator of which is known whether they are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from scratch_conv.parity.drawing.claims import Claims
from scratch_conv.parity.operators.calling import Call

T = TypeVar("T")

TEXTBOOK = "textbook"
GITHUB = "https://github.com/"
FINITE: Claims = {"special_values": False, "empty": False, "second_derivatives": True}
"""The claims of a plain formula that autograd differentiates."""


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


@dataclass(frozen=True)
class Variant:
    """A right implementation: its name, the operator it is, the implementation, and what it claims."""

    name: str
    like: str
    candidate: Any
    supports: Claims = None


class Collection:
    """The faults and the sound variants of one operator, each entered by a decorator.

    A module of the catalogue lists its collections as `COLLECTIONS`.
    """

    def __init__(self, like: str) -> None:
        self.like = like
        self.faults: list[Fault] = []
        self.variants: list[Variant] = []

    def fault(self, name: str, wrong: str, source: str = TEXTBOOK) -> Callable[[Call], Call]:
        """Return a decorator that enters a wrong implementation under a name.

        Args:
            name: a few words, joined by hyphens.
            wrong: what it gets wrong.
            source: where the mistake was made, as the path of an issue or a change on GitHub.
        """
        where = source if source == TEXTBOOK else GITHUB + source

        def enter(candidate: Call) -> Call:
            self.faults.append(Fault(name, self.like, wrong, where, candidate))
            return candidate

        return enter

    def sound(self, name: str, supports: Claims = None) -> Callable[[T], T]:
        """Return a decorator that enters a right implementation, and what it claims, under a name."""

        def enter(candidate: T) -> T:
            self.variants.append(Variant(name, self.like, candidate, supports))
            return candidate

        return enter
