"""The bound: every order of summation stays below it, and what is wrong does not."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv.parity.operators.rounding import (
    exactly_summable,
    gamma,
    smallest_subnormal,
    stored_bound,
    sum_bound,
    unit_roundoff,
)

NUMBERS = st.lists(
    st.tuples(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=5
)


def bound_of(x: torch.Tensor, w: torch.Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """Return the exact sum of products and the bound for it."""
    exact = math.fsum(a * b for a, b in zip(x.tolist(), w.tolist(), strict=True))
    magnitude = torch.tensor((x.double().abs() * w.double().abs()).sum().item(), dtype=torch.float64)
    count = torch.tensor(float(len(x)), dtype=torch.float64)
    allowed = sum_bound(torch.tensor(exact, dtype=torch.float64), magnitude, count, dtype)
    return exact, float(allowed)


@given(pairs=NUMBERS)
def test_every_order_of_summation_stays_below_the_bound(pairs: list[tuple[float, float]]) -> None:
    x, w = (torch.tensor(column, dtype=torch.float32) for column in zip(*pairs, strict=True))
    exact, allowed = bound_of(x, w, torch.float32)
    products = list(x * w)
    for order in itertools.islice(itertools.permutations(products), 24):
        total = order[0]
        for product in order[1:]:
            total = total + product
        assert abs(float(total) - exact) <= allowed


def test_an_error_of_one_part_in_ten_thousand_exceeds_the_bound() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).abs()
    exact, allowed = bound_of(x, x, torch.float32)
    assert abs(exact * 1e-4) > allowed


def test_underflow_of_each_product_is_allowed() -> None:
    tiny = torch.full((3,), 2.0**-75)
    exact, allowed = bound_of(tiny, tiny, torch.float32)
    assert float((tiny * tiny).sum()) == 0.0
    assert 0.0 < exact <= allowed < 10 * smallest_subnormal(torch.float32)


def test_nothing_summed_is_allowed_no_error() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    for dtype in (torch.float32, torch.bfloat16, torch.complex64):
        assert float(sum_bound(zero, zero, zero, dtype)) == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_storage_in_a_narrow_dtype_allows_one_rounding_more(dtype: torch.dtype) -> None:
    value = torch.randn(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    none = torch.zeros_like(value)
    allowed = stored_bound(value, none, none, dtype)
    assert ((value.to(dtype).double() - value).abs() <= allowed).all()
    assert (allowed < 2 * unit_roundoff(dtype) * value.abs() + 1e-6).all()


def test_gamma_is_infinite_where_nothing_can_be_said() -> None:
    assert gamma(torch.tensor([2.0**24], dtype=torch.float64), 2.0**-24).isinf().all()


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 2.0**24), (torch.bfloat16, 2.0**8)])
def test_integers_are_exact_up_to_the_precision(dtype: torch.dtype, limit: float) -> None:
    assert exactly_summable(torch.tensor([limit]), dtype)
    assert not exactly_summable(torch.tensor([limit + 1], dtype=torch.float64), dtype)
