"""A case as code that can be pasted and run with nothing but torch and the candidate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scratch_conv.parity.candidates.candidate import Candidate, W
from scratch_conv.parity.candidates.signatures import full_name, module_of, name_of
from scratch_conv.parity.candidates.writing import copies_of, updated_by, write_call
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.compare import Difference
from scratch_conv.parity.operators.calling import Values

_SMALL = 64  # arrays of more elements are not shown
_EXPECTED = re.compile(r"^expected\w* = |torch\.autograd\.grad\(expected")
_CALL = re.compile(r"(\w+, )*got(, \w+)* = (layer\.|candidate\(|torch\.func\.functional_call)")
_DIGITS = {"float64": 17, "complex128": 17}  # that tell neighbours apart; 9 do in float32


def reproduce(
    case: Case, candidate: Candidate[W], values: Values, wiring: W, differences: Sequence[Difference] = ()
) -> str:
    """Return Python code that calls torch and the candidate on a case and prints both.

    Args:
        case: the call.
        candidate: what differs on it.
        values: the tensors of the case, the incoming gradient included.
        wiring: how it is called.
        differences: what differs; not the values alone are shown.
    """
    operator, printing = candidate.operator, candidate.prints
    changed = [each.what.removeprefix("changed ") for each in differences if each.what.startswith("changed ")]
    lines = ["import torch", "import torch.nn.functional as F", *_import(candidate.given), ""]
    lines[2:2] = ["import numpy"] if printing == "numpy" else []
    lines.append(f"{printing}.set_printoptions(precision={_DIGITS.get(case.dtype, 9)})")
    for name, array in case.arrays:
        wanted = ".requires_grad_()" if name in case.wanted else ""
        lines.append(f"{name} = {array.code(case.torch_dtype)}{wanted}")
        lines += [f"{name}_before = {name}.detach().clone()"] if name in changed else []
    updated = updated_by(case)
    lines += [f"expected_{name} = {name}.clone()" for name in updated]
    seeded = [] if case.seed is None else [f"torch.manual_seed({case.seed})"]
    call = write_call(case, operator, {**copies_of(case), **{name: f"expected_{name}" for name in updated}})
    lines += [*seeded, f"expected = {operator.code}({call})", *seeded]
    used = candidate.write(case, values, wiring)
    used += [
        f"print('{name} before and after', {name}_before, {name}.detach(), sep='\\n')"
        for name, _ in case.arrays
        if name in changed
    ]
    return "\n".join([*lines, *used, *_conduct(used, seeded, differences, updated, printing)])


def _conduct(
    used: list[str], seeded: list[str], differences: Sequence[Difference], updated: list[str], printing: str
) -> Iterator[str]:
    """Yield lines that print a dtype, shared memory, and what another call gives.

    Args:
        used: the lines that use the candidate.
        seeded: those that seed torch before a call.
        differences: what differs.
        updated: the names of the running statistics that a call updates.
        printing: what holds the candidate's output, "torch" or "numpy".
    """
    if any(each.what == "output" and each.dtypes for each in differences):
        yield "print('dtypes', expected.dtype, got.dtype)"
    for each in differences:
        shared = re.search(r"shares? memory with (\w+)", each.message)
        if shared is not None:
            got = "got" if printing == "numpy" else "got.detach().numpy()"
            name = f"{shared[1]}.detach().numpy()"
            pair = ", ".join(f"numpy.shares_memory({one}, {name})" for one in ("expected.detach()", got))
            yield from ("import numpy", f"print('memory shared with {shared[1]}', {pair})")
    if not updated and any(each.what.startswith("unrepeated") for each in differences):
        call = next((n for n, line in enumerate(used) if _CALL.match(line)), len(used))
        yield from ("print('the same call again')", *seeded)
        for line in used[call:]:
            if not _EXPECTED.search(line):
                yield "got, got_indices = got" if line.startswith("(expected, ") else line


def _import(candidate: Any) -> list[str]:
    """Return the lines that bring the candidate in, a comment where it cannot be imported."""
    name, module = full_name(candidate), module_of(candidate)
    if module in (None, "__main__") or "<" in name:
        return [f"# candidate = {name_of(candidate)}"]
    outer, _, inner = name.partition(".")
    alias = [f"candidate = {name}"] if inner else []
    return [f"from {module} import {outer}" + ("" if inner else " as candidate"), *alias]


def side_by_side(difference: Difference) -> str:
    """Return expected and got, one after the other, where they are small; else an empty string."""
    got, expected = difference.got, difference.expected
    if got is None or expected is None or got.numel() > _SMALL:
        return ""
    shown = expected if got.shape != expected.shape else expected.to(got.dtype)
    return f"{difference.what}, expected:\n{_in_full(shown)}\n{difference.what}, got:\n{_in_full(got)}"


def _in_full(tensor: Tensor) -> str:
    """Return a tensor with all digits that tell its numbers apart, whatever torch's options are."""
    wide = tensor.double() if tensor.dtype == torch.bfloat16 else tensor
    name = str(tensor.dtype).removeprefix("torch.")
    return np.array2string(wide.numpy(), precision=_DIGITS.get(name, 9), separator=", ", floatmode="maxprec")
