"""Sizes next to the numbers in a candidate's code are drawn too, and the report says so."""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity import check
from scratch_conv.parity.candidates.thresholds import thresholds_of

_BLOCK = 977
_UNUSED = 978


class _Identity(torch.autograd.Function):  # torch gives each such class a number
    __firstlineno__ = 77  # as Python 3.13 does

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        return x[:21]


class _Blocks:
    size = 36
    taken = staticmethod(lambda: 4999)

    def forward(self, x: Tensor) -> Tensor:
        return _in_blocks(x, 5001, 3, -7, 4.0, True, "8")


def _in_blocks(x: Tensor, *_: object) -> Tensor:
    for start in range(0, len(x), _BLOCK):
        x = x[start : start + 64 * 2]
    return x


def wrong_in_the_last_block(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(input, weight, bias) * (2 if input.shape[-1] == _BLOCK + 1 else 1)


def test_the_numbers_of_a_candidate_are_those_of_its_code_and_of_what_that_names() -> None:
    assert thresholds_of(_in_blocks) == (128, 977)
    assert thresholds_of(_Blocks) == (36, 128, 977, 4999)
    assert thresholds_of(_Identity) == (21,)
    assert thresholds_of(functools.partial(_in_blocks, torch.ones(12))) == (128, 977)
    assert thresholds_of(torch.conv2d) == ()


def test_a_fault_at_one_size_is_found_next_to_the_number_in_the_code() -> None:
    report = check(wrong_in_the_last_block, "linear", examples=300)
    assert report.counterexample is not None
    assert report.counterexample.shapes["input"][-1] == _BLOCK + 1
    assert any("next to the numbers in its code" in note and "977" in note for note in report.notes)


def wrong_from_ten_channels_on(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.shape[1] >= 2 * 5:
        weight = torch.cat([weight[:, :9], weight[:, :1], weight[:, 10:]], 1)
    return F.conv2d(input, weight, bias)


def wrong_for_every_size(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(input, weight, bias) + (2.0**-3 if weight.sum() > 3 else 0)


def test_a_report_says_from_which_size_on_a_candidate_is_wrong() -> None:
    report = check(wrong_from_ten_channels_on, "conv2d", examples=300, further=False)
    found = [line for line in report.diagnosis if line.startswith("fails from weight.shape[1] = 10 on")]
    assert found[0].endswith("9 is the largest that passes")


def test_a_report_names_no_size_on_which_nothing_depends() -> None:
    report = check(wrong_for_every_size, "conv2d", examples=300, further=False)
    assert not report.passed
    assert not any("fails from" in line for line in report.diagnosis)
