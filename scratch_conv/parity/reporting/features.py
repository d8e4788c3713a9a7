"""Which of the claims that a candidate may leave out a case needs."""

from __future__ import annotations

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import PAIRS
from scratch_conv.parity.operators import find_operator


def features_of(case: Case) -> list[str]:
    """Return the names, as claims and torch's signature have them, of what a case needs beyond the plain.

    The plain case: every argument at torch's default, contiguous tensors of ordinary float32 numbers with one
    sample at least. An argument that comes as a pair, if only (1, 1), needs `rectangular` of it.
    """
    operator = find_operator(case.like)
    input, weight = case.tensors["input"], case.tensors.get("weight")
    layouts = {
        each.layout for each in (*case.tensors.values(), *((case.grad_output,) if case.wanted else ()))
    }
    pairs = [name for name, value in case.arguments if isinstance(value, tuple) and name in PAIRS]
    if weight is not None and operator.batched_axes > 2 and len(set(weight.shape[2:])) > 1:
        pairs.append("kernel_size")
    words = {name for name, value in case.arguments if name == "padding" and isinstance(value, str)}
    needed = {
        "unbatched": operator.unbatched(case),
        "further_axes": operator.batched_axes == 2 < len(input.shape),
        "class_probabilities": case.like == "cross_entropy" and case.tensors["target"].dtype is None,
        "byte_targets": "target" in case.tensors and case.tensors["target"].dtype == "uint8",
        "broadcast_targets": getattr(operator, "broadcasts", False)
        and case.tensors["target"].shape != input.shape,
        "empty": 0 in input.shape,
        "layouts": layouts != {"contiguous"},
        "special_values": bool(case.kinds() & {"special", "zeros"}),
        **{f"rectangular.{name}": True for name in dict.fromkeys(pairs)},
        "string_padding": bool(words),
        "second_derivatives": case.order == 2,
    }
    given = {*case.keywords, *case.tensors} - {*operator.inputs, *words}
    named = [name for name in operator.arguments if name in given]
    return [*named, *(name for name, needs in needed.items() if needs)]
