"""Operators are dispatched wherever somebody may see them, and computed without that where nobody does."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as fwAD
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import scratch_conv as sc
from scratch_conv.autograd import _torch_internals, call, operators
from scratch_conv.autograd.activation import ReLU


class Wrapped(Tensor):
    """A subclass, which sees every operator by `__torch_dispatch__`."""

    seen: list[str]

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        cls.seen.append(str(function))
        return torch.zeros(2)


class Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


class Called(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


def profiled(program: Callable[[], object]) -> list[str]:
    with torch.profiler.profile() as profile:
        program()
    return [event.key for event in profile.key_averages()]


def dispatched(program: Callable[[], object]) -> list[str]:
    with Dispatched() as mode:
        program()
    return mode.seen


def called(program: Callable[[], object]) -> list[str]:
    with Called() as mode:
        program()
    return mode.seen


@pytest.mark.parametrize("observe", [profiled, dispatched])
def test_modes_and_profilers_see_the_operators_of_both_passes(observe: Any) -> None:
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    names = observe(lambda: sc.functional.max_pool2d(x, 2).sum().backward())
    seen = {name.replace("::", ".").removesuffix(".default") for name in names}
    assert {"scratch_conv.max_pool2d", "scratch_conv.max_pool2d_scatter"} <= seen


def test_modes_see_operators_without_derivative() -> None:
    seen = dispatched(lambda: sc.functional.max_pool2d(torch.randn(1, 1, 4, 4), 2, return_indices=True))
    assert "scratch_conv.max_pool2d_indices.default" in seen


@pytest.mark.parametrize("name", ["batch_norm", "softmax", "log_softmax"])
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_are_composed_only_where_a_graph_of_them_is_wanted(name: str, create_graph: bool) -> None:
    x = torch.randn(4, 3, requires_grad=True)
    arguments = {"batch_norm": (None, None, None, None, True)}.get(name, (1,))
    y = getattr(sc.functional, name)(x, *arguments)
    seen = dispatched(lambda: torch.autograd.grad(y, x, torch.ones(4, 3), create_graph=create_graph))
    assert (f"scratch_conv.{name}_grad.default" in seen) != create_graph
    assert ("scratch_conv.summed_product.default" in seen) == create_graph


def test_function_modes_and_subclasses_see_the_operator() -> None:
    x = torch.randn(3)
    assert "scratch_conv.relu.default" in called(lambda: call(ReLU, x))
    Wrapped.seen = []
    call(ReLU, x.as_subclass(Wrapped))
    assert Wrapped.seen == ["scratch_conv.relu.default"]


@pytest.mark.filterwarnings("ignore:.torch.jit.trace")
def test_nothing_is_left_out_while_torch_traces() -> None:
    answers: list[bool] = []

    def program(x: Tensor) -> Tensor:
        answers.append(_torch_internals.unseen((x,)))
        return x * 2

    torch.jit.trace(program, torch.ones(2), check_trace=False)  # type: ignore[no-untyped-call]
    assert answers == [False]


WATCHERS: dict[str, Callable[[], Any]] = {
    "dispatch mode": Dispatched,
    "function mode": Called,
    "fake tensors": lambda: FakeTensorMode(allow_non_fake_inputs=True),
    "profiler": torch.profiler.profile,
    "autograd profiler": torch.autograd.profiler.profile,
    "forward mode": fwAD.dual_level,
}


@pytest.mark.parametrize("watcher", WATCHERS)
def test_a_plain_tensor_is_unseen_but_for_watchers(watcher: str) -> None:
    x = torch.ones(2)
    assert _torch_internals.unseen((x, None, 3))
    with WATCHERS[watcher]():
        assert not _torch_internals.unseen((x,))
    assert _torch_internals.unseen((x,))


def test_transforms_see_their_tensors() -> None:
    answers: list[bool] = []

    def program(x: Tensor) -> Tensor:
        answers.append(_torch_internals.unseen((x,)) or _torch_internals.unseen((torch.ones(2),)))
        return (x * x).sum()

    x = torch.ones(3)
    torch.func.grad(program)(x)
    torch.func.vmap(program)(x[:, None])
    torch.func.jvp(program, (x,), (x,))
    torch.func.functionalize(program)(x)
    assert answers == [False] * 4


KINDS: dict[str, tuple[Callable[[], Tensor], bool]] = {
    "plain": (lambda: torch.ones(2), True),
    "parameter": (lambda: nn.Parameter(torch.ones(2)), True),
    "with a history": (lambda: torch.ones(2, requires_grad=True) * 2, True),
    "view": (lambda: torch.ones(2, 3)[:, 1], True),
    "of bytes": (lambda: torch.ones(2, dtype=torch.uint8), True),
    "meta": (lambda: torch.ones(2, device="meta"), False),
    "sparse": (lambda: torch.ones(2).to_sparse(), False),
    "conjugated": (lambda: torch.ones(2, dtype=torch.complex64).conj(), False),
    "negated": (lambda: torch.ones(2, dtype=torch.complex64).conj().imag, False),
    "zero": (lambda: torch._efficientzerotensor(2), False),
    "functional": (lambda: torch._to_functional_tensor(torch.ones(2)), False),
    "subclass": (lambda: torch.ones(2).as_subclass(Wrapped), False),
    "lazy parameter": (lambda: nn.UninitializedParameter(), False),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 1])
def test_tensors_are_plain_or_go_by_the_dispatcher(kind: str, place: int) -> None:
    make, plain = KINDS[kind]
    args: list[Any] = [torch.ones(2), torch.ones(2), None]
    args[place] = make()
    assert _torch_internals.unseen(args) == plain


def test_tensors_of_inference_mode_are_plain() -> None:
    with torch.inference_mode():
        x = torch.ones(2)
        assert _torch_internals.unseen((x,))
        y = sc.functional.relu(x)
    assert y.is_inference()


@given(st.booleans(), st.booleans(), st.booleans())
def test_both_ways_give_the_same_results_and_history(requires: bool, leaf: bool, enabled: bool) -> None:
    source = torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=requires)
    weight = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=requires)
    outcomes = []
    for watched in (nullcontext(), Dispatched()):
        x = source if leaf else source * 1
        with watched, torch.set_grad_enabled(enabled):
            y = sc.functional.conv2d(sc.functional.relu(x), weight)
            history = type(y.grad_fn).__name__
            results = [y.detach()]
            if y.requires_grad:
                grads = torch.autograd.grad(y.sum(), [source, weight], create_graph=True)
                further = torch.autograd.grad([g.pow(2).sum() for g in grads], [source, weight])
                results += [*grads, *further]
        outcomes.append((history, y.requires_grad, y.is_leaf, results))
    direct, by_dispatcher = outcomes
    assert direct[:3] == by_dispatcher[:3]
    torch.testing.assert_close(direct[3], by_dispatcher[3], rtol=0, atol=0)


def test_plain_calls_pass_the_dispatcher_by(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError

    class Undispatchable(ReLU):
        forward = staticmethod(refuse)

    compute = operators._computations[torch.ops.scratch_conv.relu.default]
    monkeypatch.setitem(operators._computations, refuse, compute)
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    y = call(Undispatchable, x)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == [0, 2]
    assert grad.tolist() == [0, 1]
    with pytest.raises(AssertionError), Dispatched():
        call(Undispatchable, x)
