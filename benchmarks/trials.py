"""What the parts of `benchmarks.robustness` have in common: a row of its table, and equality of bits."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

FEWER = 50
"""A quick trial tries a fiftieth."""


class Row(NamedTuple):
    """What was tried, how often, and how often the result was wrong."""

    what: str
    tried: int
    wrong: int
    notes: str = ""


def number(count: int, quick: bool) -> int:
    """Return how often to try: a few times, as a trial."""
    return max(2, count // FEWER) if quick else count


def same_bits(got: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Return whether two sequences of arrays are the same, bit by bit."""
    pairs = [(np.asarray(one), np.asarray(other)) for one, other in zip(got, expected, strict=True)]
    return all(a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)
