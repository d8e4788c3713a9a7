"""Compilation, export, tracing and shape propagation see the operators and compute the same."""

import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.compiler.config
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import scratch_conv as sc
import scratch_conv.autograd  # registers the operators

pytestmark = pytest.mark.compiles


@pytest.fixture(autouse=True)
def _without_caches() -> Iterator[None]:
    """Compile anew: inductor keeps its code on disk, and finds it again when these operators have changed."""
    with torch.compiler.config.patch(force_disable_caches=True):  # type: ignore[attr-defined]
        yield


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True))
    model.extend([nn.ConvTranspose2d(4, 3, 2, stride=2, output_padding=1), nn.AvgPool2d(2, ceil_mode=True)])
    model.extend([nn.AdaptiveAvgPool2d((None, 2)), nn.Upsample(scale_factor=(1.5, 2), mode="bilinear")])
    model.extend([nn.SiLU(), nn.Flatten(2), nn.Conv1d(3, 2, 2)])
    return model.double()


def loss_and_gradients(model: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    loss = forward(x).pow(2).sum()
    return [loss, *torch.autograd.grad(loss, [x, *model.parameters()])]


@pytest.mark.filterwarnings("ignore")  # torch's own, of its deprecated parts and of the C++ compiler
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_compile_gives_one_graph_and_the_same_results(
    backend: str, dynamic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")  # inductor is stricter there
    torch._dynamo.reset()
    model = network()
    sc.swap(model)
    compiled = torch.compile(model, fullgraph=True, backend=backend, dynamic=dynamic)
    for height, width in [(6, 5), (9, 8)]:
        x = torch.randn(2, 2, height, width, dtype=torch.float64)
        ours = loss_and_gradients(model, compiled, x)
        torch.testing.assert_close(ours, loss_and_gradients(model, model, x), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_export_sees_one_node_a_layer() -> None:
    model = network()
    expected = model(torch.ones(1, 2, 6, 6, dtype=torch.float64))
    sc.swap(model)
    program = torch.export.export(model, (torch.ones(1, 2, 6, 6, dtype=torch.float64),))
    nodes = [str(node.target) for node in program.graph.nodes if "scratch_conv" in str(node.target)]
    layers = [
        "conv2d",
        "relu",
        "max_pool2d",
        "conv_transpose2d",
        "avg_pool2d",
        "adaptive_avg_pool2d",
        "interpolate",
        "activation",
        "conv2d",
    ]
    assert nodes == [f"scratch_conv.{layer}.default" for layer in layers]
    torch.testing.assert_close(program.module()(torch.ones(1, 2, 6, 6, dtype=torch.float64)), expected)


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_decomposes_to_torchs_operators() -> None:
    model, x = network(), torch.ones(2, 2, 6, 6, dtype=torch.float64)
    expected = model(x)
    sc.swap(model)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    lowered = program.run_decompositions({**torch._decomp.decomposition_table})
    assert not [node for node in lowered.graph.nodes if "scratch_conv" in str(node.target)]
    torch.testing.assert_close(lowered.module()(x), expected)
    torch.testing.assert_close(lowered.module()(x[:1].repeat(3, 1, 1, 1))[:1], expected[:1])


@pytest.mark.filterwarnings("ignore")
def test_the_onnx_exporter_knows_the_layers(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model, x = network().float(), torch.randn(2, 2, 6, 6)
    expected = model(x)
    sc.swap(model)
    torch.onnx.export(model, (x,), tmp_path / "model.onnx", dynamo=True)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), expected, rtol=1e-4, atol=1e-5)


class Classifier(nn.Module):
    """A network with its loss: the layers that `network` leaves out, those that mutate among them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(2),
            nn.Flatten(),
            nn.Linear(30, 4),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Softmax(dim=1),
            nn.CrossEntropyLoss(label_smoothing=0.1),
        ).double()

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        *layers, loss = self.layers
        for layer in layers:
            x = layer(x)
        result: Tensor = loss(x, target)
        return result


@pytest.mark.filterwarnings("ignore")
def test_compile_keeps_what_a_classifier_changes_on_the_way() -> None:
    torch._dynamo.reset()
    models = Classifier(), Classifier()
    for model in models:
        sc.swap(model)
    compiled = torch.compile(models[0], fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (2, 3):
        x, target = torch.randn(batch, 2, 3, 5, dtype=torch.float64), torch.arange(batch)
        for call in (compiled, models[1]):
            torch.manual_seed(batch)
            call(x, target).backward()
    for got, want in zip(*(model.state_dict().values() for model in models), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    for got, want in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(got.grad, want.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_batch_norm_is_compiled_once_for_all_sizes_of_a_batch() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(sc.nn.BatchNorm2d(3), fullgraph=True, backend="eager", dynamic=True)
    with torch._dynamo.config.patch(recompile_limit=2):
        for batch in range(2, 8):
            compiled(torch.randn(batch, 3, 4, 4))


def test_fx_sees_one_call_a_layer() -> None:
    f = sc.functional
    steps: list[Any] = [f.max_pool2d, f.relu, f.batch_norm, f.dropout, f.dropout2d, f.flatten]
    steps += [f.softmax, f.log_softmax]
    further: dict[Any, tuple[Any, ...]] = {f.max_pool2d: (2,), f.batch_norm: (None, None)}

    class Model(nn.Module):
        def forward(self, x: Tensor, w: Tensor) -> Tensor:
            x = f.conv2d(x, w, padding=1)
            for step in steps:
                x = step(x, *further.get(step, ()))
            x = f.conv1d(f.adaptive_avg_pool2d(f.avg_pool2d(f.conv_transpose2d(x, w), 2), 2)[0], w[0])
            return f.cross_entropy(f.linear(x, w), x)

    graph = torch.fx.symbolic_trace(Model()).graph
    calls = [node.target for node in graph.nodes if node.op == "call_function"]
    after = [f.conv_transpose2d, f.avg_pool2d, f.adaptive_avg_pool2d, f.conv1d, f.linear, f.cross_entropy]
    assert [call for call in calls if call is not operator.getitem] == [f.conv2d, *steps, *after]


def test_shapes_propagate_without_data() -> None:
    model = network()
    x = torch.empty(2, 2, 7, 5, dtype=torch.float64)
    expected = model(x)
    sc.swap(model)
    on_meta = model.to("meta")(x.to("meta"))
    assert (on_meta.shape, on_meta.dtype) == (expected.shape, expected.dtype)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = sc.nn.MaxPool2d(3)(sc.nn.Conv2d(2, 4, 3)(torch.empty(1, 2, 9, 9)))
    assert fake.shape == (1, 4, 2, 2)


@pytest.mark.parametrize("channels", [1, 4])
def test_operators_traced_on_channels_last_pass_opcheck(channels: int) -> None:
    x = torch.randn(2, channels, 6, 5, dtype=torch.float64).to(memory_format=torch.channels_last)
    w = torch.randn(3, channels, 3, 3, dtype=torch.float64)
    torch.library.opcheck(
        torch.ops.scratch_conv.conv2d.default, (x, w, None, True, [1, 1], [1, 1, 0, 2], [1, 1], 1)
    )
    window = ([2, 3], [2, 1], [1, 1, 1, 1], [1, 1])
    torch.library.opcheck(torch.ops.scratch_conv.max_pool2d.default, (x, True, *window))
    _, places = torch.ops.scratch_conv.max_pool2d(x, True, *window)
    torch.library.opcheck(torch.ops.scratch_conv.max_pool2d_indices.default, (places,))


def gradients_of_each_image(model: nn.Module, x: Tensor) -> Any:
    parameters: dict[str, Tensor] = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(model, parameters, (image[None],))
        return output.pow(2).sum()

    return torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)


TRANSFORMS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "gradients of each image": gradients_of_each_image,
    "second derivatives": lambda model, x: torch.func.hessian(lambda x: model(x).pow(2).sum())(x),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_inside_compile_are_one_graph_with_the_same_results(transform: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2).eval(), nn.ReLU(), nn.AvgPool2d(2, 1))
    model.extend([nn.Flatten(), nn.Linear(2, 3), nn.LogSoftmax(1)]).double()
    x = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    expected = TRANSFORMS[transform](model, x)
    sc.swap(model)
    compiled = torch.compile(lambda x: TRANSFORMS[transform](model, x), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_forward_mode_within_forward_mode_is_not_compiled_and_the_error_says_what_to_do() -> None:
    torch._dynamo.reset()

    @torch.compile(backend="eager")
    def program(x: Tensor) -> Any:
        return torch.func.jacfwd(torch.func.jacfwd(sc.functional.relu))(x)

    with pytest.raises(RuntimeError, match=r"^NotImplementedError: scratch_conv: .* scratch_conv\.restore"):
        program(torch.ones(3))


@pytest.mark.filterwarnings("ignore")
def test_transforms_of_a_compiled_model_have_the_same_results() -> None:
    torch._dynamo.reset()
    model, x = network(), torch.randn(2, 2, 6, 5, dtype=torch.float64)
    expected = torch.func.vmap(model)(x[:, None]), torch.func.grad(lambda x: model(x).sum())(x)
    sc.swap(model)
    compiled = torch.compile(model, fullgraph=True, backend="eager")  # others refuse torch's own layers, too
    got = torch.func.vmap(compiled)(x[:, None]), torch.func.grad(lambda x: compiled(x).sum())(x)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_compiled_autograd_has_the_same_gradients() -> None:
    model, x = network(), torch.randn(2, 2, 6, 5, dtype=torch.float64)
    expected = torch.autograd.grad(model(x).square().sum(), [*model.parameters()])
    sc.swap(model)

    def step() -> None:
        torch.autograd.backward(model(x).square().sum())

    torch._dynamo.reset()
    with torch._dynamo.config.patch(compiled_autograd=True):
        torch.compile(step, backend="eager")()
    got = [each.grad for each in model.parameters()]
    torch.testing.assert_close(got, [*expected], rtol=1e-12, atol=1e-12)


def test_floating_point_operations_are_counted_as_torchs_are() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 3, stride=2), nn.Conv2d(6, 2, 1))
    model.extend([nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5)])
    counts = []
    for change in (sc.restore, sc.swap):
        change(model)
        with FlopCounterMode(display=False) as counter:
            model(torch.randn(2, 3, 8, 8, requires_grad=True)).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def swapped(layer: nn.Module) -> nn.Module:
    sc.swap(layer)
    return layer


IMAGES = torch.ones(2, 3, 4, 4)
SEEN_BY_TORCHSCRIPT: dict[str, Callable[..., Any]] = {
    "a swapped model": swapped(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())),
    "a swapped batch norm": swapped(nn.BatchNorm2d(3)),
    "a swapped flatten": swapped(nn.Flatten()),
    "a swapped dropout in evaluation": swapped(nn.Dropout()).eval(),
    "a layer": sc.nn.BatchNorm2d(3),
    "a layer within torch's": nn.Sequential(nn.Identity(), sc.nn.MaxPool2d(2)),
    "a function": sc.functional.relu,
    "a function within another": lambda x: sc.functional.flatten(x),
}


def traced(model: Callable[..., Any]) -> Any:
    return torch.jit.trace(model, IMAGES, check_trace=False)  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seen", SEEN_BY_TORCHSCRIPT)
def test_torchscript_is_refused_and_the_error_says_what_to_do(seen: str, tmp_path: Path) -> None:
    model = SEEN_BY_TORCHSCRIPT[seen]
    with pytest.raises(RuntimeError, match=r"scratch_conv\.restore\(model\)"):
        traced(model)
    if seen != "a function within another":  # TorchScript takes no lambda
        with pytest.raises(RuntimeError, match=r"scratch_conv\.restore\(model\)"):
            torch.jit.script(model)
    if isinstance(model, nn.Module):
        with pytest.raises(RuntimeError, match=r"scratch_conv\.restore\(model\)"):
            torch.onnx.export(model, (IMAGES,), tmp_path / "model.onnx", dynamo=False)
        sc.restore(model)
        assert "aten::" in str(traced(model).inlined_graph)


def scripted_from_outside(x: Tensor) -> Tensor:
    return sc.functional.relu(x) + 1


@pytest.mark.filterwarnings("ignore")
def test_torchscript_of_a_function_that_calls_ours_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"scratch_conv\.restore\(model\)"):
        torch.jit.script(scripted_from_outside)


@pytest.mark.filterwarnings("ignore")
def test_override_refuses_to_be_traced() -> None:
    model = nn.BatchNorm2d(3)
    with sc.override(), pytest.raises(RuntimeError, match="scratch_conv"):
        traced(model)
    assert "aten::batch_norm" in str(traced(model).inlined_graph)


@pytest.mark.filterwarnings("ignore")
def test_compile_knows_the_memory_format_of_volumes() -> None:
    x = torch.ones(2, 2, 3, 4, 5).contiguous(memory_format=torch.channels_last_3d)
    w = torch.ones(3, 2, 1, 1, 1)
    compiled = torch.compile(sc.functional.conv3d, fullgraph=True, backend="eager")
    for weight in (w, w.repeat(1, 1, 1, 2, 1)):
        assert compiled(x, weight).stride() == torch.conv3d(x, weight).stride()
