"""The verdict on a comparison, of differences that are made up."""

from dataclasses import replace

import pytest

from scratch_conv.training.comparison import MEASURES, TRAINED, Drift, relative_difference

STEPS = range(1, 51)


def drift(ours: float, own: float, rounding: float = 1e-7, bound: float | None = None) -> Drift:
    """Return a comparison in which differences grow from step to step, to these at the end."""
    runs = [
        {measure: {step: share * step / 50 for step in STEPS} for measure in MEASURES}
        | {measure: {1: share / 50} for measure in TRAINED}
        for share in (ours, own)
    ]
    return Drift({"scratch": runs[0]}, {"torch on 1 thread": runs[1]}, bound, rounding)


@pytest.mark.parametrize("ours", [0.0, 1e-4, 9e-3])
def test_differences_like_torchs_own_are_none(ours: float) -> None:
    compared = drift(ours, 1e-3)
    assert compared.is_torchs_own
    than = "10 times torch's own, or what rounding explains" if ours > 1e-3 else "torch's own"
    assert compared.verdict == (
        f"no difference beyond {than}, in other orders of summation, within 50 steps: "
        + ", ".join(f"{measure} by {ours:.1e} against 1.0e-03" for measure in MEASURES)
        + "; nor with the trained weights: "
        + ", ".join(f"{measure} by {ours / 50:.1e} against 2.0e-05" for measure in TRAINED)
    )


def test_what_a_steps_rounding_explains_is_no_difference() -> None:
    assert drift(4e-6, 0.0).is_torchs_own
    assert not drift(6e-6, 0.0).is_torchs_own


@pytest.mark.parametrize("wrong", [0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("measure", MEASURES)
def test_the_first_step_beyond_is_said(measure: str, wrong: float) -> None:
    compared = drift(1e-3, 1e-3)
    measured = compared.backends["scratch"]
    jumping = {step: wrong if step >= 7 else value for step, value in measured[measure].items()}
    compared = replace(compared, backends={"scratch": {**measured, measure: jumping}})
    assert not compared.is_torchs_own
    assert compared.verdict == (
        f"a difference: {measure} of scratch and torch differ by {wrong:.1e} within 7 steps, where torch "
        "differs from itself, in other orders of summation, by 1.4e-04"
    )


@pytest.mark.parametrize("measure", TRAINED)
def test_a_difference_of_trained_networks_is_said(measure: str) -> None:
    compared = drift(1e-3, 1e-3)
    measured = {**compared.backends["scratch"], measure: {1: 3e-4}}
    compared = replace(compared, backends={"scratch": measured})
    assert not compared.is_torchs_own
    assert compared.verdict == (
        f"a difference: {measure} of scratch and torch differ by 3.0e-04 with the weights that it has "
        "trained, where torch differs from itself, in other orders of summation, by 2.0e-05"
    )


def test_the_first_steps_are_said_before_what_is_trained() -> None:
    compared = drift(1e-3, 1e-3)
    measured = {**compared.backends["scratch"], "losses": {1: 0.0, 9: 1.0}, "gradients": {1: 1.0}}
    compared = replace(compared, backends={"scratch": measured})
    assert " within 9 steps, " in compared.verdict
    measured["losses"] = {1: 1.0}
    compared = replace(compared, backends={"scratch": measured})
    assert " within 1 step, " in compared.verdict


def test_in_float64_losses_have_a_bound_besides() -> None:
    assert drift(1e-9, 1e-9, bound=1e-8).within_bound
    compared = drift(2e-8, 1e-8, bound=1e-8)
    assert not compared.is_torchs_own
    assert compared.verdict.startswith(
        "a difference: losses are beyond the bound of 1e-08, though none is beyond"
    )


def test_relative_differences_are_those_of_norms() -> None:
    assert relative_difference([3, 4], [3, 4]) == 0
    assert relative_difference([0, 0], [0, 0]) == 0
    assert relative_difference([3, 4], [3, 5]) == pytest.approx(0.2)
    assert relative_difference(2.0, 1.0) == 0.5
    assert relative_difference([0], [1]) == float("inf")
