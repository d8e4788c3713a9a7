"""`verify`: run a model by torch and by NumPy on one input, and compare them layer by layer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode, has_torch_function, resolve_name

from scratch_conv.functional.calling import autocast
from scratch_conv.functional.overriding import REPLACEMENTS
from scratch_conv.swapping.layer_calls import LayerCall, Results, is_floating, mapped
from scratch_conv.swapping.rounding_bounds import CONVOLUTIONS, Bounds, named, reference_and_bounds
from scratch_conv.swapping.swapping import restore, swap
from scratch_conv.swapping.verification import Errors, Verification, VerifiedLayer


def verify(model: nn.Module, *inputs: Any, **named_inputs: Any) -> Verification:
    """Run a model by torch and by NumPy on the same input; print and return how they compare.

    Each layer that `swap` would swap is called twice on the input that torch's layers hand to it, so that
    errors do not accumulate, and differentiated along a random direction. Of the values and of the gradients
    with respect to input and parameters, the report has the greatest error as a share of what rounding
    explains (see `rounding_bounds`), for ours and for torch's own, and the time of both passes. What is right
    is torch's result in float64, from which torch's own differs by nothing where the model has float64. The
    whole model is compared too, from its input on.

    The model is left as it was: swapped or not, its mode, buffers, gradients, hooks, and torch's generator.

    Args:
        model: any module, swapped or not; it runs in the mode that it is in.
        inputs: what it is called with.
        named_inputs: what it is called with by name.

    Returns:
        The report, which is true if every layer is within its bound.

    Raises:
        TypeError: `model` is not a module.
        ValueError: it has lazy layers that no input has set up yet.
        RuntimeError: `override()`, or another mode that sees torch's functions, is active.
        Exception: whatever the model raises when torch computes it.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"verify() expects a torch.nn.Module, not {type(model).__name__}")
    if any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        raise ValueError(
            "verify(): the model has lazy layers: call it once, which sets them up, and verify it then"
        )
    if has_torch_function((None,)):  # true of any argument where a mode is active
        raise RuntimeError("verify(): leave scratch_conv.override(), or another mode, first")
    with _left_as_it_was(model) as rewind, torch.inference_mode(False), torch.enable_grad():
        restore(model)
        chosen = swap(model).swapped
        restore(model)
        layers = {name: layer for name, layer in model.named_modules() if name in chosen}

        def run() -> tuple[list[Tensor], list[Tensor], float]:
            rewind()
            return _run(model, inputs, named_inputs)

        functions = _functions_outside(layers.values(), run)
        rows = _compare_layers(layers, run)
        whole = _compare_whole(model, run)
        left = Counter(
            type(module).__name__
            for name, module in model.named_modules()
            if name not in chosen
            and not any(module.children())
            and not isinstance(module, nn.Identity)
            and "parametrizations" not in name.split(".")
        )
    called = tuple(row for row in rows if row.calls)
    uncalled = tuple(row.name for row in rows if not row.calls)
    report = Verification(called, whole, uncalled, dict(left), dict(functions))
    print(report)
    return report


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[Callable[[], None]]:
    """Leave a model and torch's generator as they were; yield what rewinds buffers and generator before."""
    parts = ("_parameters", "_buffers", "_modules")
    kept = [
        (module, type(module), dict(vars(module)), {part: dict(vars(module)[part]) for part in parts})
        for module in model.modules()
    ]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    generator = torch.get_rng_state()

    def rewind() -> None:
        torch.set_rng_state(generator)
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)

    try:
        yield rewind
    finally:
        for module, cls, attributes, held in kept:
            if type(module) is not cls:
                module.__class__ = cls
            vars(module).clear()
            vars(module).update(attributes)
            for part, entries in held.items():
                vars(module)[part].clear()
                vars(module)[part].update(entries)
        rewind()


def _functions_outside(layers: Iterable[nn.Module], run: Callable[[], Any]) -> Counter[str]:
    """Count the calls of functions that NumPy could compute, in a forward pass, outside of some layers."""
    functions: Counter[str] = Counter()
    within: list[nn.Module] = []

    class Counting(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if not within and func in REPLACEMENTS:
                functions[resolve_name(func) or func.__name__] += 1
            return func(*args, **(kwargs or {}))

    with ExitStack() as handles:
        for layer in layers:
            handles.enter_context(layer.register_forward_pre_hook(lambda layer, _: within.append(layer)))
            after = layer.register_forward_hook(lambda *_: (within.pop(), None)[1], always_call=True)
            handles.enter_context(after)
        with Counting():
            run()
    return functions


def _compare_layers(layers: dict[str, nn.Module], run: Callable[[], Any]) -> list[VerifiedLayer]:
    """Compare layers by every call of theirs in a forward pass."""
    rows = {name: VerifiedLayer(name, type(layer).__name__) for name, layer in layers.items()}

    def comparing(name: str) -> Callable[..., None]:
        def compare(layer: nn.Module, args: Any, kwargs: Any) -> None:
            row = replace(rows[name], calls=rows[name].calls + 1)
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                narrowed = _narrowed(LayerCall(layer, args, kwargs))
                with torch.autocast("cpu", enabled=False):
                    rows[name] = _compare(row, narrowed)

        return compare

    with ExitStack() as handles:
        for name, layer in layers.items():
            handles.enter_context(layer.register_forward_pre_hook(comparing(name), with_kwargs=True))
        run()
    return [*rows.values()]


def _narrowed(call: LayerCall) -> LayerCall:
    """Return a call of the tensors that a layer computes with: within `torch.autocast`, narrower ones."""
    narrows = isinstance(call.layer, (*CONVOLUTIONS, nn.Linear))
    return call.changed(autocast) if narrows and torch.is_autocast_enabled("cpu") else call


def _compare(row: VerifiedLayer, call: LayerCall) -> VerifiedLayer:
    """Add one call of a layer to its row."""
    generator = torch.get_rng_state()

    def timed(prepare: Callable[[nn.Module], Any]) -> Results:
        """Run the layer, twice if it is quick: the first run fills caches."""
        runs: list[Results] = []
        while not runs or (len(runs) == 1 and runs[0].seconds < 0.05):
            torch.set_rng_state(generator)
            runs.append(call.run(prepare))
        return min(runs, key=lambda run: run.seconds)

    torch.set_rng_state(generator)
    output = call.run().values["output"]
    if is_floating(output):
        call.gradient = torch.randn(
            output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(0)
        )
    torchs = timed(restore)
    try:
        ours = timed(swap)
    except Exception as error:  # whatever is wrong with ours is what is asked for
        return replace(row, failure=_first_line(error))
    torch.set_rng_state(generator)
    known = reference_and_bounds(call, torchs)
    right, bounds = known if known is not None else (torchs, None)
    values, gradients, failure = _judge(named(ours), named(torchs), named(right), bounds)
    return replace(
        row,
        values=row.values | values,
        gradients=row.gradients | gradients,
        seconds=row.seconds + ours.seconds,
        torchs_seconds=row.torchs_seconds + torchs.seconds,
        failure=row.failure or failure,
    )


def _judge(
    ours: dict[str, Tensor], torchs: dict[str, Tensor], right: dict[str, Tensor], bounds: Bounds | None
) -> tuple[Errors, Errors, str]:
    """Return the errors of the values, those of the gradients, and what else is wrong."""
    errors = {False: Errors(judged=bounds is not None), True: Errors(judged=bounds is not None)}
    for name, theirs in torchs.items():
        own = ours.get(name)
        if own is None or own.shape != theirs.shape or own.dtype != theirs.dtype:
            is_now = "missing" if own is None else f"{_described(own)} instead of {_described(theirs)}"
            return errors[False], errors[True], f"{name} is {is_now}"
        if bounds is None:
            found = Errors(_difference([own], [theirs]), judged=False)
        else:
            judge = partial(_share, torchs=theirs, right=right[name], bound=bounds[name])
            found = Errors(judge(own), judge(theirs))
        errors[name.startswith("grad ")] |= found
    return errors[False], errors[True], ""


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def _share(result: Tensor, torchs: Tensor, right: Tensor, bound: Tensor) -> float:
    """Return the greatest error of a result as a share of its bound.

    Where the bound is zero, and where torch's own result is not finite, it is to be the same as torch's.
    """
    same = (result == torchs) | ((result != result) & (torchs != torchs))
    error = (result.to(right.dtype) - right).abs().double()
    share = torch.where(same & ~((bound > 0) & error.isfinite()), 0.0, error / bound)
    return float(share.nan_to_num(torch.inf).max()) if share.numel() else 0.0


def _difference(ours: list[Tensor], torchs: list[Tensor]) -> float:
    """Return the greatest difference as a share of torch's greatest value; infinite for other shapes."""
    most, size = 0.0, 0.0
    for own, theirs in zip(ours, torchs, strict=True):
        if own.shape != theirs.shape or own.dtype != theirs.dtype:
            return float("inf")
        if theirs.numel():
            apart = torch.where(
                (own == theirs) | ((own != own) & (theirs != theirs)), 0, own.sub(theirs).abs()
            )
            most, size = (
                max(most, float(apart.nan_to_num(torch.inf).max())),
                max(size, float(theirs.abs().max())),
            )
    return most / size if most else 0.0


def _compare_whole(model: nn.Module, run: Callable[[], Any]) -> VerifiedLayer:
    """Compare a whole model of torch's layers with itself swapped, from its input on; leave it swapped."""
    row = VerifiedLayer("", type(model).__name__, 1)
    torchs, torchs_gradients, torchs_seconds = run()
    swap(model)
    try:
        ours, gradients, seconds = run()
    except Exception as error:  # whatever is wrong with ours is what is asked for
        return replace(row, torchs_seconds=torchs_seconds, failure=_first_line(error))
    described = [[_described(tensor) for tensor in outputs] for outputs in (ours, torchs)]
    failure = "" if described[0] == described[1] else "the outputs have other shapes or dtypes"
    return replace(
        row,
        values=Errors(_difference(ours, torchs), judged=False),
        gradients=Errors(_difference(gradients, torchs_gradients), judged=False),
        seconds=seconds,
        torchs_seconds=torchs_seconds,
        failure=failure,
    )


def _run(model: nn.Module, inputs: Any, named_inputs: Any) -> tuple[list[Tensor], list[Tensor], float]:
    """Return what a model returns, its gradients along a random direction, and the seconds for both."""
    args, kwargs = mapped((inputs, named_inputs), _copied)
    start = time.perf_counter()
    outputs = [*_tensors_in(model(*args, **kwargs))]
    seconds = time.perf_counter() - start
    draw = torch.Generator().manual_seed(0)
    ends = [output for output in outputs if output.requires_grad]
    directions = [torch.randn(output.shape, dtype=output.dtype, generator=draw) for output in ends]
    sources = [one for one in (*_tensors_in((args, kwargs)), *model.parameters()) if one.requires_grad]
    gradients: list[Tensor] = []
    if ends and sources:
        start = time.perf_counter()
        found = torch.autograd.grad(ends, sources, directions, allow_unused=True)
        seconds += time.perf_counter() - start
        gradients = [gradient for gradient in found if gradient is not None]
    return [output.detach() for output in outputs], gradients, seconds


def _copied(value: Any) -> Any:
    """Return a copy of a tensor, which requires a gradient if it does; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in tuples, lists, dicts and objects with attributes, one inside another."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors_in(each)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors_in(each)
    elif is_dataclass(value):
        yield from _tensors_in(vars(value))
