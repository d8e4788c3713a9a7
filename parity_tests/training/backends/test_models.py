"""The networks that can be trained by name."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scratch_conv.training.backends.models import MODELS, build, build_fitting, check_name, initial_network
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.settings import InputError, Settings


@pytest.mark.parametrize(
    ("model", "size", "channels", "parameters"),
    [
        ("simple-cnn", 32, 3, 620_362),
        ("mnist-cnn", 28, 1, 225_034),
        ("small-cnn", 28, 1, 174_554),
        ("dense", 28, 1, 235_146),
        ("vgg", 32, 3, 9_231_114),
        ("resnet20", 32, 3, 269_722),
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


def test_a_shortcut_of_resnet20_takes_every_second_pixel_and_adds_channels_of_zeros() -> None:
    shortcut = MODELS["resnet20"](3, 32, 10).get_submodule("6.downsample")
    x = torch.randn(2, 16, 6, 6)
    assert torch.equal(shortcut(x)[:, :16], x[:, :, ::2, ::2])
    assert shortcut(x)[:, 16:].shape == (2, 16, 3, 3)
    assert not shortcut(x)[:, 16:].any()


def test_a_classifier_of_torchvision_is_built_by_name() -> None:
    check_name("squeezenet1_1")
    assert build("squeezenet1_1", 3, 32, 7)(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


@pytest.mark.parametrize(
    ("model", "channels", "batch", "message"),
    [
        (
            "vit_b_16",
            3,
            2,
            "2 images of 3x32x32: AssertionError: Wrong image height! Expected 224 but got 32!",
        ),
        ("alexnet", 3, 2, "alexnet: cannot be trained on batches of 2 images of 3x32x32: RuntimeError: "),
        ("resnet18", 1, 2, "images of 1x32x32: RuntimeError: .*to have 3 channels, but got 1"),
        ("resnet18", 3, 1, "batches of 1 images .* ValueError: Expected more than 1 value per channel"),
        ("googlenet", 3, 2, "returns GoogLeNetOutputs, not a tensor of scores"),
    ],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
def test_what_does_not_fit_the_images_is_refused(model: str, channels: int, batch: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_fitting(model, channels, 32, 10, batch)


MINE = """
import random
import numpy
import torch
from torch import nn
def sized(channels, size, classes): return nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, classes))
def keyword(*, num_classes=1000, **rest): return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
def bare(): return nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
class Holder: inner = staticmethod(sized)
def wrong(a, b): return None
def nothing(): return 3
def raising(): raise KeyError("a line\\nand another")
def drawn(channels, size, classes):
    network = sized(channels, size, classes)
    nn.init.constant_(network[1].bias, random.random())
    network[1].weight.data = torch.from_numpy(numpy.random.rand(*network[1].weight.shape)).float()
    return network
ready = bare()
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a module of networks to the working directory."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("name", ["sized", "keyword", "bare", "Holder.inner"])
def test_a_network_of_the_users_own_is_called_as_its_signature_allows(name: str) -> None:
    check_name(f"mine:{name}")
    build_fitting(f"mine:{name}", 3, 4, 5, 2)
    assert build(f"mine:{name}", 3, 4, 5).training


@pytest.mark.usefixtures("mine")
def test_a_network_of_the_users_own_begins_alike_by_whatever_it_draws() -> None:
    settings = Settings("shapes", "mine:drawn", 1, 8, 1e-3, 3, "32", 8)
    data = open_images("shapes", None, 8, 0, 8)
    one, same, other = (
        initial_network(replace(settings, seed=seed), data).state_dict() for seed in (3, 3, 4)
    )
    for name, weight in one.items():
        assert torch.equal(weight, same[name])
        assert not torch.equal(weight, other[name])


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:net", "--model nowhere:net: ModuleNotFoundError: No module named 'nowhere'"),
        ("mine:absent", "--model mine:absent: AttributeError: module 'mine' has no attribute 'absent'"),
        ("mine:ready", "--model mine:ready: ready is not a function or class that returns a network"),
        ("mine:wrong", r"--model mine:wrong: TypeError: takes \(a, b\), not num_classes"),
        ("mine:nothing", "--model mine:nothing: TypeError: returned int, not a torch.nn.Module"),
        ("mine:raising", "--model mine:raising: KeyError: "),
        ("mine:bare", "cannot be trained on batches of 2 images of 1x32x32: RuntimeError: "),
    ],
)
def test_a_network_of_the_users_own_that_fails_is_one_line(name: str, message: str) -> None:
    def check() -> None:
        check_name(name)
        build_fitting(name, 1, 32, 5, 2)

    with pytest.raises(InputError, match=message) as caught:
        check()
    assert "\n" not in str(caught.value)
