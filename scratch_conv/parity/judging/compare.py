"""Judging a candidate on a case.

Exact mode: where a case holds small integers, every sum is exactly representable, so every order of summation
gives the same values, and a candidate's have to be equal (the sign of a zero is not compared). Bounded mode:
elsewhere, each element may lie as far from torch's float64 result as `parity.operators.rounding` derives,
and no farther. Where infinities, NaNs or overflow are in play, what any of torch's own paths does is right.
In reduced precision (float16, bfloat16) the bound is that of a computation in float32 that is rounded once.
Torch's own paths round more often, which ones depends on the processor; a candidate that is no worse than the
worst of them passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.candidates.candidate import Candidate
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.judging.expect import Expectation, Expected, expect, worst_share
from scratch_conv.parity.judging.observe import Observation, observe
from scratch_conv.parity.judging.packing import Packed
from scratch_conv.parity.judging.raising import Raised, full_type
from scratch_conv.parity.operators import find_operator

_OTHER = "has other bits when the call is repeated"
_ADDED = f"{_OTHER}: it is the sum of both calls' then; set it anew in backward, or write zero_grad()"
_DERIVATIVES = ("grad_", "second_")


@dataclass
class Difference:
    """One way in which a candidate is not torch.

    Attributes:
        what: the name of the result, or what else differs (an exception, a changed input, ...).
        message: one line that says how.
        got: the candidate's values, where values differ.
        expected: torch's in float64.
        wrong: where they differ too much.
        allowed: the greatest difference allowed.
        dtypes: the names of the candidate's dtype and of torch's, where these differ.
    """

    what: str
    message: str
    got: Tensor | None = None
    expected: Tensor | None = None
    wrong: Tensor | None = None
    allowed: Tensor | None = None
    dtypes: tuple[str, ...] = ()


@dataclass
class Verdict:
    """The outcome of one case.

    Attributes:
        differences: what is not torch; empty for a candidate that is right.
        share: the worst error as a share of the bound, over the elements that have one; in reduced precision
            more than 1 where torch's is too.
        notes: how the candidate was called, where that is not plain.
        skipped: the name of the exception by which the candidate said that it does not claim the call.
    """

    differences: list[Difference] = field(default_factory=list)
    share: float = 0.0
    notes: list[str] = field(default_factory=list)
    skipped: str = ""


def compare(candidate: Candidate[Any], case: Case, supports: Supports | None = None) -> Verdict:
    """Call a candidate on a case and judge what it does.

    Args:
        candidate: what is compared with its operator.
        case: the call.
        supports: says whether memory format and exceptions are compared.
    """
    return judge(case, observe(candidate, case), supports or Supports())


_prepared: list[tuple[Case, Expectation]] = []
"""What torch says of the case that is judged next, where that is known already."""


def prepare(case: Case, accuracy: str = "elementwise") -> None:
    """Find out what torch says of a case, while the candidate works on it elsewhere."""
    _prepared[:] = [(case, expect(find_operator(case.like), case, accuracy))]


def judge(case: Case, observation: Observation, supports: Supports) -> Verdict:
    """Compare what was observed of a candidate on a case with what torch says of it."""
    if not _prepared or _prepared[0][0] != case:
        prepare(case, supports.accuracy)
    ((_, expectation),) = _prepared
    _prepared.clear()
    verdict = _judge(expectation, observation, supports)
    verdict.notes = observation.notes
    return verdict


def _judge(expectation: Expectation, observation: Observation, supports: Supports) -> Verdict:
    if observation.error is not None and not observation.again:
        names = [each.rpartition(".")[2] for each in observation.error.types]
        if any(name in supports.skip_on for name in names):
            return Verdict(skipped=names[0])
    if expectation.error is not None:
        return Verdict(_compare_errors(expectation.error, observation))
    results = {name: packed.unpack() for name, packed in observation.results.items()}
    if observation.error is not None and not _ends_early(expectation, results):
        return Verdict(_raised(observation.error, observation.again))
    verdict = Verdict()
    if observation.error is not None or _ends_early(expectation, results):
        results = {name: value for name, value in results.items() if not name.startswith(_DERIVATIVES)}
    for name, expected in expectation.results.items():
        if name not in results:
            if not verdict.differences:
                missing = "is unknown to autograd" if name.startswith("grad_") else "was not returned"
                verdict.differences.append(Difference(name, f"{name} {missing}"))
            continue
        got = results[name]
        difference = compare_values(name, got, expected)
        if difference is not None:
            verdict.differences.append(difference)
        else:
            worst = worst_share(_as_number(got), _as_number(expected.value), expected.allowed)
            verdict.share = max(verdict.share, worst)
    verdict.differences += _compare_conduct(expectation, observation)
    if supports.memory_format and not verdict.differences:
        strides = _compare_strides(results["output"], observation.strides, expectation.results["output"])
        verdict.differences += strides
    return verdict


def _ends_early(expectation: Expectation, results: dict[str, Tensor]) -> bool:
    """Return whether the output is of another shape or dtype than torch's: its gradients say nothing then."""
    output, expected = results.get("output"), expectation.results["output"]
    return output is not None and (output.shape != expected.value.shape or output.dtype != expected.dtype)


def _raised(error: Raised, again: bool) -> list[Difference]:
    """Return the differences that an exception is."""
    if error.kind in ("interface", "result"):
        return [Difference(error.kind, error.text)]
    if error.kind == "gradient":
        return [Difference(name, line, dtypes=dtypes) for name, (line, dtypes) in error.found.items()]
    repeated = " when the call is repeated" if again else ""
    return [Difference("exception", f"{error.text}{repeated}, where torch computes a result")]


def compare_values(name: str, got: Tensor, expected: Expected) -> Difference | None:
    """Compare shape, dtype and elements of one result."""
    value = expected.value
    if got.shape != value.shape:
        return Difference(name, f"{name} has shape {tuple(got.shape)}, expected {tuple(value.shape)}")
    if got.dtype != expected.dtype:
        dtypes = tuple(str(dtype).removeprefix("torch.") for dtype in (got.dtype, expected.dtype))
        return Difference(name, f"{name} has dtype {got.dtype}, expected {expected.dtype}", dtypes=dtypes)
    wrong = wrong_elements(got, expected)
    if not wrong.any():
        return None
    return Difference(name, _measure(name, got, value, wrong), got, value, wrong, expected.allowed)


def wrong_elements(got: Tensor, expected: Expected) -> Tensor:
    """Return where a result of the right shape is not one that a correct computation can have."""
    value = _as_number(expected.value)
    wide = got.to(value.dtype)
    right = (wide - value).abs() <= expected.allowed * expected.torch_share
    if expected.signed:
        right &= (wide != 0) | (wide.signbit() == value.signbit())
    for path in [value, *expected.paths]:
        path = path.to(value.dtype)
        same = (wide == path) | (wide.isnan() & path.isnan())
        right |= same & ~((path == 0) & (wide.signbit() != path.signbit())) if expected.signed else same
    if value.is_complex():  # a complex infinity has no one representation (C11, annex G)
        right |= ~wide.isfinite() & ~value.isfinite()
    right |= expected.overflow & (~wide.isfinite() | ~value.isfinite())
    return ~right


def _as_number(tensor: Tensor) -> Tensor:
    """Return truth values as 0 and 1: torch does not subtract them."""
    return tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor


def _measure(name: str, got: Tensor, value: Tensor, wrong: Tensor) -> str:
    """Return a line that says how much differs and where, in the manner of torch.testing."""
    got, value = _as_number(got), _as_number(value)
    error = (got.to(value.dtype) - value).abs()
    finite = torch.where(wrong & error.isfinite(), error.to(torch.float64), -1.0)
    text = f"{name} differs in {int(wrong.sum())} of {wrong.numel()} elements"
    place = torch.unravel_index(finite.argmax(), finite.shape)
    if float(finite.max()) < 0:
        place = torch.unravel_index(wrong.to(torch.uint8).argmax(), wrong.shape)
    index = tuple(int(each) for each in place)
    relative = float(error[index]) / float(value[index].abs()) if value[index] != 0 else torch.inf
    return (
        f"{text}; greatest difference {float(error[index]):.9g} (relative {relative:.3g}) at index {index}: "
        f"expected {value[index].item()!r}, got {got[index].item()!r}"
    )


def _compare_errors(error: Exception, observation: Observation) -> list[Difference]:
    reason = str(error).partition("\n")[0]
    refused = f"torch refuses this call with {type(error).__name__}: {reason}"
    if observation.error is None:
        return [Difference("exception", f"computed a result; {refused}")]
    if full_type(type(error)) in observation.error.types:
        return []
    return [Difference("exception", f"{observation.error.text}; {refused}")]


def _compare_conduct(expectation: Expectation, observation: Observation) -> list[Difference]:
    found = [Difference(f"changed {name}", f"{name} was written into") for name in observation.changed]
    own, theirs = observation.aliases, [] if observation.copied else expectation.aliases
    found += [
        Difference("shared memory", f"the output shares memory with {name}, torch's does not")
        for name in own
        if name not in theirs
    ]
    found += [
        Difference("shared memory", f"the output is a copy, torch's shares memory with {name}")
        for name in theirs
        if name not in own
    ]
    adding = [name for name, again in observation.repeated.items() if _adds_up(name, observation, again)]
    if observation.reused and not adding:
        found.append(
            Difference("shared memory", "a second call writes into the memory of the first call's result")
        )
    found += [
        Difference(f"unrepeated {name}", f"{name} {_ADDED if name in adding else _OTHER}")
        for name in observation.repeated
    ]
    return found


def _adds_up(name: str, observation: Observation, again: Packed) -> bool:
    """Return whether the second call's gradient is the sum of both calls'."""
    first, second = observation.results[name].unpack(), again.unpack()
    if not name.startswith("grad_") or first.shape != second.shape or not first.any():
        return False
    return bool(torch.allclose(second, 2 * first, rtol=1e-5, atol=0.0, equal_nan=True))


def _compare_strides(got: Tensor, strides: tuple[int, ...], expected: Expected) -> list[Difference]:
    significant = [axis for axis, size in enumerate(got.shape) if size > 1]
    if got.numel() == 0 or all(strides[axis] == expected.strides[axis] for axis in significant):
        return []
    return [Difference("strides", f"the output's strides are {strides}, torch's are {expected.strides}")]
