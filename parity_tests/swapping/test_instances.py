"""A swapped layer is an instance of torch's class: what copies, saves, wraps and inspects it finds one."""

import copy
import gc
import inspect
import io
import pickle
import subprocess
import sys
import weakref
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

import scratch_conv as sc


class Slotted(nn.Conv2d):
    """A user's layer with slots beside the instance's dictionary."""

    __slots__ = ("extra",)


class Standardized(nn.Conv2d):
    """A convolution by a standardized weight (Qiao et al., Weight standardization, 2019)."""

    def forward(self, input: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        rows = F.batch_norm(rows, None, None, training=True)
        return F.conv2d(input, rows.reshape_as(self.weight), self.bias, self.stride)


class SamePadded(nn.Conv2d):
    """A convolution that pads by its stride, at the right and below."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padded = F.pad(input, (0, self.stride[1], 0, self.stride[0]))
        return super()._conv_forward(padded, weight, bias)


class Activated(nn.BatchNorm2d):
    """Batch normalization and an activation behind it, with a layer inside."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:
        return self.act(super().forward(input))


OWN_FORWARDS: dict[str, Any] = {
    "standardized": lambda: Standardized(2, 4, 3, 2),
    "same-padded": lambda: SamePadded(2, 4, 3, 2),
    "activated": lambda: Activated(2),
}


def swapped(layer: nn.Module) -> Any:
    assert sc.swap(layer).swapped == ("",)
    return layer


def computes(layer: nn.Module, x: Tensor) -> bool:
    """Return whether NumPy computes a layer."""
    with torch.profiler.profile() as profile:
        layer(x)
    return any(event.key.startswith("scratch_conv::") for event in profile.key_averages())


COPIES: list[Any] = [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_is_computed_by_its_own_attributes(copied: Any) -> None:
    layer = swapped(nn.Conv2d(2, 2, 2))
    x = torch.randn(1, 2, 6, 6)
    other = copied(layer)
    assert sc.is_swapped(other)
    assert torch.equal(other(x), layer(x))
    other.stride = (2, 2)
    assert (other(x).shape, layer(x).shape) == ((1, 2, 3, 3), (1, 2, 5, 5))
    assert computes(other, x)
    sc.restore(layer)
    assert (sc.is_swapped(layer), sc.is_swapped(other)) == (False, True)
    assert computes(other, x)
    assert not computes(layer, x)
    sc.restore(other)
    assert vars(other).keys() == vars(layer).keys() == vars(nn.Conv2d(2, 2, 2)).keys()


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_of_a_layer_in_evaluation_is_trained_alone(copied: Any) -> None:
    layer = swapped(nn.Dropout(0.5)).eval()
    other = copied(layer).train()
    x = torch.ones(99)
    assert layer(x) is x
    assert (other(x) == 0).any()


def test_a_saved_layer_is_swapped_where_it_is_loaded(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.LogSigmoid(), nn.Flatten(), nn.LazyLinear(2))
    sc.swap(model)
    x = torch.randn(1, 1, 3, 3)
    torch.save((model, x, model(x)), tmp_path / "model.pt")
    program = """
import sys, torch
model, x, y = torch.load(sys.argv[1], weights_only=False)
import scratch_conv as sc
print([sc.is_swapped(layer) for layer in model], torch.equal(model(x), y))
"""
    run = [sys.executable, "-c", program, str(tmp_path / "model.pt")]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert printed == "[True, False, True, True] True\n"


def test_a_state_dict_holds_weights_alone() -> None:
    file = io.BytesIO()
    torch.save(swapped(nn.Linear(2, 2)).state_dict(), file)
    file.seek(0)
    nn.Linear(2, 2).load_state_dict(torch.load(file, weights_only=True))


def test_a_swapped_model_is_freed() -> None:
    gc.collect()
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
    sc.swap(model)
    model(torch.ones(1, 1, 2, 2)).sum().backward()
    alive = [weakref.ref(module) for module in model.modules()]
    del model
    gc.collect()
    assert not any(reference() for reference in alive)


@pytest.mark.parametrize(
    ("make", "becomes", "shape"),
    [
        (lambda: nn.LazyLinear(2), nn.Linear, (4, 3)),
        (lambda: nn.LazyBatchNorm1d(), nn.BatchNorm1d, (4, 3)),
        (lambda: nn.LazyBatchNorm2d(), nn.BatchNorm2d, (4, 3, 2, 2)),
        (lambda: nn.LazyBatchNorm3d(), nn.BatchNorm3d, (4, 3, 1, 2, 2)),
        (lambda: nn.LazyInstanceNorm1d(), nn.InstanceNorm1d, (4, 3, 2)),
        (lambda: nn.LazyConv1d(2, 1), nn.Conv1d, (4, 3, 2)),
        (lambda: nn.LazyConv2d(2, 1), nn.Conv2d, (4, 3, 2, 2)),
        (lambda: nn.LazyConvTranspose2d(2, 1), nn.ConvTranspose2d, (4, 3, 2, 2)),
        (lambda: nn.LazyConv3d(2, 1), nn.Conv3d, (4, 3, 2, 2, 2)),
        (lambda: nn.LazyConvTranspose1d(2, 1), nn.ConvTranspose1d, (4, 3, 2)),
        (lambda: nn.LazyConvTranspose3d(2, 1), nn.ConvTranspose3d, (4, 3, 2, 2, 2)),
    ],
)
def test_lazy_layers_of_every_kind_stay_swapped(make: Any, becomes: Any, shape: Any) -> None:
    layer, x = swapped(make()), torch.randn(shape)
    other = make()
    sc.swap(other)
    torch.manual_seed(0)
    y = layer(x)
    assert type(layer) is becomes
    assert sc.is_swapped(layer)
    assert computes(layer, x)
    sc.restore(other)
    torch.manual_seed(0)
    torch.testing.assert_close(other(x), y)
    assert not computes(other, x)


def test_a_subclass_with_slots_is_swapped() -> None:
    layer: Any = Slotted(1, 1, 1)
    layer.extra = 3
    swapped(layer)
    assert computes(layer, torch.ones(1, 1, 2, 2))
    sc.restore(layer)
    assert (type(layer), layer.extra) == (Slotted, 3)


@pytest.fixture(params=OWN_FORWARDS)
def own_forward(request: pytest.FixtureRequest) -> nn.Module:
    """Return a layer with a forward pass of its own."""
    torch.manual_seed(0)
    layer: nn.Module = OWN_FORWARDS[request.param]().double()
    return layer


def differentiated(layer: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    y = layer(x)
    return (y, *torch.autograd.grad(y.pow(2).sum(), [x, *layer.parameters()]))


def test_a_layer_with_a_forward_pass_of_its_own_is_computed_within_it(own_forward: nn.Module) -> None:
    x = torch.randn(3, 2, 8, 7, dtype=torch.float64, requires_grad=True)
    before, keys = differentiated(own_forward, x), own_forward.state_dict().keys()
    report = sc.swap(own_forward)
    assert report.left == ()
    assert [row.own_forward for row in report.rows] == [True, *[False] * (len(report.rows) - 1)]
    assert own_forward.state_dict().keys() == keys
    assert computes(own_forward, x)
    torch.testing.assert_close(differentiated(own_forward, x), before, rtol=1e-11, atol=1e-13)
    for other in [copied(own_forward) for copied in COPIES]:
        assert sc.is_swapped(other)
        assert computes(other, x)
    sc.restore(own_forward)
    assert not computes(own_forward, x)
    assert type(own_forward).__name__ in str(report)


def test_no_operator_of_torchs_computes_a_layer_with_a_forward_pass_of_its_own() -> None:
    layer = swapped(Standardized(2, 4, 3))
    x = torch.randn(3, 2, 8, 7, requires_grad=True)
    with torch.profiler.profile() as profile:
        layer(x).sum().backward()
    names = {event.key for event in profile.key_averages() if event.key.startswith("aten::")}
    assert not [name for name in names if "conv" in name or "batch_norm" in name]


def test_a_layer_with_a_forward_pass_of_its_own_is_verified(own_forward: nn.Module) -> None:
    found = sc.verify(own_forward, torch.randn(3, 2, 8, 7, dtype=torch.float64))
    assert found
    assert found.rows[0].layer == type(own_forward).__name__
    assert not found.rows[0].values.judged
    assert found.rows[0].values.ours < 1e-13


@pytest.mark.parametrize("own_forward", ["standardized", "same-padded"], indirect=True)  # torch traces these
def test_the_forward_pass_of_ones_own_is_traced_with_numpys_calls_in_it(own_forward: nn.Module) -> None:
    x = torch.randn(3, 2, 8, 7, dtype=torch.float64)
    expected = own_forward.eval()(x)
    traced = torch.fx.symbolic_trace(nn.Sequential(swapped_within(own_forward)))
    torch.testing.assert_close(traced(x), expected, rtol=1e-11, atol=1e-13)
    assert computes(traced, x)


def swapped_within(layer: nn.Module) -> nn.Module:
    sc.swap(layer)
    return layer


@pytest.mark.parametrize("name", ["__call__", "_call_impl"])
def test_a_class_that_is_called_in_a_way_of_its_own_is_left_to_torch(name: str) -> None:
    layer = type("Called", (nn.ReLU,), {name: lambda self, x: self.forward(x)})()
    report = sc.swap(layer)
    assert "Called has a forward of its own" in report.rows[0].reason
    assert not sc.is_swapped(layer)


def wrapped(layer: nn.Module, calls: list[str]) -> None:
    """Wrap a layer's forward on the instance, as tools that move weights do."""
    before = layer.forward

    def around(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        calls.append("wrapped")
        return before(*args, **kwargs)

    layer.forward = update_wrapper(partial(around, layer), before)


def test_a_forward_that_is_wrapped_before_the_swap_is_left_to_torch() -> None:
    layer, calls = nn.Conv2d(1, 1, 1), list[str]()
    wrapped(layer, calls)
    report = sc.swap(layer)
    assert report.swapped == ()
    assert "forward of its own" in report.rows[0].reason
    assert not sc.is_swapped(layer)
    sc.restore(layer)
    layer(torch.ones(1, 1, 2, 2))
    assert calls == ["wrapped"]


def test_a_forward_that_is_wrapped_after_the_swap_is_swapped_until_it_is_restored() -> None:
    layer, calls = swapped(nn.Conv2d(1, 1, 1)), list[str]()
    x = torch.ones(1, 1, 2, 2)
    inner = layer.forward
    wrapped(layer, calls)
    assert sc.is_swapped(layer)
    assert computes(layer, x)
    sc.restore(layer)
    assert not sc.is_swapped(layer)
    assert not computes(layer, x)
    assert calls == ["wrapped", "wrapped"]
    layer.forward = inner  # what removes the wrapper again
    assert not computes(layer, x)
    assert computes(swapped(layer), x)


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), nn.CrossEntropyLoss()])
def test_a_swapped_forward_has_torchs_signature(layer: nn.Module) -> None:
    signature = inspect.signature(layer.forward)
    assert inspect.signature(getattr(sc.nn, type(layer).__name__).forward) == inspect.signature(
        type(layer).forward
    )
    swapped(copied := copy.deepcopy(layer))
    assert inspect.signature(copied.forward) == signature
    assert inspect.signature(pickle.loads(pickle.dumps(copied)).forward) == signature


def test_a_swapped_model_is_an_ensemble() -> None:
    models = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double() for _ in range(3)]
    x = torch.randn(5, 3, dtype=torch.float64)
    expected = torch.stack([model(x) for model in models])
    for model in models:
        sc.swap(model)
    parameters, buffers = torch.func.stack_module_state(models)

    def call(parameters: Any, buffers: Any) -> Any:
        return torch.func.functional_call(models[0], (parameters, buffers), (x,))

    got = torch.func.vmap(call)(parameters, buffers)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-13)


def test_a_constructed_layer_is_swapped_and_can_be_restored() -> None:
    layer = sc.nn.Conv2d(1, 1, 1)
    assert sc.is_swapped(layer)
    assert sc.swap(layer).rows[0].reason == "already swapped"
    sc.restore(layer)
    assert type(layer) is nn.Conv2d
    assert not sc.is_swapped(layer)
    parametrised: Any = nn.utils.parametrizations.weight_norm(sc.nn.Conv2d(1, 1, 1))
    assert sc.is_swapped(parametrised)
    sc.restore(parametrised)
    assert not sc.is_swapped(parametrised)
    assert not computes(parametrised, torch.ones(1, 1, 2, 2))
    nn.utils.parametrize.remove_parametrizations(parametrised, "weight")
    assert type(parametrised) is nn.Conv2d


def test_a_users_layer_convolves_by_the_method_that_it_inherits() -> None:
    class Standardised(sc.nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return self._conv_forward(input, self.weight - self.weight.mean(), self.bias)

    assert computes(Standardised(1, 1, 2), torch.ones(1, 1, 3, 3))
