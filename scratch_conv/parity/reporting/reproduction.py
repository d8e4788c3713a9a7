"""A case as code that can be pasted and run with nothing but torch and the candidate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scratch_conv.parity.candidates.candidates import is_module
from scratch_conv.parity.candidates.interface import full_name, function_arguments, name_of
from scratch_conv.parity.candidates.numpy_layer import is_numpy_layer, returned_names
from scratch_conv.parity.candidates.wiring import Wiring, guess_wiring
from scratch_conv.parity.drawing.arrays import INTEGER_KINDS
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.compare import Difference
from scratch_conv.parity.judging.expect import expect
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.operators.calling import INPLACE, UPDATED

_SMALL = 64  # arrays of more elements are not shown
_DIGITS = {"float64": 17, "complex128": 17}  # that tell neighbours apart; 9 do in float32


def reproduce(case: Case, candidate: Any, wiring: Wiring | None = None) -> str:
    """Return Python code that calls torch and the candidate on a case and prints both.

    Args:
        case: the call.
        candidate: as `check` takes it.
        wiring: how it is called, see `find_wiring`; None: a guess, for which the candidate is not run.
    """
    wiring = guess_wiring(candidate, case) if wiring is None else wiring
    lines = ["import torch", "import torch.nn.functional as F", *_import(candidate), ""]
    if not case.kinds() <= INTEGER_KINDS:
        printing = "numpy" if is_numpy_layer(candidate) else "torch"
        lines[2:2] = ["import numpy"] if printing == "numpy" else []
        lines.append(f"{printing}.set_printoptions(precision={_DIGITS.get(case.dtype, 9)})")
    for name, array in case.arrays:
        wanted = ".requires_grad_()" if name in case.wanted else ""
        lines.append(f"{name} = {array.code(case.torch_dtype)}{wanted}")
    updated = [name for name in UPDATED if name in case.tensors]
    lines += [f"expected_{name} = {name}.clone()" for name in updated]
    seeded = [] if case.seed is None else [f"torch.manual_seed({case.seed})"]
    copies = _copies(case)
    expected = _call(case, {**copies, **{name: f"expected_{name}" for name in updated}})
    lines += [*seeded, f"expected = {find_operator(case.like).code}({expected})", *seeded]
    if is_numpy_layer(candidate):
        lines += _numpy_forward(case, wiring)
        lines += _print_updated(updated, wiring.places)
        return "\n".join([*lines, *_numpy_backward(case, wiring)])
    lines += _module_forward(case, wiring) if is_module(candidate) else [_function_call(case, candidate)]
    if case.keywords.get("return_indices"):
        lines.append("(expected, expected_indices), (got, got_indices) = expected, got")
        lines.append("print('indices', expected_indices, got_indices, sep='\\n')")
    lines.append("print('output', expected.detach(), got.detach(), sep='\\n')")
    lines += _print_updated(updated, {name: name for name in updated})
    return "\n".join([*lines, *_gradients(case)])


def _import(candidate: Any) -> list[str]:
    """Return the lines that bring the candidate in, a comment where it cannot be imported."""
    name, module = full_name(candidate), getattr(candidate, "__module__", None)
    if module in (None, "__main__") or not hasattr(candidate, "__name__") or "<" in name:
        return [f"# candidate = {name_of(candidate)}"]
    outer, _, inner = name.partition(".")
    alias = [f"candidate = {name}"] if inner else []
    return [f"from {module} import {outer}" + ("" if inner else " as candidate"), *alias]


def _copies(case: Case) -> dict[str, str]:
    """Return what to give in place of the tensors that a call writes into."""
    return {name: f"{name}.clone()" for name in INPLACE if case.keywords.get("inplace")}


def _call(case: Case, renamed: dict[str, str]) -> str:
    """Return the arguments of the operator's call."""
    signature = find_operator(case.like).signature
    last = max(signature.index(name) for name in case.tensors)
    if UPDATED[0] in signature:  # torch has no default for the running statistics
        last = max(last, signature.index(UPDATED[1]))
    names = [renamed.get(name, name) if name in case.tensors else "None" for name in signature[: last + 1]]
    return ", ".join([*names, *_words(case.keywords)])


def _function_call(case: Case, candidate: Any) -> str:
    """Return the call of a function, without what it lacks and with what it requires."""
    taken = function_arguments(candidate, find_operator(case.like), case.keywords)
    return f"got = candidate({_call(replace(case, arguments=tuple(taken.items())), _copies(case))})"


def _words(arguments: dict[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in arguments.items()]


def _print_updated(updated: list[str], places: dict[str, str]) -> list[str]:
    return [f"print('{name}', expected_{name}, {places[name]}, sep='\\n')" for name in updated]


def _construct(case: Case, wiring: Wiring) -> list[str]:
    plain = {name: value for name, value in wiring.constructed.items() if name not in case.tensors}
    tensors = [f"{name}={name}" for name in wiring.constructed if name in case.tensors and name not in plain]
    words = ", ".join([*_words(plain), *tensors])
    return [f"layer = candidate({words})", *([wiring.switch] if wiring.switch else [])]


def _full(case: Case, shape: tuple[int, ...], value: float) -> str:
    return f"torch.full({shape}, {value}, dtype={case.torch_dtype})"


def _module_forward(case: Case, wiring: Wiring) -> list[str]:
    held = [f"'{key}': {name}" for name, key in wiring.places.items()]
    held += [f"'{key}': {_full(case, *filled)}" for key, filled in wiring.absent.items()]
    state = ", ".join(held)
    copies = _copies(case)
    inputs = ", ".join(copies.get(name, name) for name in find_operator(case.like).inputs)
    return [*_construct(case, wiring), f"got = torch.func.functional_call(layer, {{{state}}}, ({inputs},))"]


def _numpy_forward(case: Case, wiring: Wiring) -> list[str]:
    lines = _construct(case, wiring)
    for name, place in wiring.places.items():
        shape = f".reshape({wiring.shapes[name]})" if name in wiring.shapes else ""
        turned = ".T" if name in wiring.transposed else ""
        lines.append(f"{place} = {name}.detach().numpy(){turned}{shape}")
    lines += [f"{place} = {_full(case, *filled)}.numpy()" for place, filled in wiring.absent.items()]
    inputs = ", ".join(f"{name}.detach().numpy()" for name in find_operator(case.like).inputs)
    lines.append(f"got = layer.forward({inputs}{wiring.forward})")
    return [*lines, "print('output', expected.detach().numpy(), got, sep='\\n')"]


def _grad_output(case: Case) -> str | None:
    """Return the code of the gradient that comes in, None where no gradient is wanted."""
    incoming = expect(find_operator(case.like), case).values.grad_output
    if incoming is None:
        return None
    return case.grad_output.reshaped(tuple(incoming.shape)).code(case.torch_dtype)


def _numpy_backward(case: Case, wiring: Wiring) -> list[str]:
    incoming = _grad_output(case)
    if incoming is None:
        return []
    returned = returned_names(find_operator(case.like))[: wiring.returned or 1]
    names = [f"grad_{name}" for name in returned]
    lines = [
        f"grad_output = {incoming}",
        f"expected_grads = torch.autograd.grad(expected, [{', '.join(case.wanted)}], grad_output)",
        f"{', '.join(names)} = layer.backward(grad_output.numpy())",
    ]
    for index, name in enumerate(case.wanted):
        got = f"grad_{name}" if f"grad_{name}" in names else wiring.gradients.get(name, f"layer.grad_{name}")
        turned = ".T" if name in wiring.transposed else ""
        lines.append(f"print('grad_{name}', expected_grads[{index}].numpy(){turned}, {got}, sep='\\n')")
    return lines


def _gradients(case: Case) -> list[str]:
    incoming = _grad_output(case)
    if incoming is None:
        return []
    wanted, twice = ", ".join(case.wanted), case.order == 2
    graph, needed = (", create_graph=True", ".requires_grad_()") if twice else ("", "")
    lines = [
        f"grad_output = {incoming}{needed}",
        f"expected_grads = torch.autograd.grad(expected, [{wanted}], grad_output{graph})",
        f"got_grads = torch.autograd.grad(got, [{wanted}], grad_output{graph})",
    ]
    for index, name in enumerate(case.wanted):
        pair = ", ".join(f"{side}_grads[{index}].detach()" for side in ("expected", "got"))
        lines.append(f"print('grad_{name}', {pair}, sep='\\n')")
    return lines + (_second(case) if twice else [])


def _second(case: Case) -> list[str]:
    directions = [case.tensors[name].directed().code(case.torch_dtype) for name in case.wanted]
    sources = ", ".join([*case.wanted, "grad_output"])
    lines = [f"directions = [{', '.join(directions)}]"]
    for side in ("expected", "got"):
        again = f"torch.autograd.grad({side}_grads, [{sources}], directions, materialize_grads=True)"
        lines.append(f"{side}_seconds = {again}")
    for index, name in enumerate([*case.wanted, "grad_output"]):
        pair = f"expected_seconds[{index}], got_seconds[{index}]"
        lines.append(f"print('second_{name}', {pair}, sep='\\n')")
    return lines


def side_by_side(difference: Difference) -> str:
    """Return expected and got, one after the other, where they are small; else an empty string."""
    got, expected = difference.got, difference.expected
    if got is None or expected is None or got.numel() > _SMALL:
        return ""
    shown = expected if got.shape != expected.shape else expected.to(got.dtype)
    return f"{difference.what}, expected:\n{shown}\n{difference.what}, got:\n{got}"
