"""A case as code that can be pasted and run with nothing but torch and the candidate."""

from __future__ import annotations

from scratch_conv.parity.candidates import call_code, import_code
from scratch_conv.parity.case import Case
from scratch_conv.parity.comparison import Difference
from scratch_conv.parity.expectation import expect
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.running import INPLACE, UPDATED

_SMALL = 64  # arrays of more elements are not shown


def reproduce(case: Case, candidate: object) -> str:
    """Return Python code that calls torch and the candidate on a case and prints both."""
    operator = find_operator(case.like)
    present = [name for name in operator.signature if name in case.tensors]
    lines = ["import torch", "import torch.nn.functional as F", import_code(candidate), ""]
    for name in present:
        wanted = ".requires_grad_()" if name in case.wanted else ""
        lines.append(f"{name} = {case.tensors[name].code(case.torch_dtype)}{wanted}")
    last = max(operator.signature.index(name) for name in present)
    written = (*UPDATED, *(INPLACE if case.keywords.get("inplace") else ()))
    given = {name: f"{name}.clone()" if name in written else name for name in present}
    tensors = [given.get(name, "None") for name in operator.signature[: last + 1]]
    call = ", ".join([*tensors, *(f"{name}={value!r}" for name, value in case.arguments)])
    seeded = [] if case.seed is None else [f"torch.manual_seed({case.seed})"]
    lines += [*seeded, f"expected = {operator.code}({call})"]
    lines += [*seeded, *call_code(candidate, operator, case, call)]
    if case.keywords.get("return_indices"):
        lines += ["(expected, expected_indices), (got, got_indices) = expected, got"]
        lines += ["print(expected_indices, got_indices, sep='\\n')"]
    lines += ["print(expected, got, sep='\\n')", *_gradients(case)]
    return "\n".join(lines)


def _gradients(case: Case) -> list[str]:
    expectation = expect(find_operator(case.like), case)
    incoming = expectation.values.grad_output
    if incoming is None:
        return []
    wanted = f"[{', '.join(case.wanted)}]"
    graph = ", create_graph=True" if case.order == 2 else ""
    needed = ".requires_grad_()" if case.order == 2 else ""
    array = case.grad_output.reshaped(tuple(incoming.shape))
    lines = [
        f"grad_output = {array.code(case.torch_dtype)}{needed}",
        "for result in (expected, got):",
        f"    grads = torch.autograd.grad(result, {wanted}, grad_output{graph})",
        "    print(*grads, sep='\\n')",
    ]
    if case.order == 2:
        directions = ", ".join(
            array.directed().code(case.torch_dtype) for name, array in case.arrays if name in case.wanted
        )
        sources = f"[{', '.join([*case.wanted, 'grad_output'])}]"
        again = f"torch.autograd.grad(grads, {sources}, [{directions}], materialize_grads=True)"
        lines.append(f"    print(*{again}, sep='\\n')")
    return lines


def side_by_side(difference: Difference) -> str:
    """Return expected and got, one after the other, where they are small; else an empty string."""
    got, expected = difference.got, difference.expected
    if got is None or expected is None or got.numel() > _SMALL:
        return ""
    shown = expected if got.shape != expected.shape else expected.to(got.dtype)
    return f"{difference.what}, expected:\n{shown}\n{difference.what}, got:\n{got}"
