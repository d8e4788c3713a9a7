"""What several seeds say of the accuracies, against figures that others have published."""

import math
from collections.abc import Sequence

import pytest
import torch

from scratch_conv.training.backends.job import Outcome
from scratch_conv.training.comparison import MEASURES, TRAINED, Drift, verdict
from scratch_conv.training.seeds import (
    Runs,
    accuracies,
    accuracy_headings,
    accuracy_rows,
    agreement_of_seeds,
    is_significant,
    sentence,
)


def outcome(accuracy: float, classes: Sequence[int] = (0,)) -> Outcome:
    predictions = torch.nn.functional.one_hot(torch.tensor(classes), 3).double()
    return Outcome(test_accuracy=[0.1, accuracy], parameters=1, predictions=predictions, weights={})


def paired(first: Sequence[float], second: Sequence[float]) -> Runs:
    pairs = enumerate(zip(first, second, strict=True), 5)
    return {seed: {"torch": outcome(one), "scratch": outcome(other)} for seed, (one, other) in pairs}


# The hours of sleep that ten patients gained by two drugs: "Student", "The probable error of a mean", 1908.
SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)


def test_students_own_example() -> None:
    found = accuracies(paired(*SLEEP))["scratch"]
    assert found.mean == pytest.approx(2.33)
    assert found.deviation == pytest.approx(2.002, abs=5e-4)
    assert found.difference == pytest.approx(1.58)
    assert found.p_value == pytest.approx(0.00283, abs=5e-6)
    assert found.difference_interval == pytest.approx((0.7001, 2.4599), abs=5e-5)


def test_one_seed_has_the_interval_of_its_test_images() -> None:
    """81 of 263: Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I."""
    found = accuracies({0: {"torch": outcome(81 / 263, [0] * 263)}})["torch"]
    assert found.interval == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert found.difference_interval is None


@pytest.mark.parametrize(("second", "p_value"), [([0.5, 0.6, 0.8], 1.0), ([0.625, 0.725, 0.925], 0.0)])
def test_differences_without_spread_are_certain(second: list[float], p_value: float) -> None:
    found = accuracies(paired([0.5, 0.6, 0.8], second))["scratch"]
    assert found.p_value == pytest.approx(p_value, abs=1e-12)
    assert found.difference_interval == pytest.approx((second[0] - 0.5,) * 2)


def test_few_seeds_that_differ_by_as_many_images_are_no_evidence() -> None:
    """By one image of a hundred with both seeds: by chance in a tenth of all pairs that disagree on two."""
    one = {seed: outcome(accuracy, [0] * 100) for seed, accuracy in ((0, 0.75), (1, 0.78))}
    other = {seed: outcome(accuracy, [0] * 99 + [1]) for seed, accuracy in ((0, 0.76), (1, 0.79))}
    found = accuracies({seed: {"torch": one[seed], "scratch": other[seed]} for seed in one})["scratch"]
    # A mean of 0.01, a standard error of sqrt(2) / 200: t = sqrt(2), of Student's distribution of 1.
    assert found.p_value == pytest.approx(1 - 2 / math.pi * math.atan(math.sqrt(2)))
    assert found.difference_interval is not None
    assert found.difference_interval[0] < 0


@pytest.mark.parametrize(("wrong", "equal"), [(24, True), (26, False)])
def test_one_seed_shows_a_difference_from_five_standard_errors_on(wrong: int, equal: bool) -> None:
    """As many images that one alone has right: their number deviates by its square root, of 25 by 5."""
    runs = {
        0: {
            "torch": outcome(0.5, [0] * 100),
            "scratch": outcome(0.5 - wrong / 100, [1] * wrong + [0] * (100 - wrong)),
        }
    }
    assert is_significant(runs) is not equal
    assert sentence(runs) == f"test accuracy, of one seed: torch 50.00%, scratch {50 - wrong}.00%"


def test_agreement_is_of_classes() -> None:
    runs = {
        0: {"torch": outcome(0.5, [0, 1, 2, 0]), "scratch": outcome(0.5, [0, 1, 2, 1])},
        1: {"torch": outcome(0.5, [0, 2, 1, 1]), "scratch": outcome(0.5, [0, 2, 1, 1])},
    }
    assert accuracies(runs)["scratch"].agreement == (0.75 + 1) / 2
    assert agreement_of_seeds(runs) == 0.25


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_cell_of_the_table_has_a_heading(seeds: int) -> None:
    runs = paired([0.5] * seeds, [0.6] * seeds)
    rows = accuracy_rows(runs)
    assert {len(row) for row in rows} == {len(accuracy_headings(runs))}
    assert [row[0] for row in rows] == ["torch", "scratch", "torch, other seeds"][: 2 if seeds == 1 else 3]


def test_the_verdict_counts_a_difference_of_accuracies_only_beyond_chance() -> None:
    none = {measure: {1: 0.0} for measure in (*MEASURES, *TRAINED)}
    drift = Drift({"scratch": none}, {"torch on 1 thread": none}, None, 1e-7)
    equal, said = verdict(paired([0.50, 0.61, 0.72], [0.51, 0.60, 0.73]), drift)
    assert equal
    assert said.startswith(
        f"{drift.verdict}; over 3 seeds, mean test accuracy: torch 61.00%, scratch 61.33%; "
    )
    equal, said = verdict(paired(*SLEEP), drift)
    assert not equal
    assert said.startswith("a difference of accuracies that chance does not explain, though no difference")
