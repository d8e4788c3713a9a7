"""Private parts of torch: named in one file, and layers compute the same where torch lacks any of them."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import scratch_conv as sc
from scratch_conv.autograd import _torch_internals

PACKAGE = Path(sc.__file__).parent
NAMES = tuple(_torch_internals.NAMES)
NESTED = "torch.autograd.forward_ad:_set_fwd_grad_enabled"
"""The only name that has no substitute: forward mode within forward mode needs it."""


@contextmanager
def missing(*names: str) -> Iterator[None]:
    """Look the private names up again, with some that torch lacks."""

    def resolve(name: str) -> Any:
        if name in names:
            raise AttributeError(name)
        return found(name)

    found = pkgutil.resolve_name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pkgutil, "resolve_name", resolve)
        importlib.reload(_torch_internals)
    try:
        yield
    finally:
        importlib.reload(_torch_internals)


@pytest.fixture(params=[*NAMES, "all but one"])
def _without_a_name(request: pytest.FixtureRequest) -> Iterator[None]:
    with missing(*({*NAMES} - {NESTED} if request.param == "all but one" else [request.param])):
        yield


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(12, 4), nn.LogSoftmax(1)).double()


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def trained(model: nn.Module, forward: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return the values, the first and second derivatives, and the state of a model after a step."""
    x = drawn(3, 2, 6, 6).to(memory_format=torch.channels_last).requires_grad_()
    loss = forward(x).pow(2).sum()
    grads = torch.autograd.grad(loss, [x, *model.parameters()], create_graph=True)
    second = torch.autograd.grad(sum(grad.pow(2).sum() for grad in grads), x)  # type: ignore[arg-type]
    return [loss, *grads, *second, *model.state_dict().values()]


def transformed(library: Any) -> list[Any]:
    x, w, tangent = drawn(2, 2, 5, 5), drawn(3, 2, 2, 2), drawn(2, 2, 5, 5)

    def energy(x: Tensor) -> Tensor:
        y = library.batch_norm(library.conv2d(x, w), None, None, training=True)
        result: Tensor = library.softmax(library.max_pool2d(library.relu(y), 2).flatten(1), 1).pow(3).sum()
        return result

    return [
        torch.func.vmap(lambda x: library.conv2d(x, w))(x[:, None]),
        torch.func.vmap(torch.func.grad(energy))(x[:, None]),
        torch.func.jvp(energy, (x,), (tangent,)),
        torch.func.jvp(torch.func.grad(energy), (x,), (tangent,)),
    ]


@pytest.mark.usefixtures("_without_a_name")
def test_layers_train_the_same_without_a_private_name() -> None:
    ours, torchs = network(), network()
    sc.swap(ours)
    torch.testing.assert_close(trained(ours, ours), trained(torchs, torchs), rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("_without_a_name")
def test_transforms_give_the_same_without_a_private_name() -> None:
    torch.testing.assert_close(transformed(sc.functional), transformed(F), rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("_without_a_name")
def test_forward_mode_twice_without_a_private_name_gives_the_hessian_or_refuses() -> None:
    x, w = drawn(1, 1, 3, 3), drawn(1, 1, 2, 2)

    def hessian(library: Any) -> Any:
        return torch.func.jacfwd(torch.func.jacfwd(lambda x: library.conv2d(x, w).pow(3).sum()))(x)

    if _torch_internals._set_forward_mode is None:
        with pytest.raises(RuntimeError, match="forward mode within forward mode"):
            hessian(sc.functional)
    else:
        torch.testing.assert_close(hessian(sc.functional), hessian(F), rtol=1e-10, atol=1e-10)


class Passing(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Plain(Tensor):
    """A subclass that handles nothing itself."""


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_torch_function_stack")])
def test_without_the_stack_of_modes_calls_are_computed_within_other_modes(name: str) -> None:
    layer, x = nn.BatchNorm2d(2), drawn(3, 2, 2, 2).float()
    sc.swap(layer)
    with missing(name), torch.profiler.profile() as profile:
        for each in (x, x.as_subclass(Plain)):
            with Passing():
                layer(each)
                sc.functional.softmax(each, 1)
                with sc.override():
                    torch.log_softmax(each, 1)
    names = {event.key for event in profile.key_averages()}
    assert {"scratch_conv::batch_norm", "scratch_conv::softmax", "scratch_conv::log_softmax"} <= names
    assert not names & {"aten::batch_norm", "aten::softmax", "aten::log_softmax"}


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_without_a_name")
def test_compiled_layers_train_the_same_without_a_private_name() -> None:
    torch._dynamo.reset()
    ours, torchs = network(), network()
    sc.swap(ours)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    x = drawn(3, 2, 6, 6)
    losses = [forward(x).pow(2).sum() for forward in (compiled, torchs)]
    grads = [
        torch.autograd.grad(loss, [*m.parameters()]) for loss, m in zip(losses, (ours, torchs), strict=True)
    ]
    torch.testing.assert_close((losses[0], grads[0]), (losses[1], grads[1]), rtol=1e-10, atol=1e-10)


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore")
def test_layers_compile_where_dynamo_does_not_know_the_mark() -> None:
    torch._dynamo.reset()
    marked = (_torch_internals.in_torch_func, _torch_internals.in_transform)
    with pytest.MonkeyPatch.context() as patch:
        for function in marked:
            patch.delattr(function, "_dynamo_marked_constant")
        model = network()
        sc.swap(model)
        x = drawn(3, 2, 6, 6)
        torch.testing.assert_close(torch.compile(model, backend="aot_eager")(x), model(x))


def test_the_mark_is_the_one_that_torch_sets() -> None:
    def function() -> None: ...

    marks = vars(torch.compiler.assume_constant_result(function))  # type: ignore[no-untyped-call]
    assert marks == vars(_torch_internals.in_transform)


def test_the_package_imports_and_overrides_without_any_private_name() -> None:
    program = f"""
import pkgutil, torch
found, names = pkgutil.resolve_name, {NAMES!r}
def resolve(name):
    if name in names:
        raise AttributeError(name)
    return found(name)
pkgutil.resolve_name = resolve
import scratch_conv as sc
from scratch_conv.autograd import _torch_internals
assert _torch_internals._dispatch_keys is None
x = torch.arange(16.0).reshape(1, 1, 4, 4)
with sc.override():
    ours = [torch.nn.AdaptiveAvgPool2d(2)(x), *torch.nn.MaxPool2d(2, return_indices=True)(x)]
torchs = [torch.nn.AdaptiveAvgPool2d(2)(x), *torch.nn.MaxPool2d(2, return_indices=True)(x)]
torch.testing.assert_close(ours, torchs)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


ALLOWED = {"_replace", "_exit", "_ctx"}
"""Of tuples with names, of os, and of this package's own."""


def private_names(file: Path) -> list[str]:
    """Return the private names of other packages that a file imports, or takes from an object not its own."""
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        ):
            names.append(node.attr)
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("scratch_conv"):
            names += [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [part for alias in node.names for part in alias.name.split(".")]
    return [name for name in names if name.startswith("_") and not name.startswith("__")]


@pytest.mark.parametrize("room", sorted(path.name for path in PACKAGE.iterdir() if path.suffix != ".typed"))
def test_no_other_file_names_a_private_part_of_torch(room: str) -> None:
    place = PACKAGE / room
    for file in place.rglob("*.py") if place.is_dir() else [place]:
        if file.name != "_torch_internals.py":
            assert set(private_names(file)) <= ALLOWED, file


def test_private_names_are_found() -> None:
    assert {"_dynamo", "_set_forward_mode"} <= set(private_names(Path(__file__)))
