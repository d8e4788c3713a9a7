"""Swapping, restoring, overriding: what changes is who computes, and nothing else."""

import copy
import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import scratch_conv as sc


class OwnForward(nn.Conv2d):
    """A user's layer with a forward pass of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    shared = nn.Conv2d(4, 4, 3, padding=1)
    body = nn.Sequential(shared, nn.ReLU(), shared)
    return nn.Sequential(nn.Conv2d(3, 4, 3), body, nn.MaxPool2d(2), OwnForward(4, 2, 1)).double()


def classes(model: nn.Module) -> list[type]:
    return [type(module) for module in model.modules()]


def gradients(model: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    output = model(x)
    return (output, *torch.autograd.grad(output.pow(2).sum(), tuple(model.parameters())))


def assert_equal_up_to_rounding(ours: tuple[Tensor, ...], torchs: tuple[Tensor, ...]) -> None:
    for got, want in zip(ours, torchs, strict=True):
        assert (got - want).abs().max() <= 1e-13 * want.abs().max()


def test_swap_keeps_everything_but_the_class() -> None:
    model = network()
    calls: list[str] = []
    model[0].register_forward_hook(lambda *_: calls.append("hook"))
    model.eval()
    model.get_parameter("1.0.weight").requires_grad_(False)
    parameters = {name: id(parameter) for name, parameter in model.named_parameters()}
    before, keys, text = classes(model), list(model.state_dict()), repr(model)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    expected = model(x)

    report = sc.swap(model)
    assert report.swapped == ("0", "1.0", "2")
    assert repr(model) == text
    assert list(model.state_dict()) == keys
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == parameters
    assert not any(module.training for module in model.modules())
    assert_equal_up_to_rounding((model(x),), (expected,))
    assert calls == ["hook", "hook"]

    sc.restore(model)
    assert classes(model) == before
    assert torch.equal(model(x), expected)


def test_a_swapped_model_has_torchs_gradients() -> None:
    model = network()
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    expected = gradients(model, x)
    sc.swap(model)
    assert_equal_up_to_rounding(gradients(model, x), expected)


def test_the_report_says_what_was_swapped_and_why_not() -> None:
    model = network()
    text = str(sc.swap(model, exclude="0"))
    assert "3 of" not in text
    assert "2 of 4 layers swapped" in text
    assert "no: excluded" in text
    assert "no: subclass" in text
    assert "OwnForward" in text
    assert "already swapped" in str(sc.swap(model))


@pytest.mark.parametrize(
    ("arguments", "swapped"),
    [
        ({"only": nn.MaxPool2d}, ("2",)),
        ({"only": "1.*"}, ("1.0",)),
        ({"only": [nn.MaxPool2d, "0"]}, ("0", "2")),
        ({"exclude": nn.Conv2d}, ("2",)),
        ({"only": nn.Conv2d, "exclude": "1*"}, ("0",)),
    ],
)
def test_only_and_exclude_select(arguments: dict[str, Any], swapped: tuple[str, ...]) -> None:
    assert sc.swap(network(), **arguments).swapped == swapped


def test_a_single_layer_can_be_swapped() -> None:
    layer = nn.Conv2d(1, 1, 1)
    sc.swap(layer)
    assert type(layer) is sc.nn.Conv2d


@pytest.mark.parametrize("function", [sc.swap, sc.restore])
def test_what_is_not_a_module_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="int"):
        function(3)


@pytest.mark.parametrize("selector", [3, [nn.Conv2d, 3]])
@pytest.mark.parametrize("argument", ["only", "exclude"])
def test_a_selector_of_another_type_is_refused_before_anything_is_swapped(
    argument: str, selector: Any
) -> None:
    model = network()
    before = classes(model)
    with pytest.raises(TypeError, match=argument):
        sc.swap(model, **{argument: selector})
    assert classes(model) == before


def test_a_lazy_layer_is_left_alone_and_reported() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.LazyConv2d(4, 3))
    report = sc.swap(model)
    assert report.swapped == ("0",)
    assert "LazyConv2d" in str(report)


def test_a_swapped_copy_is_swapped() -> None:
    model = network()
    sc.swap(model)
    assert classes(copy.deepcopy(model)) == classes(model)


def used(function: Any, *args: Any) -> set[str]:
    with torch.profiler.profile() as profile:
        function(*args)
    return {event.key for event in profile.key_averages()}


CALLS: list[Any] = [
    lambda x, w: F.conv2d(x, w, None, 1, "same"),
    lambda x, w: torch.conv2d(x, w, stride=2),
    lambda x, w: F.max_pool2d(x, 2),
    lambda x, w: F.max_pool2d(x, 2, return_indices=True)[1],
    lambda x, w: F.max_pool2d_with_indices(x, (2, 2))[1],
    lambda x, w: torch.max_pool2d(x, 3, 1, 1),
    lambda x, w: nn.MaxPool2d(2)(x),
    lambda x, w: nn.Conv2d(3, 1, 1, bias=False)(x) * 0,
]


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_override_reaches_calls_in_code_we_do_not_know(number: int) -> None:
    x, w = torch.randint(-3, 4, (2, 3, 6, 6)).float(), torch.randint(-3, 4, (2, 3, 3, 3)).float()
    call = CALLS[number]
    with sc.override():
        assert torch.equal(call(x, w), call(x, w))
        assert any(name.startswith("scratch_conv::") for name in used(call, x, w))
    assert not any(name.startswith("scratch_conv::") for name in used(call, x, w))
    expected = call(x, w)
    with sc.override(), sc.override():
        assert torch.equal(call(x, w), expected)


def test_override_ends_with_an_exception_and_stays_in_its_thread() -> None:
    x, w = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)

    def fail() -> None:
        with sc.override():
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert "scratch_conv::conv2d" not in used(F.conv2d, x, w)
    names: list[set[str]] = []
    with sc.override():
        thread = threading.Thread(target=lambda: names.append(used(F.conv2d, x, w)))
        thread.start()
        thread.join()
    assert "scratch_conv::conv2d" not in names[0]
