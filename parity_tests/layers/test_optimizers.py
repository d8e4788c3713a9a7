"""The optimisers take torch's steps."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv.layers import SGD, Adam, BatchNorm2D, Dense, ReLU, Sequential


def steps_of(ours: Any, torchs: Any, options: dict[str, Any], seed: int) -> None:
    """Pass both the same five gradients, and compare the weights after each step."""
    rng = np.random.default_rng(seed)
    layer = Dense(3, 4, rng=rng, dtype=np.float64)
    weights = [torch.tensor(array, requires_grad=True) for array in layer.parameters.values()]
    mine, theirs = ours(layer, **options), torchs(weights, **options)
    for _ in range(5):
        layer.grad_weight, layer.grad_bias = rng.standard_normal((4, 3)), rng.standard_normal(4)
        for weight, gradient in zip(weights, layer.gradients.values(), strict=True):
            weight.grad = torch.tensor(gradient)
        mine.step()
        theirs.step()
        for weight, array in zip(weights, layer.parameters.values(), strict=True):
            np.testing.assert_allclose(array, weight.detach().numpy(), rtol=1e-12, atol=1e-14)


@given(
    lr=st.floats(1e-4, 1),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    weight_decay=st.sampled_from([0.0, 1e-4, 0.1]),
    seed=st.integers(0, 99),
)
def test_sgd(lr: float, momentum: float, weight_decay: float, seed: int) -> None:
    steps_of(SGD, torch.optim.SGD, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}, seed)


@given(
    lr=st.floats(1e-4, 1),
    betas=st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)]),
    eps=st.sampled_from([1e-8, 1e-3]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 99),
)
def test_adam(lr: float, betas: tuple[float, float], eps: float, weight_decay: float, seed: int) -> None:
    steps_of(
        Adam, torch.optim.Adam, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, seed
    )


def test_parameters_keep_their_precision() -> None:
    layer = Dense(3, 4)
    layer.backward(np.ones_like(layer.forward(np.ones((2, 3)))))  # in float64, as x is
    for optimizer in (SGD(layer, momentum=0.9), Adam(layer)):
        optimizer.step()
        assert layer.weight.dtype == np.float32


def test_adams_defaults_are_torchs() -> None:
    steps_of(Adam, torch.optim.Adam, {}, 0)


@pytest.mark.parametrize("make", [lambda layer: SGD(layer, momentum=0.9), Adam])
def test_an_optimizer_goes_on_from_its_state(make: Any) -> None:
    rng = np.random.default_rng(0)
    layer = Dense(3, 4, rng=rng, dtype=np.float64)
    optimizer = make(layer)

    def steps(optimizer: Any, layer: Dense, seed: int) -> None:
        drawn = np.random.default_rng(seed)
        for _ in range(200):  # past what an int8 counts
            layer.grad_weight, layer.grad_bias = drawn.standard_normal((4, 3)), drawn.standard_normal(4)
            optimizer.step()

    steps(optimizer, layer, 1)
    other = deepcopy(layer)
    resumed = make(other)
    for name, array in optimizer.state.items():
        resumed.state[name][...] = array
    steps(optimizer, layer, 2)
    steps(resumed, other, 2)
    for name, array in layer.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], array)


@pytest.mark.parametrize("make", [lambda layer: SGD(layer, momentum=0.9), Adam])
def test_a_step_without_gradients_is_refused_and_changes_nothing(make: Any) -> None:
    optimizer = make(Sequential(ReLU(), Dense(3, 4)))
    before = deepcopy(optimizer.state)
    with pytest.raises(RuntimeError, match=r"Dense\(.*\): has no gradients before a backward pass"):
        optimizer.step()
    for name, array in optimizer.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_weight_decay_leaves_the_gradients_alone() -> None:
    layer = Dense(3, 4)
    layer.backward(np.ones_like(layer.forward(np.ones((2, 3), np.float32))))
    before = layer.grad_weight.copy()
    for optimizer in (SGD(layer, weight_decay=0.1), Adam(layer, weight_decay=0.1)):
        optimizer.step()
        np.testing.assert_array_equal(layer.grad_weight, before)


def test_statistics_keep_their_precision() -> None:
    layer = BatchNorm2D(2)
    x = np.random.default_rng(0).standard_normal((3, 2, 4, 4))
    assert layer.forward(x).dtype == np.float64
    assert [array.dtype for array in layer.state.values()] == [np.float32] * 4 + [np.int64]
    mean, variance = layer.running_mean.astype(np.float64), layer.running_var.astype(np.float64)
    expected = (x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
    np.testing.assert_allclose(layer.eval().forward(x), expected, rtol=1e-12)


@pytest.mark.parametrize("make", [SGD, Adam])
def test_what_is_no_network_or_no_number_is_refused(make: Any) -> None:
    network = Sequential(Dense(3, 4))
    with pytest.raises(
        TypeError, match=rf"the network itself, as in {make.__name__}\(network, lr=0\.01\); got dict"
    ):
        make(network.parameters)
    with pytest.raises(TypeError, match=r"lr must be a number; got '0\.1'"):
        make(network, lr="0.1")
    with pytest.raises(ValueError, match="lr must be a number of at least 0; got nan"):
        make(network, lr=float("nan"))
