"""What is told apart, and what is not."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor

from scratch_conv.parity import Case, Supports, assert_parity, cases
from scratch_conv.parity.candidates.kinds import as_candidate
from scratch_conv.parity.drawing.arrays import Array, Kind
from scratch_conv.parity.judging.compare import Verdict, compare, wrong_elements
from scratch_conv.parity.judging.expect import Expected, using_onednn, worst_share
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.operators.convolution.convolution import convolve_inside


def conv_case(
    kind: Kind = "integers", wanted: tuple[str, ...] = ("input", "weight", "bias"), **keys: Any
) -> Case:
    """Return a convolution of a 2 x 3 x 6 x 5 input."""
    shapes = {"input": (2, 3, 6, 5), "weight": (4, 3, 3, 2), "bias": (4,)}
    arrays = tuple((name, Array(shape, kind, seed=i)) for i, (name, shape) in enumerate(shapes.items()))
    return Case("conv2d", arrays, wanted=wanted, grad_output=Array((), kind, seed=9), **keys)


def found(candidate: Any, case: Case, **claims: Any) -> list[str]:
    """Return the names of what differs."""
    return [each.what for each in judged(candidate, case, **claims).differences]


def judged(candidate: Any, case: Case, **claims: Any) -> Verdict:
    """Return the verdict on a candidate."""
    return compare(as_candidate(candidate, find_operator(case.like)), case, Supports(**claims))


def changed(change: Any) -> Any:
    """Return a convolution whose output is changed."""

    def candidate(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
        output: Tensor = change(F.conv2d(input, weight, bias, **arguments))
        return output

    return candidate


def test_one_wrong_element_of_integers_is_told() -> None:
    def one_off(output: Tensor) -> Tensor:
        bump = torch.zeros_like(output)
        bump[1, 2, 3, 1] = 1e-6 * output.detach().abs().max()
        return output + bump

    verdict = judged(changed(one_off), conv_case(wanted=()))
    assert [each.what for each in verdict.differences] == ["output"]
    assert "1 of 128 elements" in verdict.differences[0].message
    assert "(1, 2, 3, 1)" in verdict.differences[0].message


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_part_in_ten_thousand_is_told_on_normal_numbers(dtype: str) -> None:
    names = ["output", "grad_input", "grad_weight", "grad_bias"]
    assert found(changed(lambda y: y * (1 + 1e-4)), conv_case("normal", dtype=dtype)) == names


def test_float32_in_float64_is_told() -> None:
    assert "output" in found(changed(lambda y: y.float().double()), conv_case("normal", (), dtype="float64"))


def test_the_sign_of_a_zero_is_not_compared() -> None:
    assert not found(changed(lambda y: torch.where(y == 0, -0.0, y)), conv_case(wanted=()))


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_is_told(number: float) -> None:
    assert found(changed(lambda y: y + number), conv_case("normal", ())) == ["output"]


def test_shape_dtype_and_strides_are_told() -> None:
    case = conv_case(wanted=())
    assert "shape" in judged(changed(lambda y: y[..., :-1]), case).differences[0].message
    assert "dtype" in judged(changed(Tensor.double), case).differences[0].message
    strided = changed(lambda y: y.contiguous(memory_format=torch.channels_last))
    assert not found(strided, case)
    assert found(strided, case, memory_format=True) == ["strides"]


def test_what_is_not_a_tensor_is_told() -> None:
    assert found(changed(lambda y: y.detach().numpy()), conv_case(wanted=())) == ["interface"]
    assert found(changed(lambda y: y.to_sparse()), conv_case(wanted=())) in (["result"], ["exception"])


def test_a_missing_gradient_is_told() -> None:
    assert found(changed(Tensor.detach), conv_case()) == ["grad_input"]


def test_a_state_between_calls_is_told() -> None:
    calls: list[int] = []

    def counting(output: Tensor) -> Tensor:
        calls.append(1)
        return output + (len(calls) - 1)

    assert "unrepeated output" in found(changed(counting), conv_case(wanted=()))


def test_in_reduced_precision_what_is_no_worse_than_torch_is_right() -> None:
    value, allowed = torch.tensor([402.0, 402.0, 402.0], dtype=torch.float64), torch.full((3,), 1.6)
    got = torch.tensor([402.0, 400.0, 398.0], dtype=torch.bfloat16)
    none = torch.zeros(3, dtype=torch.bool)
    assert wrong_elements(got, Expected(value, allowed, none)).tolist() == [False, True, True]
    rounding_twice = Expected(value, allowed, none, torch_share=2 / 1.6)
    assert wrong_elements(got, rounding_twice).tolist() == [False, False, True]
    assert worst_share(got[:2], value[:2], allowed[:2]) == pytest.approx(2 / 1.6)


@pytest.mark.parametrize("onednn", [True, False])
def test_torchs_paths_are_right_in_reduced_precision(onednn: bool) -> None:
    """On some processors torch's gradient of this input is 400, where 402 is exact and representable."""
    arrays = (("input", Array((1, 1, 5, 6))), ("weight", Array((2, 1, 3, 4))))
    case = Case("conv2d", arrays, dtype="bfloat16", wanted=("input", "weight"))
    with using_onednn(onednn):
        assert not found(F.conv2d, case)
    assert "output" in found(changed(lambda y: y * 1.1), case)


def test_another_exception_is_told() -> None:
    def angry(*tensors: Tensor, **arguments: Any) -> Tensor:
        raise KeyError("no")

    case = conv_case(wanted=()).changed(stride=0)
    assert found(angry, case) == ["exception"]
    assert found(F.conv2d, case) == []
    assert found(lambda *tensors, **arguments: tensors[0], case) == ["exception"]


@pytest.mark.parametrize("like", ["conv1d", "conv2d"])
def test_the_definition_of_convolution_without_padding_is_torchs(like: str) -> None:
    @given(cases(like, {"special_values": False}))
    def hold(case: Case) -> None:
        assert_parity(convolve_inside, case)

    hold()


def test_a_smoothed_loss_of_weight_0_is_not_a_number_or_infinite() -> None:
    """Torch divides its two parts each, 0 / 0 + c / 0, where a formula divides their sum."""
    arrays = (
        ("input", Array((1, 2))),
        ("target", Array((1,), "classes", high=1, dtype="int64")),
        ("weight", Array((2,), "zeros", positive=True)),
    )
    case = Case("cross_entropy", arrays, (("label_smoothing", 0.5),))
    weight = case.tensors["weight"].make(torch.float32)
    assert weight[0] == 0 < weight[1]

    def giving(number: float) -> Any:
        return lambda *tensors, **arguments: torch.tensor(number)

    for number, differs in ((torch.nan, []), (torch.inf, []), (0.0, ["output"]), (-torch.inf, ["output"])):
        assert found(giving(number), case) == differs


def test_the_statistics_of_a_huge_number_may_overflow() -> None:
    """Torch's own do: the distance from the mean of no numbers is squared."""
    huge = Array((1, 1), "special", high=1, positive=True)
    most = torch.finfo(torch.float32).max
    seed = next(seed for seed in range(100) if replace(huge, seed=seed).make(torch.float32) == most)
    arrays = (("input", replace(huge, seed=seed)), ("weight", Array((1,), "zeros")))
    case = Case("layer_norm", arrays, (("normalized_shape", (1,)),))
    assert case.tensors["weight"].make(torch.float32) == 0
    for candidate in (F.layer_norm, _layer_norm_in_double):
        assert not found(candidate, case)


def _layer_norm_in_double(input: Tensor, weight: Tensor, **arguments: Any) -> Tensor:
    return F.layer_norm(input.double(), weight=weight.double(), **arguments).float()


def test_what_underflows_before_a_large_factor_is_within_the_bound() -> None:
    """Torch divides by a power of 4e20 twice, and multiplies by one of 4e10 then."""
    arguments = (("size", 1), ("alpha", 1.0), ("beta", 2.0))
    for seed in range(40):
        input, gradient = (Array((1, 2, 1), "graded", seed=each) for each in (seed, seed + 1))
        case = Case(
            "local_response_norm", (("input", input),), arguments, wanted=("input",), grad_output=gradient
        )
        assert not found(F.local_response_norm, case)
