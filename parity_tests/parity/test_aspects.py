"""A fault in one aspect does not hide another."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity import check
from scratch_conv.parity.catalogue import FAULTS
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.drawing.claims import Supports, parse_supports
from scratch_conv.parity.operators import OPERATORS
from scratch_conv.parity.reporting.aspects import KINDS
from scratch_conv.parity.reporting.features import features_of
from scratch_conv.parity.searching import sampled

ROWS = {"unbatched": False, "further_axes": False, "second_derivatives": False}


def _halved_weight(b: Backward) -> Gradients:
    return [b.right[0], b.right[1] / 2, *b.right[2:]]


def _wrong_thrice(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply; the gradient of the weight, NaN and a batch of nothing are wrong."""
    if not input.numel():
        raise IndexError("nothing to multiply")
    output: Tensor = with_gradients(F.linear, _halved_weight)(input, weight, bias)
    return output.nan_to_num(0.0, torch.inf, -torch.inf)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_a_kind_that_is_left_out_are_not_drawn(kind: str) -> None:
    for operator in OPERATORS.values():
        claims = parse_supports({kind: False}, operator.arguments, operator.sizes, operator.signature)
        drawn = sampled(operator.cases(claims), 8, 1)
        assert not [case for case in drawn if kind in features_of(case)], operator.name


@pytest.mark.parametrize("like", ["conv2d", "conv3d", "avg_pool3d", "max_pool3d"])
@pytest.mark.parametrize("name", ["stride", "padding"])
def test_arguments_that_are_left_out_keep_torchs_default_or_are_no_pairs(like: str, name: str) -> None:
    """Those of layers of known networks too."""
    without, square = Supports(without=frozenset({name})), Supports(square=frozenset({name}))
    for claims, feature in ((without, name), (square, f"rectangular.{name}")):
        drawn = sampled(OPERATORS[like].cases(claims), 40, 1)
        assert not [case for case in drawn if feature in features_of(case)]


def test_all_findings_come_in_one_report() -> None:
    report = check(_wrong_thrice, "linear", 200, supports=ROWS)
    assert {name for name, outcome in report.aspects.items() if outcome == "differs"} >= {
        "grad_weight",
        "special_values",
        "empty",
    }, str(report)
    assert report.aspects["values"] == report.aspects["grad_input"] == report.aspects["layouts"] == "passed"
    assert report.aspects["unbatched"] == report.aspects["second_derivatives"] == "not claimed"
    assert str(report).count("also differs: ") == len(report.further) >= 2


def test_the_options_that_leave_out_what_is_not_claimed_are_printed_once() -> None:
    text = str(check(_wrong_thrice, "linear", 200, supports={**ROWS, "special_values": False}))
    (line,) = (line for line in text.splitlines() if line.startswith("all that may be left out"))
    assert {"unbatched", "further_axes", "special_values", "empty"} <= set(line.split()[-1].split(","))


def test_rounding_does_not_hide_a_fault_in_the_same_result() -> None:
    fault = next(each for each in FAULTS if each.name == "winograd-tiles-too-close")
    report = check(fault.candidate, "conv2d", 300)
    assert any("differs by rounding only" in line for line in report.diagnosis)
    assert any(f", {fault.name}: " in line for each in report.further for line in each.diagnosis), str(report)


def test_what_a_candidate_writes_into_is_found_once_whatever_the_kind_of_call() -> None:
    def overwriting(input: Tensor) -> Tensor:
        output = F.relu(input)
        input.data.zero_()
        return output

    report = check(overwriting, "relu", 60)
    assert [name for name, outcome in report.aspects.items() if outcome == "differs"] == ["repeated calls"]
    assert not any("written into" in each.message for more in report.further for each in more.differences)
