"""What a candidate claims is found out: what it refuses is left out, and never what it computes wrongly."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity import check, probe


def _square_batches_only(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0
) -> Tensor:
    if isinstance(padding, str) or input.ndim == 3:
        raise TypeError("numbers and batches only")
    if isinstance(stride, tuple) and stride[0] != stride[1]:
        raise ValueError("one stride only")
    return F.conv2d(input, weight, bias, stride, padding)


def _in_float64(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(*(None if each is None else each.double() for each in (input, weight, bias)))  # type: ignore[arg-type]


def _without_groups(input: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    return F.conv2d(input, weight if groups == 1 else 2 * weight, bias, groups=groups)


def test_what_every_call_fails_with_is_left_out_and_the_rest_passes() -> None:
    options = probe(_square_batches_only, "conv2d", time_limit=30.0)
    assert {*options["without"].split(",")} == {"string_padding", "unbatched", "rectangular.stride"}
    assert options["time_limit"] == 30.0
    report = check(_square_batches_only, "conv2d", **options)
    assert report.passed, str(report)


def test_the_dtype_that_is_always_computed_in_is_found() -> None:
    assert probe(_in_float64, "linear") == {"dtypes": "float64"}


def test_what_is_computed_wrongly_is_not_left_out() -> None:
    assert probe(_without_groups, "conv2d") == {}


def test_a_candidate_that_is_right_claims_everything() -> None:
    assert probe(torch.conv2d, "conv2d", without="unbatched") == {"without": "unbatched"}
