"""Networks translated from torch to NumPy and back: the same values, gradients and weights."""

from collections import OrderedDict
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models.resnet import BasicBlock

import scratch_conv as sc
from scratch_conv.layers import BatchNorm2D, Conv2D, Dense, Flatten, ReLU, ResidualBlock, Sequential
from scratch_conv.training.backends.models import MODELS
from scratch_conv.training.backends.translation import copy_from_torch, copy_to_torch, from_torch, to_torch

NETWORKS: dict[str, Any] = {
    **{name: lambda build=build: build(1, 16, 10) for name, build in MODELS.items() if name != "resnet20"},
    "all layers": lambda: nn.Sequential(
        nn.Conv2d(1, 4, (3, 2), stride=(1, 2), padding=2, dilation=(1, 2), bias=False),
        nn.BatchNorm2d(4, eps=1e-3, momentum=0.3),
        nn.ReLU(),
        nn.BatchNorm2d(4, momentum=None),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding="same", groups=2), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
        nn.AvgPool2d(2, padding=1, count_include_pad=False),
        nn.Sequential(nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh()),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.LazyLinear(5, bias=False),
        nn.LayerNorm(5, eps=1e-3),
        nn.Softmax(dim=1),
    ),
    "residual": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3),
        BasicBlock(4, 4),
        BasicBlock(4, 6, 2, nn.Sequential(nn.Conv2d(4, 6, 1, 2, bias=False), nn.BatchNorm2d(6))),
    ),
    "ours": lambda: nn.Sequential(sc.nn.Conv2d(1, 4, 3), sc.nn.ReLU(), sc.nn.Flatten()),
}


@pytest.fixture(params=NETWORKS)
def module(request: pytest.FixtureRequest) -> nn.Sequential:
    """Return a network of torch's, in float64, with weights and statistics other than the initial ones."""
    torch.manual_seed(0)
    built: nn.Sequential = NETWORKS[request.param]()
    built(torch.randn(5, 1, 16, 16) + 1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return built.double()


def assert_equal(layer: Any, module: nn.Module, *shape: int) -> None:
    """Compare outputs, all gradients and the running statistics, in training and not."""
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    for training in (False, True):
        module.train(training)
        y = module(x)
        module.zero_grad()
        x.grad = None
        dy = torch.randn_like(y)
        y.backward(dy)
        close(layer.train(training).forward(x.detach().numpy()), y)
        close(layer.backward(dy.numpy()), x.grad)
        named = dict(module.named_parameters())
        assert layer.parameters.keys() == named.keys()
        for name, gradient in layer.gradients.items():
            close(gradient, named[name].grad)
        for name, array in layer.state.items():
            close(array, module.state_dict()[name])


def close(array: Any, tensor: Any) -> None:
    """Compare to about the roundings of float64."""
    np.testing.assert_allclose(array, tensor.detach().numpy(), rtol=1e-9, atol=1e-11)


def test_a_network_from_torch_computes_the_same(module: nn.Module) -> None:
    assert_equal(from_torch(module), module, 3, 1, 16, 16)


@given(
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    batch=st.integers(2, 4),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    seed=st.integers(0, 99),
)
def test_a_residual_block_is_torchvisions(
    channels: tuple[int, int], stride: int, batch: int, size: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    block = ResidualBlock(*channels, stride, rng=np.random.default_rng(seed), dtype=np.float64)
    assert_equal(block, to_torch(block), batch, channels[0], *size)


def test_there_and_back_is_the_same_network(module: nn.Sequential) -> None:
    back = to_torch(from_torch(module))
    assert "stride=(1, 1)" not in repr(from_torch(module))
    for name, value in module.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
    if not isinstance(module[0], sc.nn.Conv2d):
        assert repr(back).replace("LazyLinear", "Linear") == repr(module)
    module.eval()
    back.eval()
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(back(x), module(x), rtol=1e-12, atol=1e-12)


def test_weights_move_both_ways_between_networks_that_exist() -> None:
    layer = Sequential(Conv2D(1, 2, 3), BatchNorm2D(2), ReLU(), Flatten(), Dense(8, 3)).eval()
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ).eval()
    x = torch.randn(2, 1, 4, 4)
    copy_to_torch(layer, module)
    first = module(x).detach().numpy()
    np.testing.assert_allclose(layer.forward(x.numpy()), first, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        module.get_parameter("4.bias").add_(1)
    np.testing.assert_allclose(layer.forward(x.numpy()), first, rtol=1e-5, atol=1e-6)  # a copy
    copy_from_torch(layer, module)
    np.testing.assert_allclose(layer.forward(x.numpy()), first + 1, rtol=1e-5, atol=1e-6)
    assert isinstance(layer[0], Conv2D)
    assert layer[0].weight.dtype == np.float32


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU()), "no layer in NumPy for GELU"),
        (nn.Conv2d(1, 2, 3, padding_mode="reflect"), "Conv2D cannot do padding_mode='reflect'"),
        (nn.BatchNorm2d(2, affine=False), "BatchNorm2D cannot do affine=False"),
        (nn.BatchNorm2d(2, track_running_stats=False), "BatchNorm2D cannot do track_running_stats=False"),
        (nn.LayerNorm(2, elementwise_affine=False), "LayerNorm cannot do elementwise_affine=False"),
        (nn.AvgPool2d(2, divisor_override=3), "AvgPool2D cannot do divisor_override=3"),
        (nn.MaxPool2d(2, return_indices=True), "MaxPool2D cannot do return_indices=True"),
        (MODELS["resnet20"](3, 32, 10), "there is no layer in NumPy for Shortcut"),
        (nn.Sequential(nn.ModuleList([nn.ReLU()])), "for ModuleList: of what holds layers, only for nn.Seq"),
    ],
)
def test_what_numpy_has_no_layer_for_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_torch(module)


def test_a_weight_in_two_places_is_refused_and_a_layer_without_weights_is_not() -> None:
    shared, relu = nn.Linear(3, 3), nn.ReLU()
    with pytest.raises(ValueError, match="cannot share a weight"):
        from_torch(nn.Sequential(shared, relu, shared))
    module = nn.Sequential(nn.Linear(3, 3), relu, nn.Linear(3, 3), relu).double()
    assert_equal(from_torch(module), module, 4, 3)


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weight has shape \(4, 3\) in NumPy, \(3, 4\) in torch"):
        copy_from_torch(Dense(3, 4), nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"bias has shape none in NumPy, \(4,\) in torch"):
        copy_to_torch(Dense(3, 4, bias=False), nn.Linear(3, 4))


def test_every_layer_keeps_its_own_mode() -> None:
    module = nn.Sequential(nn.BatchNorm2d(2), BasicBlock(2, 2), nn.Dropout())
    module.get_submodule("0").eval()  # frozen, as in fine-tuning
    module.get_submodule("1.bn2").eval()
    layer = from_torch(module)
    children = {
        f"{index}.{name}": each
        for index, one in layer.children.items()
        for name, each in one.children.items()
    }
    modes = {name: each.training for name, each in {**layer.children, **children}.items()}
    assert [name for name, training in modes.items() if not training] == ["0", "1.bn2"]
    back = dict(to_torch(layer).named_modules())
    assert [name for name, each in back.items() if not each.training] == ["0", "1.bn2"]


def test_a_block_keeps_what_its_layers_are() -> None:
    shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(2, 4, 1, bias=False), nn.BatchNorm2d(4, eps=0.2))
    block = BasicBlock(2, 4, 2, shortcut, norm_layer=partial(nn.BatchNorm2d, eps=0.1, momentum=0.3)).double()
    layer = from_torch(block)
    assert_equal(layer, block, 3, 2, 6, 6)
    assert_equal(layer, to_torch(layer), 3, 2, 6, 6)
    block.relu = nn.GELU()
    with pytest.raises(ValueError, match=r"ResidualBlock cannot do GELU"):
        from_torch(block)
    block.relu, block.conv2.padding_mode = nn.ReLU(), "reflect"
    with pytest.raises(ValueError, match=r"Conv2D cannot do padding_mode='reflect'"):
        from_torch(block)


def test_precision_and_mode_are_kept() -> None:
    layer = from_torch(nn.Linear(3, 4).half().eval())
    assert layer.state["weight"].dtype == np.float16
    assert not layer.training
    assert to_torch(ResidualBlock(2, 2, dtype=np.float64)).conv1.weight.dtype == torch.float64  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.filterwarnings("ignore:Implicit dimension choice:UserWarning")
def test_softmax_without_an_axis_takes_torchs(shape: tuple[int, ...]) -> None:
    module, x = nn.Softmax(dim=None), torch.randn(shape, dtype=torch.float64)
    np.testing.assert_allclose(from_torch(module)(x.numpy()), module(x).numpy(), rtol=1e-12)


def test_weights_in_bfloat16_come_in_float32() -> None:
    module = nn.Linear(3, 4, dtype=torch.bfloat16)
    layer = from_torch(module)
    np.testing.assert_array_equal(layer.state["weight"], module.weight.detach().float().numpy(), strict=True)


def test_a_sequence_of_named_layers_becomes_one_of_indices() -> None:
    inner = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(4)))
    module = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 4, 3), inner=inner)).double()
    layer, x = from_torch(module), torch.randn(2, 1, 5, 5, dtype=torch.float64)
    assert list(layer.parameters) == ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    close(layer(x.numpy()), module(x))
    copy_to_torch(layer, module)
    assert set(module.state_dict()) >= {"conv.weight", "inner.norm.running_mean"}
    close(layer.eval()(x.numpy()), module.eval()(x))
