"""cross_entropy: how its cases are drawn, and a derived bound of its rounding errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.case import Case
from scratch_conv.parity.drawing import Draw, draw_arrays, draw_dtype, draw_kind, draw_wanted, given_arguments
from scratch_conv.parity.operators.base import Bound, Operator, derived_bounds
from scratch_conv.parity.rounding import relative, smallest_subnormal, unit_roundoff
from scratch_conv.parity.running import Values
from scratch_conv.parity.supports import FLOATS, Supports

_DEFAULTS = {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0}
_FUNCTION = 4.0  # roundings that a computed exp or log is taken to be worth: faithful ones need 2


class CrossEntropy(Operator):
    """torch.nn.functional.cross_entropy on class indices: first derivatives, finite values.

    With m the greatest logit of a sample, z = x - m, p the softmax, S = Σ exp z, C classes, and exp and log
    taken to err by 4 u relative, the logarithm of the softmax, written as z - log S or as x - (m + log S),
    errs by at most

        e = gamma_(C+8) + 2 u Σ p|z| + gamma_8 (|x| + |m| + |log S|)

    (Blanchard, Higham and Higham, Accurately computing the log-sum-exp and softmax functions, 2021, section
    4). The loss is Σ q (-log p) / D with weights q >= 0, over at most K terms:

        Σ q e / D + gamma_(K+8) Σ q |log p| / D.

    The gradient of a logit is (p Σq - q) g / D, where an exponential below the smallest normal number ν may
    be flushed to zero:

        ((p (exp(e) - 1 + gamma_(K+16)) + ν) Σq + gamma_(K+16) q) |g| / D.

    A product that underflows adds half the smallest subnormal η: K η to the loss, and 4 η to a gradient,
    whose last factors are p <= 1 and |g| / D (for which ν > η stands above).
    """

    name = "cross_entropy"
    signature = ("input", "target", "weight")
    inputs = ("input", "target")
    arguments = ("weight", *_DEFAULTS)
    dtypes = FLOATS

    def cases(self, supports: Supports) -> st.SearchStrategy[Case]:
        """Draw calls that torch accepts."""
        return _cases(supports)

    def invalid_cases(self, supports: Supports) -> st.SearchStrategy[Case]:
        """Draw calls that differ from an accepted one in one argument."""
        return _invalid_cases(supports)

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.CrossEntropyLoss."""
        return {**({"weight": tensors["weight"]} if "weight" in tensors else {}), **arguments}

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        """Return the bounds that the class derives."""
        return derived_bounds(results, case.torch_dtype, lambda dtype: _errors(case, values, dtype))


def _errors(case: Case, values: Values, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the bound of the error of each result that is computed in `dtype`."""
    u = unit_roundoff(dtype)
    logits = values.tensors["input"]
    x = logits.movedim(0 if logits.ndim == 1 else 1, -1)
    classes = x.shape[-1]
    largest = x.amax(-1, keepdim=True)
    log_p = x.log_softmax(-1)
    p, log_sum = log_p.exp(), (x - largest).exp().sum(-1, keepdim=True).log()
    spread = (p * (x - largest).abs()).sum(-1, keepdim=True)
    error = relative(classes + 2 * _FUNCTION, u) + 2 * u * spread
    error = error + relative(2 * _FUNCTION, u) * (x.abs() + largest.abs() + log_sum)
    q, divisor = _weights(case, values, x)
    count = q.numel()
    tiny = smallest_subnormal(dtype)
    losses = (q * (error + relative(count + 8, u) * log_p.abs())).sum(-1) + count * tiny
    reduction = case.keywords.get("reduction", "mean")
    errors = {"output": losses if reduction == "none" else losses.sum() / divisor}
    if values.grad_output is not None:
        incoming = values.grad_output.abs()
        incoming = incoming.unsqueeze(-1) if reduction == "none" else incoming / divisor
        rounding = relative(count + 16, u)
        flushed = torch.finfo(dtype).smallest_normal
        slopes = (p * (error.expm1() + rounding) + flushed) * q.sum(-1, keepdim=True) + rounding * q
        errors["grad_input"] = (slopes * incoming + 4 * tiny).movedim(-1, 0 if logits.ndim == 1 else 1)
    return errors


def _weights(case: Case, values: Values, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much each -log p counts, of the shape of x, and what the sum is divided by."""
    target, keywords = values.tensors["target"], case.keywords
    classes = x.shape[-1]
    weight = values.tensors.get("weight", torch.ones(classes, dtype=torch.float64))
    smoothing = keywords.get("label_smoothing", 0.0)
    kept = target != keywords.get("ignore_index", _DEFAULTS["ignore_index"])
    index = torch.where(kept, target, 0)
    one_hot = torch.nn.functional.one_hot(index, classes).double()
    q = (one_hot * (1 - smoothing) + smoothing / classes) * weight * kept.unsqueeze(-1)
    whole = keywords.get("reduction", "mean") != "mean"
    return q, torch.ones(()) if whole else (weight[index] * kept).sum()


@st.composite
def _cases(draw: Draw, supports: Supports) -> Case:
    dtype = draw_dtype(draw, supports, CrossEntropy.dtypes)
    classes = draw(st.integers(1, 6))
    batches = [(1,), (2,), (4,), (2, 3), (2, 2, 2)] + ([()] if supports.unbatched else [])
    batch: tuple[int, ...] = draw(st.sampled_from(batches))
    shapes: dict[str, tuple[int, ...]] = {"input": (*batch[:1], classes, *batch[1:]), "target": batch}
    if supports.takes("weight") and draw(st.booleans()):
        shapes["weight"] = (classes,)
    kind = draw_kind(draw, supports, dtype)
    arrays, grad_output = draw_arrays(draw, supports, shapes, "normal" if kind == "special" else kind)
    tensors = dict(arrays)
    tensors["target"] = replace(tensors["target"], kind="classes", high=classes, dtype="int64")
    if "weight" in tensors:
        tensors["weight"] = tensors["weight"].made_positive()
    wanted, _ = draw_wanted(draw, supports, ("input",))
    arguments: dict[str, Any] = dict(_DEFAULTS)
    choices = {
        "ignore_index": (-100, 0, 1),
        "reduction": ("mean", "sum", "none"),
        "label_smoothing": (0.0, 0.1, 0.5),
    }
    for name, values in choices.items():
        if supports.takes(name):
            arguments[name] = draw(st.sampled_from(values))
    given = given_arguments(arguments, _DEFAULTS)
    return Case("cross_entropy", tuple(tensors.items()), given, dtype, wanted, grad_output)


@st.composite
def _invalid_cases(draw: Draw, supports: Supports) -> Case:
    case: Case = draw(_cases(supports))
    shapes = {name: array.shape for name, array in case.arrays}
    too_high = replace(case.tensors["target"], high=99, seed=7, kind="classes")
    changes = [
        case.changed(reduction="average"),
        case.changed(label_smoothing=1.5),
        case.reshaped("target", (*shapes["target"], 2)),
        replace(case, arrays=(*case.arrays[:1], ("target", too_high), *case.arrays[2:])),
    ]
    if "weight" in shapes:
        changes.append(case.reshaped("weight", (shapes["weight"][0] + 1,)))
    invalid: Case = draw(st.sampled_from(changes))
    return invalid
