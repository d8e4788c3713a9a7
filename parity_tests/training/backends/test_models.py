"""The networks that can be trained by name."""

import pytest
import torch

from scratch_conv.training.backends.models import MODELS


@pytest.mark.parametrize(
    ("model", "size", "channels", "parameters"),
    [
        ("simple-cnn", 32, 3, 620_362),
        ("mnist-cnn", 28, 1, 225_034),
        ("small-cnn", 28, 1, 174_554),
        ("dense", 28, 1, 235_146),
    ],
)
def test_the_networks_have_the_stated_parameters(
    model: str, size: int, channels: int, parameters: int
) -> None:
    network = MODELS[model](channels, size, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 10)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (28, 1)])
def test_every_network_takes_every_size(model: str, size: int, channels: int) -> None:
    assert MODELS[model](channels, size, 7)(torch.zeros(1, channels, size, size)).shape == (1, 7)
