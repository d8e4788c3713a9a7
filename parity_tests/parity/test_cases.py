"""The drawn cases: torch accepts them, claims are kept, and their code makes them again."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv.parity import Case, Supports, assert_parity, cases
from scratch_conv.parity.drawing.arrays import Array
from scratch_conv.parity.drawing.claims import parse_supports
from scratch_conv.parity.drawing.strategies import as_pair
from scratch_conv.parity.judging.expect import expect
from scratch_conv.parity.judging.observe import same_bits
from scratch_conv.parity.operators import OPERATORS


def for_each_case(like: str, supports: Any, test: Any, *, invalid: bool = False) -> None:
    """Run a test on drawn cases."""

    @given(case=cases(like, supports, invalid=invalid))
    def run(case: Case) -> None:
        test(case)

    run()


@pytest.mark.parametrize("like", OPERATORS)
def test_torch_accepts_every_valid_case(like: str) -> None:
    def accepted(case: Case) -> None:
        assert expect(OPERATORS[like], case).error is None

    for_each_case(like, None, accepted)


@pytest.mark.parametrize("like", OPERATORS)
def test_torch_equals_itself(like: str) -> None:
    second = OPERATORS[like].accurate_twice
    claims = Supports(("float32", "float64"), second_derivatives=second, memory_format=True)
    for_each_case(like, claims, lambda case: assert_parity(OPERATORS[like].reference, case, claims))


@pytest.mark.parametrize("like", [like for like in OPERATORS if "float16" in OPERATORS[like].dtypes])
def test_torch_equals_itself_in_reduced_precision(like: str) -> None:
    """Where torch rounds on the way depends on the processor."""
    second = OPERATORS[like].accurate_twice
    claims = Supports(("float16", "bfloat16"), second_derivatives=second, memory_format=True)
    for_each_case(like, claims, lambda case: assert_parity(OPERATORS[like].reference, case, claims))


@pytest.mark.parametrize("like", OPERATORS)
def test_torch_refuses_what_torch_refuses(like: str) -> None:
    claims = Supports(errors=True)
    for_each_case(
        like, claims, lambda case: assert_parity(OPERATORS[like].reference, case, claims), invalid=True
    )


UNREFUSED = ("sigmoid", "tanh")  # they have no argument, and take every dtype that can be drawn


@pytest.mark.parametrize("like", [like for like in OPERATORS if like not in UNREFUSED])
def test_some_invalid_case_is_refused(like: str) -> None:
    refused = []

    def count(case: Case) -> None:
        refused.append(expect(OPERATORS[like], case).error is not None)

    for_each_case(like, Supports(), count, invalid=True)
    assert sum(refused) > len(refused) / 2


def test_what_is_not_claimed_is_not_drawn() -> None:
    claims = {
        "dtypes": "float64",
        "dilation": False,
        "groups": False,
        "rectangular": False,
        "layouts": False,
        "unbatched": False,
        "empty": False,
        "special_values": False,
        "string_padding": False,
        "gradients": False,
    }

    def modest(case: Case) -> None:
        assert case.dtype == "float64"
        assert {"dilation", "groups"}.isdisjoint(case.keywords)
        assert not isinstance(case.keywords.get("padding", 0), str)
        pairs = [as_pair(case.keywords.get(name, 1)) for name in ("stride", "padding")]
        assert all(height == width for height, width in [*pairs, case.tensors["weight"].shape[2:]])
        assert {array.layout for _, array in case.arrays} == {"contiguous"}
        assert len(case.tensors["input"].shape) == 4
        assert 0 not in case.tensors["input"].shape
        assert "special" not in case.kinds()
        assert case.wanted == ()

    for_each_case("conv2d", claims, modest)


@pytest.mark.parametrize("claims", [{"dilations": False}, {"dtypes": ["float8"]}, {"dtypes": []}])
def test_unknown_claims_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="supports"):
        parse_supports(claims, OPERATORS["conv2d"].arguments)


@given(
    array=st.builds(
        Array,
        shape=st.lists(st.integers(0, 5), max_size=4).map(tuple),
        kind=st.sampled_from(["counting", "integers", "normal", "graded", "special", "zeros", "offset"]),
        layout=st.sampled_from(["contiguous", "channels_last", "transposed", "sliced", "expanded"]),
        seed=st.integers(0, 1000),
        positive=st.booleans(),
    ),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
def test_the_code_of_an_array_makes_it_again(array: Array, dtype: torch.dtype) -> None:
    made = array.make(dtype)
    again = eval(array.code(dtype), {"torch": torch})
    assert same_bits(made, again) or (made.isnan() == again.isnan()).all()
    assert made.nan_to_num(7.0).equal(again.nan_to_num(7.0))
    assert tuple(made.shape) == array.shape == tuple(again.shape)
    if made.numel():
        assert made.stride() == again.stride()


@given(case=cases("conv2d"))
def test_the_repr_of_a_case_makes_it_again(case: Case) -> None:
    assert eval(repr(case), {"Case": Case, "Array": Array}) == case
