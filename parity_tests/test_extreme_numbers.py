"""Numbers at the ends of float32's range, and sums of nothing: what torch computes there."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import scratch_conv as sc

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(SEEDS, st.integers(-38, 30), st.sampled_from(["mean", "sum"]))
@settings(max_examples=50)
def test_weights_of_classes_may_be_tiny_or_huge(seed: int, exponent: int, reduction: str) -> None:
    logits, target = drawn(seed, 4, 3), torch.randint(3, (4,), generator=torch.Generator().manual_seed(seed))
    weight = (drawn(seed, 3).abs() + 0.1) * 10.0**exponent
    losses = [lib.cross_entropy(logits, target, weight, reduction=reduction) for lib in (F, sc.functional)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-43)


@pytest.mark.parametrize("target", [[0, 1], [1, 0], [-100, -100], [2, 2]])
def test_weights_that_cancel_divide_by_zero(target: list[int]) -> None:
    def loss(lib: Any) -> Tensor:
        logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 2.0]])
        result: Tensor = lib.cross_entropy(logits, torch.tensor(target), torch.tensor([1.0, -1.0, 0.0]))
        return result

    torch.testing.assert_close(loss(sc.functional), loss(F), equal_nan=True)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", [(2, 0), (0, 3), (0,), (2, 0, 3)])
def test_probabilities_of_nothing(shape: tuple[int, ...], reduction: str) -> None:
    none = torch.zeros(shape)
    results = [lib.cross_entropy(none, none, reduction=reduction) for lib in (F, sc.functional)]
    torch.testing.assert_close(results[1], results[0], equal_nan=True)


@pytest.mark.filterwarnings("ignore:Anomaly Detection:UserWarning")
def test_no_nan_passes_between_parts_where_all_targets_are_ignored() -> None:
    """As `torch.autograd.detect_anomaly` would refuse."""
    logits = drawn(0, 2, 3).requires_grad_()
    with torch.autograd.detect_anomaly(check_nan=True):
        loss = sc.functional.cross_entropy(logits, torch.tensor([-100, -100]))
        (grad,) = torch.autograd.grad(loss, logits)
    assert not grad.any()


@given(SEEDS, st.integers(-30, 5), st.integers(-46, -1), st.booleans())
@settings(max_examples=50)
def test_batch_norm_adds_any_eps(seed: int, exponent: int, eps: int, training: bool) -> None:
    x, variance = drawn(seed, 4, 2) * 10.0**exponent, drawn(seed + 1, 2).square() * 10.0 ** (2 * exponent)
    x[:, 1] = 1.0  # constant
    outputs = [
        lib.batch_norm(x, torch.zeros(2), variance, training=training, eps=10.0**eps)
        for lib in (F, sc.functional)
    ]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("input", "weight", "arguments"),
    [
        ((1, 0, 4, 4), (2, 0, 3, 3), {}),
        ((1, 0, 4, 4), (2, 0, 3, 3), {"padding": 1, "stride": 2}),
        ((1, 0, 4, 4), (2, 0, 1, 1), {"groups": 2}),
        ((0, 0, 4, 4), (2, 0, 3, 3), {}),
        ((0, 4, 4), (2, 0, 3, 3), {}),
        ((2, 0, 5), (3, 0, 2), {}),
    ],
)
def test_without_input_channels_a_convolution_has_no_output_channels(
    input: tuple[int, ...], weight: tuple[int, ...], arguments: dict[str, int], bias: bool
) -> None:
    results = []
    for lib in (F, sc.functional):
        shapes = (input, weight, (weight[0],)) if bias else (input, weight)
        tensors = [torch.ones(shape, requires_grad=True) for shape in shapes]
        convolve = lib.conv1d if len(weight) == 3 else lib.conv2d
        output = convolve(*tensors, **arguments)
        results.append([output, *torch.autograd.grad(output.sum(), tensors)])
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize(("batch", "error"), [(0, IndexError), (1, RuntimeError)])
def test_a_transposed_convolution_without_output_channels_is_refused(
    batch: int, error: type[Exception]
) -> None:
    for lib in (F, sc.functional):
        with pytest.raises(error):
            lib.conv_transpose2d(torch.ones(batch, 2, 4, 4), torch.ones(2, 0, 3, 3))
