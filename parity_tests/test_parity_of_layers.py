"""Our own operators and layers against torch's, on drawn configurations."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings

import scratch_conv as sc
from scratch_conv.parity import Case, Supports, assert_parity, cases
from scratch_conv.parity.candidates.kinds import as_candidate
from scratch_conv.parity.drawing.claims import COMPLEX
from scratch_conv.parity.judging.compare import compare
from scratch_conv.parity.operators import OPERATORS
from scratch_conv.parity.operators.calling import make_values

REAL = ("float32", "float64")
REDUCED = ("float16", "bfloat16")

FUNCTIONS: dict[str, Any] = {like: getattr(sc.functional, like) for like in OPERATORS}
MODULES = {like: getattr(sc.nn, operator.module.__name__) for like, operator in OPERATORS.items()}


def parity(candidate: Any, like: str, supports: Supports, *, invalid: bool = False) -> None:
    """Draw cases and compare."""

    @given(case=cases(like, supports, invalid=invalid))
    def equal(case: Case) -> None:
        assert_parity(candidate, case, supports)

    equal()


@pytest.mark.parametrize("like", FUNCTIONS)
def test_function_gives_torch_values_and_gradients(like: str) -> None:
    parity(FUNCTIONS[like], like, Supports(dtypes=REAL))


@pytest.mark.parametrize("like", FUNCTIONS)
def test_function_gives_torch_second_derivatives(like: str) -> None:
    parity(FUNCTIONS[like], like, Supports(dtypes=REAL, second_derivatives=True))


@pytest.mark.parametrize("like", [like for like in OPERATORS if set(REDUCED) & set(OPERATORS[like].dtypes)])
def test_function_gives_torch_values_in_reduced_precision(like: str) -> None:
    """Accumulated in float32 and rounded once, also where torch itself rounds more often."""
    candidate = as_candidate(FUNCTIONS[like], OPERATORS[like])

    @given(case=cases(like, Supports(dtypes=REDUCED)))
    def rounded_once(case: Case) -> None:
        verdict = compare(candidate, case)
        assert not verdict.differences
        assert verdict.share <= 1

    rounded_once()


@pytest.mark.parametrize("like", [like for like in OPERATORS if set(COMPLEX) <= set(OPERATORS[like].dtypes)])
def test_function_gives_torch_values_for_complex_numbers(like: str) -> None:
    parity(FUNCTIONS[like], like, Supports(dtypes=COMPLEX, second_derivatives=True))


@pytest.mark.parametrize("like", FUNCTIONS)
def test_function_keeps_the_memory_format_as_torch_does(like: str) -> None:
    parity(FUNCTIONS[like], like, Supports(dtypes=REAL, gradients=False, memory_format=True))


@pytest.mark.parametrize("like", FUNCTIONS)
def test_function_refuses_what_torch_refuses(like: str) -> None:
    parity(FUNCTIONS[like], like, Supports(dtypes=REAL, errors=True), invalid=True)


@pytest.mark.parametrize("like", MODULES)
def test_module_is_constructed_as_torchs(like: str) -> None:
    operator = OPERATORS[like]

    @settings(max_examples=max(4, settings().max_examples // 10))
    @given(case=cases(like, Supports(functional=False, empty=False)))
    def alike(case: Case) -> None:
        arguments = operator.constructor(make_values(case).tensors, case.keywords)
        torchs, ours = operator.module(**arguments), MODULES[like](**arguments)
        assert isinstance(ours, operator.module)
        assert repr(ours) == repr(torchs)
        assert ours.state_dict().keys() == torchs.state_dict().keys()

    alike()


@pytest.mark.parametrize("like", MODULES)
def test_module_gives_torch_values_and_gradients(like: str) -> None:
    parity(MODULES[like], like, Supports(dtypes=REAL, functional=False))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize(("shape", "size"), [((1, 1, 2, 2), 0), ((0, 1, 2, 2), 2), ((1, 0, 2, 2), (2, 1))])
def test_adaptive_pooling_of_nothing_takes_any_dtype(
    shape: tuple[int, ...], size: int | tuple[int, int], dtype: torch.dtype
) -> None:
    input = torch.zeros(shape, dtype=dtype)
    expected = torch.nn.functional.adaptive_avg_pool2d(input, size)
    torch.testing.assert_close(sc.functional.adaptive_avg_pool2d(input, size), expected)
