"""A few of the calls of `benchmarks.hostile`: none fails from the inside, or changes what it was given."""

import sys
import warnings
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # the benchmarks are not part of the package

from benchmarks.hostile import built, compare
from benchmarks.hostile_calls import draw

LARGE = ("2**", "100000", "10**", "[1]*", "1000")
"""Sizes that take much time or memory, which only a process of its own limits."""


def test_hostile_calls_neither_fail_inside_nor_change_their_arguments() -> None:
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(300):
            call = draw(0, number)
            if any(size in call.expression() for size in LARGE) or built(call) is None:
                continue
            difference = compare(call)
            if difference is not None and difference.kind in ("internal exception", "changed argument"):
                found.append((number, call.expression(), call.then, call.way, difference))
    assert not found, "\n".join(map(str, found))
