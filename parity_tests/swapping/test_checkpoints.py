"""Recomputed under a checkpoint, a gradient is torch's, or the backward pass is refused; never another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError, checkpoint

import scratch_conv as sc

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Dropout(0.4),
    "dropout2d": lambda: nn.Dropout2d(0.4),
    "batch_norm": lambda: nn.BatchNorm2d(3),
    "batch_norm in evaluation": lambda: nn.BatchNorm2d(3).eval(),
    "convolution": lambda: nn.Conv2d(3, 3, 3, padding=1),
    "linear": lambda: nn.Linear(8, 8),
    "softmax": lambda: nn.Softmax(1),
    "max pooling": lambda: nn.MaxPool2d(3, 1, 1),
    "average pooling": lambda: nn.AvgPool2d(2),
    "relu": lambda: nn.ReLU(),
    "relu in place": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(inplace=True)),
}
AFTERWARDS = [lambda y: y, lambda y: torch.tanh(y * 0.3), lambda y: F.conv2d(y, y.new_ones(2, 3, 1, 1))]


def gradients(layer: nn.Module, after: Any, run: Callable[[Any, Tensor], None]) -> list[Tensor | None]:
    torch.manual_seed(0)
    leaf = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    layer.zero_grad()
    run(lambda x: after(layer(x)).sin().sum(), leaf * 1)
    return [leaf.grad, *(parameter.grad for parameter in layer.parameters())]


def plainly(program: Any, x: Tensor) -> None:
    program(x).backward()


def recomputed(**arguments: Any) -> Callable[[Any, Tensor], None]:
    return lambda program, x: checkpoint(program, x, **arguments).backward()


@pytest.mark.parametrize("after", AFTERWARDS)
@pytest.mark.parametrize("kind", LAYERS)
def test_swapped_layers_are_recomputed(kind: str, after: Any) -> None:
    layer = LAYERS[kind]().double()
    expected = gradients(layer, after, plainly)
    sc.swap(layer)
    for form in (False, True):
        got = gradients(layer, after, recomputed(use_reentrant=form))
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_swapped_layer_without_random_numbers_needs_no_generator(p: float, form: bool) -> None:
    layer = nn.Dropout(p).double()
    expected = gradients(layer, torch.tanh, plainly)
    sc.swap(layer)
    got = gradients(layer, torch.tanh, recomputed(use_reentrant=form, preserve_rng_state=False))
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("after", AFTERWARDS)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_region_recomputed_within_override_has_torchs_gradient(kind: str, after: Any) -> None:
    layer = LAYERS[kind]().double()
    expected = gradients(layer, after, plainly)
    for form in (False, True):
        with sc.override():
            got = gradients(layer, after, recomputed(use_reentrant=form))
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("after", AFTERWARDS)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_region_recomputed_after_override_has_torchs_gradient_or_is_refused(kind: str, after: Any) -> None:
    layer = LAYERS[kind]().double()
    expected = gradients(layer, after, plainly)

    def run(program: Any, x: Tensor) -> None:
        with sc.override():
            y = checkpoint(program, x, use_reentrant=form)
        y.backward()

    for form in (False, True):
        try:
            got = gradients(layer, after, run)
        except CheckpointError:
            assert not form
        else:
            torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


class Convolving(torch.autograd.Function):
    """A user's function whose derivative calls torch's functions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return F.conv2d(grad, grad.new_ones(1, 1, 1, 1))


BACKWARDS: list[Any] = [
    lambda y, x: y.backward(),
    lambda y, x: y.backward(gradient=torch.ones(()), retain_graph=True, inputs=[x]),
    lambda y, x: torch.autograd.backward([y], [torch.ones(())]),
    lambda y, x: torch.autograd.grad(y, [x], create_graph=True),
    lambda y, x: torch.autograd.grad(y, x, torch.ones(2), is_grads_batched=True),
]


@pytest.mark.parametrize("backward", BACKWARDS)
def test_override_reaches_the_derivatives_of_functions_that_users_write(backward: Any) -> None:
    x = torch.ones(1, 1, 2, 2, requires_grad=True)
    with sc.override(), torch.profiler.profile() as profile:
        backward(Convolving.apply(x).sum(), x)
    names = {event.key for event in profile.key_averages()}
    assert "scratch_conv::conv2d" in names
    assert "aten::conv2d" not in names


def test_a_backward_pass_within_override_is_refused_as_torchs_is() -> None:
    x = torch.ones(2, requires_grad=True)
    with sc.override():
        for fail in (
            lambda: x.backward(),  # type: ignore[no-untyped-call]  # no number
            lambda: torch.autograd.grad(x.sum(), torch.ones(2, requires_grad=True)),  # not used
            lambda: torch.autograd.backward(torch.ones(())),  # requires no gradient
        ):
            with pytest.raises(RuntimeError):
                fail()
        x.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
