"""Swapping, restoring, overriding: what changes is who computes, and nothing else."""

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]  # public, but in no __all__
from torch.nn.utils import parametrizations, parametrize

import scratch_conv as sc
import scratch_conv.autograd


class OwnForward(nn.Conv2d):
    """A user's layer with a forward pass of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


class Padded(nn.Conv2d):
    """A user's layer that only changes the constructor."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)
        self.extra = "kept"


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


def test_swap_keeps_everything_but_the_forward_pass() -> None:
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
    assert report.swapped == ("0", "1.0", "1.1", "2", "3")
    assert repr(model) == text
    assert list(model.state_dict()) == keys
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == parameters
    assert not any(module.training for module in model.modules())
    assert_equal_up_to_rounding((model(x),), (expected,))
    assert calls == ["hook", "hook"]
    assert classes(model) == before
    assert [name for name, module in model.named_modules() if sc.is_swapped(module)] == [*report.swapped]

    sc.restore(model)
    assert not any(map(sc.is_swapped, model.modules()))
    assert torch.equal(model(x), expected)


def test_a_swapped_model_has_torchs_gradients() -> None:
    model = network()
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    expected = gradients(model, x)
    sc.swap(model)
    assert_equal_up_to_rounding(gradients(model, x), expected)


def test_the_report_says_what_was_swapped_and_why_not() -> None:
    model = network()
    report = sc.swap(model, exclude="0")
    text = str(report)
    assert "4 of 5 layers swapped" in text
    assert "no: excluded" in text
    assert [row.own_forward for row in report.rows] == [False, False, False, False, True]
    assert "yes, in its own forward pass" in text.splitlines()[-3]
    with pytest.warns(UserWarning, match=r"no layer matches no\.such\.\*"):
        again = str(sc.swap(model, only="0", exclude="no.such.*"))
    assert "1 of 5 layers swapped, 4 were already" in again
    assert "no layer matches no.such.*" in again


def test_the_report_lists_what_stays_torchs() -> None:
    block = [nn.Conv2d(3, 3, 1), nn.LogSigmoid(), nn.Identity(), nn.Sequential()]
    model = nn.Sequential(
        *block, *copy.deepcopy(block), nn.Flatten(), parametrizations.spectral_norm(nn.Embedding(3, 2))
    )
    model.append(nn.MultiheadAttention(4, 2))
    report = sc.swap(model)
    assert report.swapped == ("0", "4", "8")
    assert report.left == ("1", "5", "9", "10", "10.out_proj")
    assert not sc.is_swapped(model.get_submodule("10.out_proj"))
    lines = str(report).splitlines()
    assert [line.split() for line in lines if "LogSigmoid" in line] == [
        *[["1", "and", "1", "more", "LogSigmoid", "0", "no:", "no", "such", "layer", "here"]]
    ]
    assert "MultiheadAttention takes its weights" in lines[-2]
    assert lines[-1] == "3 of 8 layers swapped"


def test_the_out_projection_of_an_attention_that_calls_it_is_swapped() -> None:
    class Attention(nn.MultiheadAttention):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return self.out_proj(x)

    assert sc.swap(nn.Sequential(Attention(4, 2))).swapped == ("0.out_proj",)


@pytest.mark.parametrize("selector", ["conv*", nn.Conv2d, [nn.LogSigmoid, nn.Conv1d]])
@pytest.mark.parametrize("argument", ["only", "exclude"])
def test_a_selector_that_fits_no_layer_is_warned_of(argument: str, selector: Any) -> None:
    model = nn.Sequential(nn.LogSigmoid(), nn.ReLU())
    with pytest.warns(UserWarning, match="no layer matches") as caught:
        sc.swap(model, **{argument: selector})
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("arguments", "swapped"),
    [
        ({"only": nn.MaxPool2d}, ("2",)),
        ({"only": "1.*"}, ("1.0", "1.1")),
        ({"only": [nn.MaxPool2d, "0"]}, ("0", "2")),
        ({"exclude": nn.Conv2d}, ("1.1", "2")),
        ({"only": nn.Conv2d, "exclude": "1*"}, ("0", "3")),
    ],
)
def test_only_and_exclude_select(arguments: dict[str, Any], swapped: tuple[str, ...]) -> None:
    assert sc.swap(network(), **arguments).swapped == swapped


def weight_normed() -> nn.Module:
    return parametrizations.weight_norm(nn.Conv2d(4, 4, 3))


def spectral_normed_subclass() -> nn.Module:
    return parametrizations.spectral_norm(Padded(4))


def weight_normed_by_hooks() -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return torch.nn.utils.weight_norm(nn.Conv2d(4, 4, 3))


def hooked() -> nn.Module:
    layer = nn.Conv2d(4, 4, 3)
    layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 2,))
    return layer


LAYERS = [lambda: Padded(4), weight_normed, spectral_normed_subclass, weight_normed_by_hooks, hooked]


@pytest.mark.parametrize("make", LAYERS)
def test_layers_of_every_make_are_swapped_and_restored(make: Any) -> None:
    layer = make().double().eval()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    cls, text, keys = type(layer), repr(layer), list(layer.state_dict())
    expected = gradients(layer, x)
    assert sc.swap(layer).swapped == ("",)
    operators = used(lambda: assert_equal_up_to_rounding(gradients(layer, x), expected))
    assert "scratch_conv::conv2d" in operators
    assert "aten::convolution" not in operators
    assert (repr(layer), list(layer.state_dict())) == (text, keys)
    assert isinstance(layer, (cls, nn.Conv2d))
    sc.restore(layer)
    assert type(layer) is cls
    assert_equal_up_to_rounding(gradients(layer, x), expected)


@pytest.mark.parametrize("make", [lambda: Padded(4), weight_normed, spectral_normed_subclass])
def test_copies_of_swapped_layers_are_swapped_layers_of_their_own(make: Any) -> None:
    layer = make().double().eval()
    sc.swap(layer)
    copied = copy.deepcopy(layer)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    assert type(copied) is type(layer)
    assert torch.equal(copied(x), layer(x))
    sc.restore(copied)
    assert sc.swap(layer).rows[0].reason == "already swapped"
    assert sc.swap(copied).swapped == ("",)


def test_swapping_tells_no_class_of_the_users_about_classes_of_its_own() -> None:
    written = []

    class Registered(nn.Conv2d):
        def __init_subclass__(cls, *, tag: str) -> None:
            written.append((cls.__name__, tag))

    class Tagged(Registered, tag="mine"):
        pass

    model = nn.Sequential(nn.Conv2d(3, 3, 1), Tagged(3, 2, 1))
    assert sc.swap(model).swapped == ("0", "1")
    assert written == [("Tagged", "mine")]
    sc.restore(model)
    assert type(model[1]) is Tagged


@pytest.mark.parametrize("function", [F.silu, F.softsign, torch.sigmoid, torch.tanh, Tensor.sigmoid_])
def test_complex_numbers_of_activations_stay_torchs(function: Any) -> None:
    x = torch.randn(5, dtype=torch.complex64)
    expected = function(x.clone())
    with sc.override():
        assert torch.equal(function(x), expected)


def test_a_swapped_subclass_can_be_pickled() -> None:
    layer = Padded(4)
    sc.swap(layer)
    loaded = pickle.loads(pickle.dumps(layer))
    assert type(loaded) is type(layer)
    assert loaded.extra == "kept"
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(loaded(x), layer(x))


def test_a_parametrisation_can_come_and_go_while_the_layer_is_swapped() -> None:
    layer = weight_normed()
    sc.swap(layer)
    parametrize.remove_parametrizations(layer, "weight")
    assert sc.is_swapped(layer)
    parametrizations.spectral_norm(layer, "weight")
    assert sc.is_swapped(layer)
    sc.restore(layer)
    assert not sc.is_swapped(layer)
    assert parametrize.type_before_parametrizations(layer) is nn.Conv2d
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Conv2d


def test_a_layer_whose_forward_was_replaced_is_left_alone() -> None:
    layer = nn.Conv2d(4, 4, 3)
    vars(layer)["forward"] = torch.abs
    assert "forward of its own" in sc.swap(layer).rows[0].reason
    assert type(layer) is nn.Conv2d


@pytest.mark.compiles
def test_a_compiled_model_is_swapped_and_restored() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Padded(4)).double()
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    expected = compiled(x)
    sc.swap(compiled)
    operators = used(lambda: assert_equal_up_to_rounding((compiled(x),), (expected,)))
    assert "aten::convolution" not in operators
    sc.restore(compiled)
    assert torch.equal(compiled(x), expected)


def test_a_distributed_model_is_swapped_and_trains_alike(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Conv2d(3, 4, 3), Padded(4)).double())
        x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
        model(x).pow(2).sum().backward()
        expected = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        assert len(sc.swap(model).swapped) == 2
        model.zero_grad()
        model(x).pow(2).sum().backward()
        got = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert_equal_up_to_rounding(tuple(got), tuple(expected))
    finally:
        torch.distributed.destroy_process_group()


def test_a_single_layer_can_be_swapped() -> None:
    layer = nn.Conv2d(1, 1, 1)
    sc.swap(layer)
    assert sc.is_swapped(layer)
    assert "scratch_conv::conv2d" in used(layer, torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("function", [sc.swap, sc.restore, sc.verify, sc.is_swapped])
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


def test_a_lazy_layer_stays_swapped_after_its_first_input() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3))
    assert sc.swap(model).rows[0].parameters == 0
    model(torch.randn(1, 2, 5, 5))
    assert sc.is_swapped(model[0])
    sc.restore(model)
    assert not sc.is_swapped(model[0])
    assert type(model[0]) is nn.Conv2d


def test_a_lazy_layer_is_restored_before_its_first_input() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3))
    sc.swap(model)
    sc.restore(model)
    assert type(model[0]) is nn.LazyConv2d
    model(torch.randn(1, 2, 5, 5))
    assert type(model[0]) is nn.Conv2d


def test_a_lazy_layer_is_swapped_before_its_first_input_and_stays_so() -> None:
    model = nn.Sequential(nn.LazyConv1d(4, 3), nn.Unflatten(2, (1, 4)), nn.LazyConv2d(4, (1, 3)))
    model.append(nn.LazyConvTranspose2d(4, 3))
    assert sc.swap(model).swapped == ("0", "2", "3")
    x = torch.randn(2, 3, 6)
    assert any(name.startswith("scratch_conv::") for name in used(model[0], x))
    output = model(x)
    assert [type(model[number]) for number in (0, 2, 3)] == [nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d]
    assert all(sc.is_swapped(model[number]) for number in (0, 2, 3))
    assert not used(model, x) & {"aten::convolution", "aten::conv2d"}
    sc.restore(model)
    assert type(model[2]) is nn.Conv2d
    torch.testing.assert_close(model(x), output)


def test_a_swapped_copy_is_swapped() -> None:
    model = network()
    sc.swap(model)
    copied = copy.deepcopy(model)
    assert classes(copied) == classes(model)
    assert [*map(sc.is_swapped, copied.modules())] == [*map(sc.is_swapped, model.modules())]


def used(function: Any, *args: Any) -> set[str]:
    with torch.profiler.profile() as profile:
        function(*args)
    return {event.key for event in profile.key_averages()}


def batch_norm(x: Tensor) -> Tensor:
    """Normalize by whole statistics, which gives the same in every order of summation."""
    channels = x.shape[1]
    return F.batch_norm(x, torch.ones(channels), torch.full((channels,), 4.0), eps=0.0)


FUNCTIONS = {name for name, value in vars(scratch_conv.autograd).items() if isinstance(value, type)}
CLASSES = torch.tensor([0, 2])

CALLS: list[Any] = [
    lambda x, w: F.conv2d(x, w, None, 1, "same"),
    lambda x, w: torch.conv2d(x, w, stride=2),
    lambda x, w: F.conv1d(x[:, :, 0], w[:, :, 0]),
    lambda x, w: nn.Conv1d(3, 1, 1, bias=False)(x[:, :, 0]) * 0,
    lambda x, w: F.conv_transpose2d(x, w.transpose(0, 1), stride=2, output_padding=1),
    lambda x, w: nn.ConvTranspose2d(3, 1, 1, bias=False)(x) * 0,
    lambda x, w: F.adaptive_avg_pool2d(x, 3),
    lambda x, w: nn.AdaptiveAvgPool2d((3, None))(x),
    lambda x, w: F.adaptive_avg_pool1d(x[0], 3),
    lambda x, w: F.adaptive_avg_pool3d(x, (3, 3, 3)),
    lambda x, w: F.adaptive_max_pool1d(x[0], 3),
    lambda x, w: torch.adaptive_max_pool1d(x[0], 3)[1],
    lambda x, w: F.adaptive_max_pool2d(x, 3),
    lambda x, w: F.adaptive_max_pool2d_with_indices(x, 3)[1],
    lambda x, w: nn.AdaptiveMaxPool3d(3, return_indices=True)(x)[1],
    lambda x, w: torch.avg_pool1d(x[0], 2),
    lambda x, w: nn.AvgPool3d(2)(x),
    lambda x, w: torch.max_pool1d(x[0], 2),
    lambda x, w: torch.max_pool1d_with_indices(x[0], 2)[1],
    lambda x, w: F.max_pool3d(x, 2),
    lambda x, w: torch.max_pool3d(x, (1, 2, 2)),
    lambda x, w: F.max_pool3d_with_indices(x, (2, 2, 2))[1],
    lambda x, w: F.max_unpool1d(x[0], (x[0] % 5).long(), (2,)),
    lambda x, w: nn.MaxUnpool2d(2)(x, (x % 9).long()),
    lambda x, w: F.max_unpool3d(x, (x % 9).long(), (1, 1, 1)),
    lambda x, w: F.avg_pool2d(x, 2),
    lambda x, w: nn.AvgPool2d(2)(x),
    lambda x, w: F.max_pool2d(x, 2),
    lambda x, w: F.max_pool2d(x, 2, return_indices=True)[1],
    lambda x, w: F.max_pool2d_with_indices(x, (2, 2))[1],
    lambda x, w: torch.max_pool2d(x, 3, 1, 1),
    lambda x, w: nn.MaxPool2d(2)(x),
    lambda x, w: nn.Conv2d(3, 1, 1, bias=False)(x) * 0,
    lambda x, w: F.linear(x, w.flatten()[:12].reshape(2, 6)),
    lambda x, w: nn.Linear(6, 2)(x) * 0,
    lambda x, w: F.relu(x),
    lambda x, w: torch.relu(x),
    lambda x, w: x.relu(),
    lambda x, w: x.clone().relu_(),
    lambda x, w: nn.ReLU(inplace=True)(x.clone()),
    lambda x, w: batch_norm(x),
    lambda x, w: torch.batch_norm(x, None, None, torch.ones(3), torch.ones(3), False, 0.1, 0.0, True),
    lambda x, w: nn.BatchNorm2d(3, eps=0.0).eval()(x),
    lambda x, w: F.dropout(x, generated(0.5)),
    lambda x, w: torch.dropout(x, generated(0.25), True),
    lambda x, w: F.dropout2d(x, generated(0.5)),
    lambda x, w: torch.softmax(x * 0, 1),
    lambda x, w: (x * 0).softmax(-1, dtype=torch.float64),
    lambda x, w: F.log_softmax(x * 0, 0).exp().round(),
    lambda x, w: torch.log_softmax(x * 0, 1).exp().round(),
    lambda x, w: F.cross_entropy(torch.tensor([[100.0, 0, 0], [100.0, 0, 0]]), CLASSES),
    lambda x, w: F.cross_entropy(torch.tensor([[100.0, 0, 0], [100.0, 0, 0]]), CLASSES, reduction="none"),
]


def generated(p: float) -> float:
    """Start torch's generator anew, so that the same elements are dropped each time."""
    torch.manual_seed(0)
    return p


@pytest.mark.filterwarnings("ignore")  # torch's own, of its quantized tensors
@pytest.mark.parametrize(
    "unlike",
    [
        lambda x: x.to_sparse(),
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
        lambda x: torch.nested.nested_tensor([x, x[:1]], layout=torch.jagged),
    ],
)
def test_override_leaves_tensors_without_plain_memory_to_torch(unlike: Any) -> None:
    x = torch.tensor([[-1.0, 2.0], [3.0, -4.0]])
    with sc.override():
        result = torch.relu(unlike(x))
    assert type(result) is type(unlike(x))
    assert result.layout == unlike(x).layout


def test_override_takes_what_is_written_into_a_given_tensor_for_torchs_own() -> None:
    out = torch.empty(2, 3)
    with sc.override():
        assert torch.softmax(torch.ones(2, 3), 1, out=out) is out


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_override_reaches_calls_in_code_we_do_not_know(number: int) -> None:
    x, w = torch.randint(-3, 4, (2, 3, 6, 6)).float(), torch.randint(-3, 4, (2, 3, 3, 3)).float()
    call = CALLS[number]
    with sc.override():
        assert torch.equal(call(x, w), call(x, w))
        assert any(name in FUNCTIONS for name in used(call, x, w))
    assert not any(name in FUNCTIONS for name in used(call, x, w))
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
