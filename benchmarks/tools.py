"""Tools that look into a model, on torch's layers and on swapped ones: `python -m benchmarks.tools`.

Each runs on the same small network before and after `sc.swap`, and is to return the same, or to refuse in
words that name scratch_conv; a tool that is not installed is named as missing. The exit status is 1 if one
differs.
"""

import argparse
import contextlib
import copy
import io
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import scratch_conv as sc
from benchmarks.measuring import RESULTS, as_text, keep

Tool = Callable[[nn.Sequential, Tensor], Any]

TOOLS: dict[str, Tool] = {}
SAME, REFUSES, DIFFERS, MISSING, FAILS = "same as torch", "refuses", "DIFFERS", "missing", "torch fails"


def main() -> None:
    """Run the tools, print a table, and write it; the exit status is 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="a pattern of tools' names")
    options = parser.parse_args()
    chosen = [name for name in TOOLS if fnmatch(name, options.only)]
    if not chosen:
        parser.error(f"--only {options.only}: there is no such tool")
    rows = {name: compare(TOOLS[name]) for name in chosen}
    shown = Table("tool", "swapped", "", title="Tools on swapped models")
    for name, row in rows.items():
        shown.add_row(name, row["outcome"], row["words"])
    Console(highlight=False, width=120).print(shown)
    if options.only == "*":
        (RESULTS / "tools.txt").write_text(as_text(shown), encoding="utf-8")
    print(f"Raw figures: {keep('tools' if options.only == '*' else 'tools-only', {'tools': rows})}")
    raise SystemExit(any(row["outcome"] == DIFFERS for row in rows.values()))


def compare(tool: Tool) -> dict[str, str]:
    """Run a tool on torch's layers and on swapped ones; return what came of it, and in which words."""
    try:
        expected = result(tool, swapped=False)
    except ModuleNotFoundError as error:
        return {"outcome": MISSING, "words": str(error)}
    except Exception as error:
        return {"outcome": FAILS, "words": first_line(error)}
    try:
        got = result(tool, swapped=True)
    except Exception as error:
        clear = "scratch_conv" in str(error)
        return {"outcome": REFUSES if clear else DIFFERS, "words": first_line(error)}
    if alike(got, expected):
        return {"outcome": SAME, "words": ""}
    return {"outcome": DIFFERS, "words": f"{got} instead of {expected}"[:200]}


def first_line(error: Exception) -> str:
    """Return an exception as one line; the line that names scratch_conv, if there is one."""
    lines = str(error).splitlines() or [""]
    named = [line for line in lines if "scratch_conv" in line]
    return f"{type(error).__name__}: {(named or lines)[0]}"[:110]


def result(tool: Tool, *, swapped: bool) -> Any:
    """Run a tool on a network of its own, and keep what it prints and warns of to itself."""
    torch.manual_seed(0)
    model = network()
    x = torch.randn(2, 3, 12, 12)
    if swapped:
        sc.swap(model)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return tool(model, x)


def network() -> nn.Sequential:
    """Return a small convolutional network, in evaluation."""
    body = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    body += [nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(8, 4)).eval()


def alike(got: Any, expected: Any) -> bool:
    """Return whether two results are the same: tensors up to rounding in float32."""
    if isinstance(expected, Tensor):
        return isinstance(got, Tensor) and torch.allclose(got, expected, rtol=1e-4, atol=1e-5)
    if isinstance(expected, Mapping):
        return got.keys() == expected.keys() and all(alike(got[key], expected[key]) for key in expected)
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        return len(got) == len(expected) and all(map(alike, got, expected))
    return bool(got == expected)


def tool(name: str) -> Callable[[Tool], Tool]:
    """Add a function to the tools."""

    def add(function: Tool) -> Tool:
        TOOLS[name] = function
        return function

    return add


def classes(model: nn.Module) -> list[str]:
    """Return the classes of a model's modules."""
    return [f"{type(module).__module__}.{type(module).__qualname__}" for module in model.modules()]


def package(name: str) -> Any:
    """Import a package that may be missing."""
    return import_module(name)


@tool("thop.profile")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return package("thop").profile(model, (x,), verbose=False)


@tool("ptflops")
def _(model: nn.Sequential, x: Tensor) -> Any:
    count = package("ptflops").get_model_complexity_info
    return count(model, (3, 12, 12), as_strings=False, print_per_layer_stat=False, backend="pytorch")


@tool("ptflops, by operators")
def _(model: nn.Sequential, x: Tensor) -> Any:
    count = package("ptflops").get_model_complexity_info
    return count(model, (3, 12, 12), as_strings=False, print_per_layer_stat=False, backend="aten")


@tool("calflops")
def _(model: nn.Sequential, x: Tensor) -> Any:
    count = package("calflops").calculate_flops
    return count(model, input_shape=(2, 3, 12, 12), print_results=False, output_as_string=False)


@tool("fvcore.nn.FlopCountAnalysis")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return package("fvcore.nn").FlopCountAnalysis(model, x).total()


@tool("torchinfo.summary")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return str(package("torchinfo").summary(model, input_data=x, verbose=0))


@tool("torchsummary")
def _(model: nn.Sequential, x: Tensor) -> Any:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        package("torchsummary").summary(model, (3, 12, 12), device="cpu")
    return printed.getvalue()


@tool("torch.utils.flop_counter")
def _(model: nn.Sequential, x: Tensor) -> Any:
    with package("torch.utils.flop_counter").FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    return counter.get_total_flops()


@tool("torch_pruning, counting")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return package("torch_pruning").utils.count_ops_and_params(model, x)


@tool("torch_pruning, pruning by magnitude")
def _(model: nn.Sequential, x: Tensor) -> Any:
    pruning = package("torch_pruning")
    importance, ignored = pruning.importance.MagnitudeImportance(), [model[-1]]
    pruning.pruner.MagnitudePruner(model, x, importance, pruning_ratio=0.5, ignored_layers=ignored).step()
    return [[tuple(p.shape) for p in model.parameters()], model(x)]


@tool("captum DeepLift")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return package("captum.attr").DeepLift(model).attribute(x, torch.zeros_like(x), target=1)


@tool("captum GuidedBackprop")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return package("captum.attr").GuidedBackprop(model).attribute(x, target=1)


@tool("captum LayerGradCam")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return package("captum.attr").LayerGradCam(model, model[4]).attribute(x, target=1)


@tool("captum LRP")
def _(model: nn.Sequential, x: Tensor) -> Any:
    plain = nn.Sequential(model[0], model[2], model[3])
    return package("captum.attr").LRP(plain).attribute(x, target=(1, 2, 3))


@tool("opacus ModuleValidator")
def _(model: nn.Sequential, x: Tensor) -> Any:
    validator = package("opacus.validators").ModuleValidator
    refused = [str(error) for error in validator.validate(model.train())]
    return [refused, classes(validator.fix(model))]


@tool("opacus GradSampleModule")
def _(model: nn.Sequential, x: Tensor) -> Any:
    layers = nn.Sequential(model[0], model[2], model[7], model[8], nn.Linear(8, 4)).train()
    private = package("opacus").GradSampleModule(layers)
    private(x).sum().backward()
    return [parameter.grad_sample for parameter in private.parameters()]


@tool("torch.ao quantize_dynamic")
def _(model: nn.Sequential, x: Tensor) -> Any:
    quantization: Any = torch.ao.quantization
    quantized = quantization.quantize_dynamic(model, {nn.Linear})
    return [classes(quantized), quantized(x)]


@tool("torch.ao quantization, eager")
def _(model: nn.Sequential, x: Tensor) -> Any:
    quantization: Any = torch.ao.quantization
    stubbed = quantization.QuantWrapper(model)
    stubbed.qconfig = quantization.get_default_qconfig("x86")
    fused = quantization.fuse_modules(stubbed, [["module.0", "module.1", "module.2"]])
    prepared = quantization.prepare(fused)
    prepared(x)
    return [classes(prepared), classes(quantization.convert(prepared))]


@tool("torch.ao quantization-aware training")
def _(model: nn.Sequential, x: Tensor) -> Any:
    quantization: Any = torch.ao.quantization
    stubbed = quantization.QuantWrapper(model.train())
    stubbed.qconfig = quantization.get_default_qat_qconfig("x86")
    prepared = quantization.prepare_qat(stubbed)
    prepared(x).sum().backward()
    return [classes(prepared), classes(quantization.convert(prepared.eval()))]


@tool("torch.ao quantization, FX")
def _(model: nn.Sequential, x: Tensor) -> Any:
    quantization, fx = torch.ao.quantization, package("torch.ao.quantization.quantize_fx")
    mapping = quantization.get_default_qconfig_mapping("x86")
    prepared = fx.prepare_fx(model, mapping, (x,))
    prepared(x)
    return [classes(prepared), classes(fx.convert_fx(prepared))]


@tool("torch.fx fuse")
def _(model: nn.Sequential, x: Tensor) -> Any:
    fused = package("torch.fx.experimental.optimization").fuse(model)
    return [[type(module).__name__ for module in fused.modules()], fused(x)]


@tool("torch.fx symbolic_trace")
def _(model: nn.Sequential, x: Tensor) -> Any:
    traced = torch.fx.symbolic_trace(model)
    return [[(node.op, str(node.target)) for node in traced.graph.nodes], traced.code, traced(x)]


@tool("torchvision create_feature_extractor")
def _(model: nn.Sequential, x: Tensor) -> Any:
    extract = package("torchvision.models.feature_extraction").create_feature_extractor
    return dict(extract(model, {"3": "pooled", "6": "activated"})(x))


@tool("fuse_conv_bn_eval")
def _(model: nn.Sequential, x: Tensor) -> Any:
    fuse: Any = torch.nn.utils.fuse_conv_bn_eval
    fused = fuse(model[0], model[1])
    return [classes(fused), fused(x)]


@tool("if type(m) is nn.Linear: init")
def _(model: nn.Sequential, x: Tensor) -> Any:
    def initialise(module: Any) -> None:
        if type(module) is nn.Linear:
            nn.init.ones_(module.weight)

    return model.apply(initialise)(x)


@tool("torch.nn.utils.prune")
def _(model: nn.Sequential, x: Tensor) -> Any:
    prune: Any = package("torch.nn.utils.prune")
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    pruned = model(x)
    prune.remove(model[0], "weight")
    return [pruned, model(x), model.state_dict()]


@tool("torch.nn.utils.spectral_norm")
def _(model: nn.Sequential, x: Tensor) -> Any:
    torch.nn.utils.spectral_norm(model[4])
    return [model(x), list(model.state_dict())]


@tool("torch.nn.utils.parametrizations.weight_norm")
def _(model: nn.Sequential, x: Tensor) -> Any:
    nn.utils.parametrizations.weight_norm(model[4])
    return [model(x), list(model.state_dict())]


@tool("torch.optim.swa_utils")
def _(model: nn.Sequential, x: Tensor) -> Any:
    swa: Any = package("torch.optim.swa_utils")
    averaged = swa.AveragedModel(model)
    averaged.update_parameters(model)
    swa.update_bn([x], averaged)
    return averaged(x)


@tool("nn.SyncBatchNorm.convert_sync_batchnorm")
def _(model: nn.Sequential, x: Tensor) -> Any:
    convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
    return classes(convert(model))


@tool("timm freeze_batch_norm_2d")
def _(model: nn.Sequential, x: Tensor) -> Any:
    frozen = package("timm.utils.model").freeze_batch_norm_2d(model)
    return [classes(frozen), frozen(x)]


@tool("timm ModelEmaV3")
def _(model: nn.Sequential, x: Tensor) -> Any:
    average = package("timm.utils").ModelEmaV3(model, decay=0.5)
    average.update(model, 3)
    return average.module(x)


@tool("peft LoRA")
def _(model: nn.Sequential, x: Tensor) -> Any:
    peft = package("peft")
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["4", "9"], r=2))
    return [classes(adapted), adapted(x)]


@tool("accelerate cpu_offload")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return package("accelerate").cpu_offload(model, execution_device=torch.device("cpu"))(x)


@tool("safetensors save_model")
def _(model: nn.Sequential, x: Tensor) -> Any:
    safetensors, other = package("safetensors.torch"), network()
    with tempfile.TemporaryDirectory() as folder:
        safetensors.save_model(model, str(Path(folder) / "model.safetensors"))
        safetensors.load_model(other, str(Path(folder) / "model.safetensors"))
    return other(x)


@tool("torch.save of the whole model")
def _(model: nn.Sequential, x: Tensor) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    return [classes(loaded), loaded(x)]


@tool("torch.func ensemble")
def _(model: nn.Sequential, x: Tensor) -> Any:
    models = [model, copy.deepcopy(model)]
    parameters, buffers = torch.func.stack_module_state(models)
    return torch.vmap(lambda p, b: torch.func.functional_call(model, (p, b), (x,)))(parameters, buffers)


@tool("torch.compile, aot_eager")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return torch.compile(model, backend="aot_eager", fullgraph=True)(x)


@tool("torch.export")
def _(model: nn.Sequential, x: Tensor) -> Any:
    return torch.export.export(model, (x,)).module()(x)


@tool("torch.onnx.export, in onnxruntime")
def _(model: nn.Sequential, x: Tensor) -> Any:
    runtime, file = package("onnxruntime"), io.BytesIO()
    program: Any = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    program.save(file)
    session = runtime.InferenceSession(file.getvalue())
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


@tool("torch.jit.trace")
def _(model: nn.Sequential, x: Tensor) -> Any:
    traced: Any = torch.jit.trace(model, x)  # type: ignore[no-untyped-call]
    return traced(x)


@tool("torch.jit.script")
def _(model: nn.Sequential, x: Tensor) -> Any:
    scripted: Any = torch.jit.script(model)
    return scripted(x)


if __name__ == "__main__":
    main()
