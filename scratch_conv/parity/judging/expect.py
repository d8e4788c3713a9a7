"""What torch says of a case: its results in float64 and how far others may lie, or its refusal."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.operators import find_operator
from scratch_conv.parity.operators.calling import Values, make_values, run, with_gradients
from scratch_conv.parity.operators.operator import Bound, Operator
from scratch_conv.parity.operators.rounding import is_reduced


@dataclass
class Expected:
    """One result that torch computes.

    Attributes:
        value: the result in float64 (complex128; integers as they are).
        allowed: how far a correct result may lie from it, elementwise.
        overflow: where a partial sum may overflow in one order and not in another.
        torch_share: the worst error of torch's own paths as a share of `allowed` in reduced precision, where
            torch rounds on the way on some processors; 1 where it is less, and in the other dtypes.
        paths: the result in the case's dtype by each of torch's own paths; in reduced precision, and where
            some of it is not finite.
        dtype: the dtype of torch's result.
        strides: the strides of torch's output; empty for gradients.
        signed: whether the sign of a zero is compared.
    """

    value: Tensor
    allowed: Tensor
    overflow: Tensor
    torch_share: float = 1.0
    paths: list[Tensor] = field(default_factory=list)
    dtype: torch.dtype = torch.float32
    strides: tuple[int, ...] = ()
    signed: bool = False


@dataclass
class Expectation:
    """All that torch says of a case.

    Attributes:
        values: the tensors that a candidate is called with.
        results: torch's results by name; empty where it refuses.
        aliases: the names of the tensors whose memory torch's output is.
        error: what torch raises, or None.
    """

    values: Values
    results: dict[str, Expected] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    error: Exception | None = None


def expect(operator: Operator, case: Case, accuracy: str = "elementwise") -> Expectation:
    """Return what torch says of a case. Torch's warnings are left out: they are not what is compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _expect(operator, case, accuracy)


def output_form(case: Case) -> tuple[tuple[int, ...], str] | None:
    """Return the shape and the name of the dtype of torch's output, None where it refuses."""
    values, operator = make_values(case), find_operator(case.like)
    try:
        called = run(operator.reference, replace(case, wanted=()), values, operator.signature)
    except Exception:  # as in `_expect`
        return None
    output = called.results["output"]
    return tuple(output.shape), str(output.dtype).removeprefix("torch.")


def _expect(operator: Operator, case: Case, accuracy: str) -> Expectation:
    values = make_values(case)
    try:
        called = run(operator.reference, replace(case, wanted=()), values, operator.signature)
    except Exception as error:  # torch refuses in many types; the candidate is asked for the same
        return Expectation(values, error=error)
    native = called.results["output"]
    values = with_gradients(case, values, native)
    precise = values.map(_widen_strided if operator.random else _widen)
    results = run(operator.definition, case, precise, operator.signature).results
    bounds = operator.bounds(case, precise, results)
    if accuracy == "norm":
        bounds = operator.norm_bounds(case, precise, results, bounds)
    reduced = is_reduced(case.torch_dtype)
    paths = _paths(operator, case, values) if reduced or _exceptional(results, bounds) else []
    expected = {}
    for name, value in results.items():
        bound, ways = bounds[name], [path[name] for path in paths]
        shares = [worst_share(way, value, bound.allowed) for way in ways] if reduced else [1.0]
        dtype = _dtype(name, value, values, native)
        expected[name] = Expected(value, bound.allowed, bound.overflow, max(1.0, *shares), ways, dtype)
    expected["output"].strides = native.stride()
    expected["output"].signed = operator.signed_zeros and not native.is_complex()
    return Expectation(values, expected, called.aliases)


def _dtype(name: str, value: Tensor, values: Values, native: Tensor) -> torch.dtype:
    """Return the dtype of one of torch's results: that of the tensor it belongs to."""
    source = values.named().get(name.removeprefix("grad_").removeprefix("second_"))
    if name == "second_grad_output" and values.grad_output is not None:
        return values.grad_output.dtype
    if source is not None:
        return source.dtype
    return native.dtype if value.is_floating_point() or value.is_complex() else value.dtype


def worst_share(got: Tensor, value: Tensor, allowed: Tensor) -> float:
    """Return the greatest error as a share of what is allowed, over the elements that are allowed to err."""
    error = (got.to(value.dtype) - value).abs()
    judged = (allowed > 0) & allowed.isfinite() & error.isfinite()
    return float((error[judged] / allowed[judged]).max()) if judged.any() else 0.0


def _widen(tensor: Tensor) -> Tensor:
    """Return the tensor in double precision and contiguous: torch is right there, whatever the strides."""
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64).contiguous()


def _widen_strided(tensor: Tensor) -> Tensor:
    """Return the tensor in double precision, with the strides of torch's results from it."""
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _exceptional(results: dict[str, Tensor], bounds: dict[str, Bound]) -> bool:
    """Return whether torch's own paths may disagree by more than rounding."""
    finite = all(bool(value.isfinite().all()) for value in results.values())
    return not finite or any(bool(bound.overflow.any()) for bound in bounds.values())


def _paths(operator: Operator, case: Case, values: Values) -> list[dict[str, Tensor]]:
    """Run torch's own paths, oneDNN on and off, input contiguous and channels_last; and other right ways."""
    ways = []
    for onednn, memory_format in itertools.product((True, False), (None, torch.channels_last)):
        changed = Values(dict(values.tensors), values.grad_output, values.directions)
        if memory_format is not None:
            if operator.random or not values.tensors["input"].ndim == 4 == operator.batched_axes:
                continue
            changed.tensors["input"] = values.tensors["input"].contiguous(memory_format=memory_format)
        with using_onednn(onednn):
            ways.append(run(operator.reference, case, changed, operator.signature).results)
    return ways + [run(way, case, values, operator.signature).results for way in operator.other_ways]


@contextmanager
def using_onednn(enabled: bool) -> Iterator[None]:
    """Switch oneDNN on or off for the block."""
    before: bool = torch.backends.mkldnn.enabled  # type: ignore[assignment]
    torch.backends.mkldnn.enabled = enabled  # type: ignore[assignment]  # a property at run time
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before  # type: ignore[assignment]
