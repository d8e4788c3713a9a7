"""Modes and tensor subclasses see torch's own functions with torch's arguments; NumPy computes beneath."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.masked import masked_tensor
from torch.overrides import TorchFunctionMode, resolve_name

import scratch_conv as sc
import scratch_conv.autograd


def described(argument: Any) -> Any:
    return tuple(argument.shape) if isinstance(argument, Tensor) else argument


class Watch(TorchFunctionMode):
    """Note each call, and pass it on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {name: described(value) for name, value in (kwargs or {}).items()}
        self.seen.append((resolve_name(func), tuple(map(described, args)), given))
        return func(*args, **(kwargs or {}))


class Logged(Tensor):
    """A subclass that notes each call, and passes it on."""

    seen: list[Any]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {name: described(value) for name, value in (kwargs or {}).items()}
        with torch._C.DisableTorchFunctionSubclass():
            cls.seen.append((resolve_name(func), tuple(map(described, args)), given))
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def by_mode(program: Callable[[Tensor], Any], x: Tensor) -> list[Any]:
    with Watch() as watch:
        program(x)
    return watch.seen


def by_subclass(program: Callable[[Tensor], Any], x: Tensor) -> list[Any]:
    Logged.seen = []
    assert isinstance(program(x.as_subclass(Logged)), Logged)
    return Logged.seen


def operators(program: Callable[[], Any]) -> set[str]:
    with torch.profiler.profile() as profile:
        program()
    return {event.key for event in profile.key_averages()}


FUNCTIONS = {name for name, value in vars(scratch_conv.autograd).items() if isinstance(value, type)}


def by_numpy(program: Callable[[], Any]) -> bool:
    return any(name in FUNCTIONS or name.startswith("scratch_conv::") for name in operators(program))


LAYERS: list[Any] = [
    (lambda lib: lib.Conv2d(3, 4, 3, padding="same"), (2, 3, 4, 4)),
    (lambda lib: lib.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (2, 3, 4, 4)),
    (lambda lib: lib.Conv1d(3, 4, 3), (2, 3, 4)),
    (lambda lib: lib.ConvTranspose2d(3, 4, 3), (2, 3, 4, 4)),
    (lambda lib: lib.Conv3d(3, 4, 2, padding=1, padding_mode="replicate"), (2, 3, 4, 4, 4)),
    (lambda lib: lib.ConvTranspose1d(3, 4, 3), (2, 3, 4)),
    (lambda lib: lib.ConvTranspose3d(3, 4, 2), (2, 3, 4, 4, 4)),
    (lambda lib: lib.BatchNorm2d(3), (2, 3, 4, 4)),
    (lambda lib: lib.BatchNorm1d(3, momentum=None), (4, 3)),
    (lambda lib: lib.ReLU(inplace=True), (2, 3)),
    (lambda lib: lib.MaxPool2d(2), (2, 3, 4, 4)),
    (lambda lib: lib.AvgPool2d(2), (2, 3, 4, 4)),
    (lambda lib: lib.AdaptiveAvgPool2d((1, None)), (2, 3, 4, 4)),
    (lambda lib: lib.MaxPool3d(2), (3, 4, 4, 4)),
    (lambda lib: lib.AvgPool1d(2), (2, 3, 4)),
    (lambda lib: lib.AdaptiveMaxPool2d(2), (2, 3, 4, 4)),
    (lambda lib: lib.Dropout(0.5), (2, 3)),
    (lambda lib: lib.Dropout2d(0.5), (2, 3, 4, 4)),
    (lambda lib: lib.Linear(3, 4), (2, 3)),
    (lambda lib: lib.Softmax(1), (2, 3)),
    (lambda lib: lib.LogSoftmax(1), (2, 3)),
]


@pytest.mark.parametrize("observe", [by_mode, by_subclass])
@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_every_kind_of_layer_shows_torchs_calls(number: int, observe: Any) -> None:
    make, shape = LAYERS[number]
    x = torch.randn(shape)
    expected = observe(make(nn), x)
    assert expected
    assert observe(make(sc.nn), x) == expected
    layer = make(nn)
    sc.swap(layer)
    assert observe(layer, x) == expected
    plain = make(nn)
    with sc.override():
        assert observe(plain, x) == expected
    assert by_numpy(lambda: observe(layer, x))


def test_modes_around_override_see_torchs_calls_too() -> None:
    x = torch.randn(2, 3, 4, 4)
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    expected = by_mode(layer, x)

    def overridden(x: Tensor) -> None:
        with sc.override():
            layer(x)

    assert by_mode(overridden, x) == expected
    assert "scratch_conv::conv2d" in operators(lambda: by_mode(overridden, x))
    with sc.override():
        assert by_mode(overridden, x) == expected


CALLS: list[Any] = [
    lambda lib, x, w: lib.conv2d(x, w, padding=1),
    lambda lib, x, w: lib.conv_transpose2d(x, w),
    lambda lib, x, w: lib.conv1d(x[:, :, 0], w[:, :, 0]),
    lambda lib, x, w: lib.conv3d(x[None], w[:, :2, None]),
    lambda lib, x, w: lib.conv_transpose1d(x[:, :, 0], w[:, :, 0]),
    lambda lib, x, w: lib.conv_transpose3d(x[None], w[:2, :, None]),
    lambda lib, x, w: lib.batch_norm(x, None, None, training=True),
    lambda lib, x, w: lib.relu(x),
    lambda lib, x, w: lib.max_pool2d(x, 2),
    lambda lib, x, w: lib.avg_pool2d(x, 2),
    lambda lib, x, w: lib.adaptive_avg_pool2d(x, 2),
    lambda lib, x, w: lib.max_pool3d(x, 2),
    lambda lib, x, w: lib.avg_pool1d(x[0], 2),
    lambda lib, x, w: lib.adaptive_max_pool2d(x, 2),
    lambda lib, x, w: lib.max_unpool2d(x, x.argsort(-1), 2),
    lambda lib, x, w: lib.dropout(x, 0.5),
    lambda lib, x, w: lib.dropout2d(x, 0.5),
    lambda lib, x, w: lib.linear(x, w[0, 0]),
    lambda lib, x, w: lib.softmax(x, 1),
    lambda lib, x, w: lib.log_softmax(x, dim=1),
    lambda lib, x, w: lib.cross_entropy(x, x),
]


@pytest.mark.parametrize("observe", [by_mode, by_subclass])
@pytest.mark.parametrize("function", CALLS)
def test_functions_show_themselves_as_torchs(function: Any, observe: Any) -> None:
    x, w = torch.randn(2, 3, 4, 4), torch.randn(3, 3, 4, 4)
    expected = observe(lambda x: function(F, x, w), x)
    assert observe(lambda x: function(sc.functional, x, w), x) == expected
    assert by_numpy(lambda: observe(lambda x: function(sc.functional, x, w), x))


def test_flatten_shows_itself_as_torchs() -> None:
    for observe in (by_mode, by_subclass):
        seen = observe(lambda x: sc.functional.flatten(x, 1), torch.ones(2, 3, 4))
        assert seen == observe(lambda x: torch.flatten(x, 1), torch.ones(2, 3, 4))


@pytest.mark.parametrize("name", ["relu", "softmax", "batch_norm", "max_pool2d", "linear"])
def test_a_function_that_a_tool_put_in_torchs_place_is_called_once_and_computed_by_numpy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    original = getattr(F, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return original(*args, **kwargs)

    layers = [nn.ReLU(), nn.Softmax(1), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.Linear(4, 2)]
    layer = next(each for each in layers if type(each).__name__.lower().startswith(name.replace("_", "")))
    x = torch.randn(2, 3, 4, 4)
    monkeypatch.setattr(F, name, counted)
    expected = layer.eval()(x)
    sc.swap(layer)
    torch.testing.assert_close(layer(x), expected)
    assert calls == [name, name]
    assert by_numpy(lambda: layer(x))


class Handled(Tensor):
    """A subclass that handles convolutions itself, and calls other functions of torch's on plain tensors."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.conv2d:
            with torch._C.DisableTorchFunctionSubclass():
                return F.conv_transpose2d(*(arg.as_subclass(Tensor) for arg in args[:2]))
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def test_what_a_handler_calls_in_turn_is_computed_by_numpy() -> None:
    layer = nn.Conv2d(1, 1, 2)
    x = torch.ones(1, 1, 3, 3).as_subclass(Handled)
    for change in (sc.restore, sc.swap):
        change(layer)
        assert layer(x).shape == (1, 1, 4, 4)
    names = operators(lambda: layer(x))
    assert "scratch_conv::conv_transpose2d" in names
    assert "aten::conv_transpose2d" not in names


class Failing(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.relu:
            raise ArithmeticError
        return func(*args, **(kwargs or {}))


def test_an_exception_leaves_the_modes_as_they_were() -> None:
    layer = nn.ReLU()
    sc.swap(layer)
    with Watch() as watch, Failing():
        with pytest.raises(ArithmeticError):
            layer(torch.ones(2))
        seen = len(watch.seen)
        torch.ones(2).add(1)
        assert len(watch.seen) == seen + 2
    assert not by_numpy(lambda: F.relu(torch.ones(2)))


def test_a_default_device_is_a_mode_that_changes_nothing() -> None:
    layer = nn.Sequential(nn.Conv2d(1, 1, 2), nn.Dropout(0.5))
    sc.swap(layer)
    with torch.device("cpu"):
        torch.manual_seed(0)
        got = layer(torch.ones(1, 1, 3, 3))
    torch.manual_seed(0)
    assert torch.equal(layer(torch.ones(1, 1, 3, 3)), got)


@pytest.mark.filterwarnings("ignore:.*nested tensors")  # once in a process
def test_a_layer_of_other_storage_is_left_to_torch_when_it_is_called() -> None:
    layer = nn.ReLU()
    sc.swap(layer)
    x = torch.tensor([[-1.0, 2.0], [3.0, -4.0]])
    ragged = torch.nested.nested_tensor([x, x[:1]])
    for unlike in (x.to_sparse(), ragged):
        assert type(layer(unlike)) is type(unlike)
        assert layer(unlike).layout == unlike.layout
        assert layer(unlike).is_nested == unlike.is_nested
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        assert torch.equal(layer(x.to_mkldnn()).to_dense(), x.relu())


@pytest.mark.filterwarnings("ignore:.*prototype")  # torch's own
def test_a_masked_tensor_is_left_to_torch() -> None:
    x: Any = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    masked: Any = masked_tensor(x, x > 1.5)
    expected: Any = F.softmax(masked, 1)
    layer = nn.Softmax(1)
    sc.swap(layer)
    with sc.override():
        results = [layer(masked), sc.functional.softmax(masked, 1), masked.softmax(1)]
    for result in results:
        assert type(result) is type(expected)
        assert torch.equal(result.to_tensor(0.0), expected.to_tensor(0.0))


class Scaled(Tensor):
    """A weight that is kept in another form, and is multiplied by operators of its own."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, values: Tensor) -> Any:
        self: Any = Tensor._make_wrapper_subclass(cls, values.shape, dtype=torch.float32)
        self.kept = values.float()
        return self

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if func is torch.ops.aten.detach.default:
            return Scaled(args[0].kept)
        plain = [getattr(arg, "kept", arg) for arg in args]
        return func(*plain, **(kwargs or {}))


def test_a_weight_with_operators_of_its_own_is_left_to_torch() -> None:
    layer: Any = nn.Linear(2, 2, bias=False)
    x = torch.ones(1, 2)
    sc.swap(layer)
    layer.weight = nn.Parameter(Scaled(torch.tensor([[1, 2], [3, 4]], dtype=torch.int8)), requires_grad=False)
    assert torch.equal(layer(x), torch.tensor([[3.0, 7.0]]))
    assert torch.equal(sc.functional.linear(x, layer.weight), torch.tensor([[3.0, 7.0]]))
