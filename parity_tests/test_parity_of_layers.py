"""Our own operators and layers against torch's, on drawn configurations."""

from typing import Any

import pytest
from hypothesis import given

import scratch_conv as sc
from scratch_conv.parity import Case, Supports, assert_parity, cases
from scratch_conv.parity.judging.compare import compare

REAL = ("float32", "float64")
REDUCED = ("float16", "bfloat16")
COMPLEX = ("complex64", "complex128")

FUNCTIONS: dict[str, Any] = {
    "adaptive_avg_pool2d": sc.functional.adaptive_avg_pool2d,
    "avg_pool2d": sc.functional.avg_pool2d,
    "batch_norm": sc.functional.batch_norm,
    "conv1d": sc.functional.conv1d,
    "conv2d": sc.functional.conv2d,
    "conv_transpose2d": sc.functional.conv_transpose2d,
    "cross_entropy": sc.functional.cross_entropy,
    "dropout": sc.functional.dropout,
    "dropout2d": sc.functional.dropout2d,
    "flatten": sc.functional.flatten,
    "linear": sc.functional.linear,
    "log_softmax": sc.functional.log_softmax,
    "max_pool2d": sc.functional.max_pool2d,
    "relu": sc.functional.relu,
    "softmax": sc.functional.softmax,
}
MODULES = {
    "adaptive_avg_pool2d": sc.nn.AdaptiveAvgPool2d,
    "avg_pool2d": sc.nn.AvgPool2d,
    "batch_norm": sc.nn.BatchNorm2d,
    "conv1d": sc.nn.Conv1d,
    "conv2d": sc.nn.Conv2d,
    "conv_transpose2d": sc.nn.ConvTranspose2d,
    "cross_entropy": sc.nn.CrossEntropyLoss,
    "dropout": sc.nn.Dropout,
    "dropout2d": sc.nn.Dropout2d,
    "flatten": sc.nn.Flatten,
    "linear": sc.nn.Linear,
    "log_softmax": sc.nn.LogSoftmax,
    "max_pool2d": sc.nn.MaxPool2d,
    "relu": sc.nn.ReLU,
    "softmax": sc.nn.Softmax,
}


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


@pytest.mark.parametrize("like", FUNCTIONS)
def test_function_gives_torch_values_in_reduced_precision(like: str) -> None:
    """Accumulated in float32 and rounded once, also where torch itself rounds more often."""

    @given(case=cases(like, Supports(dtypes=REDUCED)))
    def rounded_once(case: Case) -> None:
        verdict = compare(FUNCTIONS[like], case)
        assert not verdict.differences
        assert verdict.share <= 1

    rounded_once()


@pytest.mark.parametrize("like", ["conv1d", "conv2d", "conv_transpose2d", "linear"])
def test_function_gives_torch_values_for_complex_numbers(like: str) -> None:
    parity(FUNCTIONS[like], like, Supports(dtypes=COMPLEX, second_derivatives=True))


@pytest.mark.parametrize("like", FUNCTIONS)
def test_function_keeps_the_memory_format_as_torch_does(like: str) -> None:
    parity(FUNCTIONS[like], like, Supports(dtypes=REAL, gradients=False, memory_format=True))


@pytest.mark.parametrize("like", FUNCTIONS)
def test_function_refuses_what_torch_refuses(like: str) -> None:
    parity(FUNCTIONS[like], like, Supports(dtypes=REAL, errors=True), invalid=True)


@pytest.mark.parametrize("like", MODULES)
def test_module_gives_torch_values_and_gradients(like: str) -> None:
    parity(MODULES[like], like, Supports(dtypes=REAL, functional=False))
