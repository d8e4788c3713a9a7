"""Code that calls torch and a candidate on a case: what several forms of candidates share."""

from __future__ import annotations

from typing import Any

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.candidate import Wiring
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.operators.calling import INPLACE, UPDATED, Values
from scratch_conv.parity.operators.operator import Operator


def write_call(case: Case, operator: Operator, renamed: dict[str, str]) -> str:
    """Return the arguments of the operator's call, with other expressions for the tensors in `renamed`."""
    signature = operator.signature
    last = max(signature.index(name) for name in case.tensors)
    last = max([last, *map(signature.index, operator.updates)])  # torch has no default for these
    names = [renamed.get(name, name) if name in case.tensors else "None" for name in signature[: last + 1]]
    if operator.parted:
        names[1:] = [f"{name}={each}" for name, each in zip(signature[1:], names[1:], strict=False)]
    return ", ".join([*names, *_words(case.keywords)])


def copies_of(case: Case) -> dict[str, str]:
    """Return expressions that copy the tensors which a call writes into."""
    return {name: f"{name}.clone()" for name in INPLACE if case.keywords.get("inplace")}


def updated_by(case: Case) -> list[str]:
    """Return the names of the running statistics that a call updates."""
    return [name for name in UPDATED if name in case.tensors]


def write_constructor(case: Case, wiring: Wiring) -> list[str]:
    """Return the lines that construct a layer and set whether it trains."""
    words = ", ".join(_words(wiring.constructed))
    return [f"layer = candidate({words})", *([wiring.switch] if wiring.switch else [])]


def _words(arguments: dict[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in arguments.items()]


def write_words(arguments: dict[str, Any], codes: dict[str, str]) -> list[str]:
    """Return keyword arguments as they are written, with other expressions for some tensors."""
    words = []
    for name, value in arguments.items():
        code = codes.get(getattr(value, "name", ""), repr(value))
        if isinstance(value, dict):
            code = "{" + ", ".join(f"{key!r}: {word}" for key, word in _written(value, codes)) + "}"
        words.append(f"{name}={code}")
    return words


def _written(entries: dict[str, Any], codes: dict[str, str]) -> list[tuple[str, str]]:
    return [(key, codes.get(getattr(each, "name", ""), repr(each))) for key, each in entries.items()]


def write_outputs(adapter: Adapter) -> list[str]:
    """Return the line that takes the output of what is returned, where there is more."""
    names = adapter.outputs
    if not names:
        return []
    if "indices" in names:
        return [f"got = got[{names.index('output')}], got[{names.index('indices')}]"]
    return [f"got = got[{names.index('output')}]"]


def write_full(case: Case, shape: tuple[int, ...], value: float) -> str:
    """Return an expression for a tensor of one value."""
    return f"torch.full({shape}, {value}, dtype={case.torch_dtype})"


def write_incoming(case: Case, values: Values) -> str | None:
    """Return an expression for the incoming gradient, None where no gradient is wanted."""
    if values.grad_output is None:
        return None
    return case.grad_output.reshaped(tuple(values.grad_output.shape)).code(case.torch_dtype)


def print_updated(case: Case, places: dict[str, str]) -> list[str]:
    """Return the lines that print running statistics, where these stand at the candidate's `places`."""
    return [
        f"print('{name}', expected_{name}, {places.get(name, name)}, sep='\\n')" for name in updated_by(case)
    ]


def print_autograd(case: Case, values: Values, got: str = "got") -> list[str]:
    """Return the lines that print `expected` and `got`, and their gradients by autograd.

    Args:
        case: the call.
        values: its tensors, the incoming gradient included.
        got: the expression of the output as torch has it.
    """
    lines = [] if got == "got" else [f"got = {got}"]
    if case.keywords.get("return_indices"):
        lines.append("(expected, expected_indices), (got, got_indices) = expected, got")
        lines.append("print('indices', expected_indices, got_indices, sep='\\n')")
    lines.append("print('output', expected.detach(), got.detach(), sep='\\n')")
    lines += print_updated(case, {})
    incoming = write_incoming(case, values)
    if incoming is None:
        return lines
    wanted, twice = ", ".join(case.wanted), case.order == 2
    graph, needed = (", create_graph=True", ".requires_grad_()") if twice else ("", "")
    lines += [
        f"grad_output = {incoming}{needed}",
        f"expected_grads = torch.autograd.grad(expected, [{wanted}], grad_output{graph})",
        f"got_grads = torch.autograd.grad(got, [{wanted}], grad_output{graph})",
    ]
    for index, name in enumerate(case.wanted):
        pair = ", ".join(f"{side}_grads[{index}].detach()" for side in ("expected", "got"))
        lines.append(f"print('grad_{name}', {pair}, sep='\\n')")
    return lines + (_print_second(case) if twice else [])


def _print_second(case: Case) -> list[str]:
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
