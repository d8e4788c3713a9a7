"""Sizes that are large: where programs that were right for small ones go another way.

A size is drawn around the multiples at which vectors, blocks and threads end, and everywhere else up to a
greatest one, so that a failure can be shrunk to the smallest size that fails.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import TypeVar

from hypothesis import strategies as st

K = TypeVar("K")

FEW = 2**13
"""The work that a case is limited to, in products of numbers; see `fitted`."""
MUCH = 5 * 2**15
"""The work that a case with large sizes on several axes is limited to."""

_SHARE = 3  # of the draws of a size, this many times as many are near a multiple as anywhere


class Sizes:
    """The sizes from 1 to a greatest one, those next to some multiples more often.

    Args:
        most: the greatest.
        multiples: those that are drawn with the numbers before and after them, the later ones more often: a
            program that is wrong from 8 on is wrong for 64 too.
    """

    def __init__(self, most: int, *multiples: int) -> None:
        self.most = most
        weights = dict.fromkeys(range(1, most + 1), 1.0)
        shares = [(1.0 + place) ** 2 for place in range(len(multiples))]
        for multiple, share in zip(multiples, shares, strict=True):
            for near in (multiple - 1, multiple, multiple + 1):
                weights[near] += _SHARE * most * share / sum(shares) / 3
        self._ends = list(accumulate(round(weight) for weight in weights.values()))
        self._places = st.integers(0, self._ends[-1] - 1)

    @property
    def strategy(self) -> st.SearchStrategy[int]:
        """The sizes as a strategy that shrinks to 1."""
        return self._places.map(lambda place: bisect(self._ends, place) + 1)

    def near(self, thresholds: Iterable[int]) -> tuple[int, ...]:
        """Return what lies next to some thresholds and is no greater than the greatest size."""
        around = {near for each in thresholds for near in (each - 1, each, each + 1)}
        return tuple(sorted(size for size in around if 1 <= size <= self.most))


CHANNELS = Sizes(130, 4, 8, 16, 32, 64, 128)
LENGTHS = Sizes(70, 8, 16, 32, 64)
KERNELS = Sizes(13, 8, 12)
GROUPS = Sizes(16, 4, 8, 15)
BATCHES = Sizes(20, 4, 8, 16)
FEATURES = Sizes(1100, 16, 32, 64, 128, 256, 512, 1024)
CLASSES = Sizes(1100, 10, 100, 1000, 1024)
VALUES = Sizes(5000, 128, 256, 1024, 2048, 4096)


def fitted(
    sizes: Mapping[K, int],
    least: Mapping[K, int],
    work: Callable[[dict[K, int]], int],
    limit: int = FEW,
) -> dict[K, int]:
    """Make sizes smaller, the largest first, until the work is within a limit or all are at their least.

    Args:
        sizes: by name.
        least: how small each may become; 1 where nothing is said.
        work: how much a call with such sizes computes.
        limit: how much it may.
    """
    sizes = dict(sizes)
    above = {name for name in sizes if sizes[name] > least.get(name, 1)}
    while above and work(sizes) > limit:
        name = max(above, key=sizes.__getitem__)
        sizes[name] = max(least.get(name, 1), sizes[name] * 3 // 4)
        if sizes[name] == least.get(name, 1):
            above.remove(name)
    return sizes
