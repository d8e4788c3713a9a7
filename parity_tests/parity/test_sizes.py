"""Sizes and combinations of real networks: drawn often enough, and shrunk to the smallest that fails."""

import math
from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from scratch_conv.parity import Case, Supports
from scratch_conv.parity.drawing.sizes import BATCHES, CHANNELS, CLASSES, VALUES, Sizes, fitted
from scratch_conv.parity.drawing.strategies import as_pair
from scratch_conv.parity.judging.compare import Difference, Verdict
from scratch_conv.parity.operators import OPERATORS
from scratch_conv.parity.searching import search


def smallest(like: str, fails: Callable[[Case], bool], supports: Supports | None = None) -> Case:
    """Return the smallest of the cases that fail, as 500 of one seed show it."""

    def judge(case: Case) -> Verdict:
        return Verdict([Difference("output", "wrong")] if fails(case) else [])

    found = search(OPERATORS[like].cases(supports or Supports()), judge, 500, seed=0)
    assert found.case is not None
    return found.case


def taps(case: Case) -> tuple[int, ...]:
    """Return the kernel_size of a convolution."""
    return case.shapes["weight"][2:]


def arguments(case: Case) -> list[tuple[int, int] | str]:
    """Return stride, padding and dilation of a case as pairs."""
    given = {"stride": 1, "padding": 0, "dilation": 1, **case.keywords}
    return [
        each if isinstance(each := given[name], str) else as_pair(each) for name in given if name != "groups"
    ]


@pytest.mark.parametrize("least", [8, 37, 64, 128])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_failure_from_some_channels_on_is_shrunk_to_the_fewest(axis: int, least: int) -> None:
    case = smallest("conv2d", lambda case: case.shapes["weight"][axis] >= least)
    assert case.shapes["weight"][axis] == least
    assert math.prod(case.shapes["weight"]) == least


def test_a_failure_from_some_groups_samples_or_columns_on_is_shrunk_to_the_fewest() -> None:
    assert smallest("conv2d", lambda case: case.keywords.get("groups", 1) >= 5).keywords["groups"] == 5
    assert smallest("avg_pool2d", lambda case: case.shapes["input"][0] >= 17).shapes["input"][0] == 17
    assert smallest("max_pool2d", lambda case: case.shapes["input"][-1] >= 33).shapes["input"][-1] == 33
    assert smallest("conv2d", lambda case: taps(case)[-1] >= 9).shapes["weight"][-1] == 9


def test_a_failure_from_some_classes_or_values_on_is_shrunk_to_the_fewest() -> None:
    assert smallest("cross_entropy", lambda case: case.shapes["input"][-1] > 1000).shapes["input"][-1] == 1001
    assert smallest("linear", lambda case: case.shapes["weight"][-1] > 256).shapes["weight"][-1] == 257
    values = smallest("batch_norm", lambda case: case.shapes["input"][-1] > 1024)
    assert values.shapes["input"][-1] == 1025


LAYERS = {
    "3x3, stride 2": ("conv2d", (3, 3), [(2, 2), (1, 1), (1, 1)]),
    "first of a ResNet": ("conv2d", (7, 7), [(2, 2), (3, 3), (1, 1)]),
    "dilated": ("conv2d", (3, 3), [(1, 1), (2, 2), (2, 2)]),
    "transposed": ("conv_transpose2d", (4, 4), [(2, 2), (1, 1), (1, 1)]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_known_networks_are_drawn_with_any_gradient(name: str) -> None:
    like, kernel_size, given = LAYERS[name]
    case = smallest(
        like,
        lambda case: taps(case) == kernel_size and arguments(case) == given and "weight" in case.wanted,
    )
    assert math.prod(case.shapes["weight"]) == math.prod(kernel_size)


def test_depthwise_layers_have_one_output_a_channel_or_several() -> None:
    several = smallest(
        "conv2d",
        lambda case: (
            case.shapes["weight"][:2] == (2 * case.keywords.get("groups", 1), 1)
            and taps(case) == (3, 3)
            and case.keywords.get("groups", 1) > 1
        ),
    )
    assert several.shapes["weight"] == (4, 1, 3, 3)


def test_some_case_is_much_work_and_most_are_little() -> None:
    work = []

    def measure(case: Case) -> Verdict:
        pixels = math.prod(case.shapes["input"]) // max(1, case.shapes["input"][-3])
        work.append(pixels * math.prod(case.shapes["weight"]))
        return Verdict()

    search(OPERATORS["conv_transpose2d"].cases(Supports()), measure, 300, seed=0)
    assert 80_000 < max(work) <= 5 * 2**15
    assert sorted(work)[len(work) // 2] < 1000


def test_what_is_not_claimed_stays_small_or_at_its_default() -> None:
    claims = Supports(batches=False, rectangular=False, fixed=(("stride", 2),), without=frozenset({"groups"}))

    def judge(case: Case) -> Verdict:
        assert case.shapes["input"][0] <= 1 or len(case.shapes["input"]) == 3
        assert len(set(taps(case))) == 1
        assert case.keywords["stride"] == 2
        assert "groups" not in case.keywords
        return Verdict()

    search(OPERATORS["conv2d"].cases(claims), judge, 200, seed=0)


@pytest.mark.parametrize("sizes", [BATCHES, CHANNELS, CLASSES, VALUES])
def test_every_size_up_to_the_greatest_can_be_drawn(sizes: Sizes) -> None:
    drawn = set()

    def note(size: int) -> Verdict:
        drawn.add(size)
        return Verdict()

    search(sizes.strategy, note, 300, seed=0)  # type: ignore[arg-type]
    assert min(drawn) >= 1
    assert 9 * sizes.most // 10 < max(drawn) <= sizes.most


def test_sizes_next_to_thresholds_are_those_that_reach_so_far() -> None:
    assert CHANNELS.near((24, 5000)) == (23, 24, 25)
    found = OPERATORS["conv2d"].cases(Supports(), (100,))
    drawn = []
    search(found, lambda case: drawn.append(case) or Verdict(), 30, seed=0)  # type: ignore[func-returns-value]
    assert len(drawn) > 25
    near = {98, 99, 100, 101}
    hits = [case for case in drawn if near & {*case.shapes["input"], *case.shapes["weight"]}]
    assert len(hits) > len(drawn) // 2


def test_sizes_are_made_to_fit_the_largest_first() -> None:
    sizes = fitted({"a": 64, "b": 3, "kept": 100}, {"kept": 100}, lambda each: math.prod(each.values()), 2000)
    assert sizes["kept"] == 100
    assert sizes["b"] == 3
    assert math.prod(sizes.values()) <= 2000


def test_each_case_is_drawn_anew() -> None:
    pairs = []

    def note(pair: tuple[int, int]) -> Verdict:
        pairs.append(pair)
        return Verdict()

    search(st.tuples(st.integers(0, 999), st.integers(0, 999)), note, 200, seed=0)  # type: ignore[arg-type]
    assert sum(one == other for one, other in pairs) < 20
