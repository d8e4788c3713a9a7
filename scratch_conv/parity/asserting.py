"""One case as an assertion, for tests written with Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from scratch_conv.parity.candidates.candidates import as_call
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Claims, parse_supports
from scratch_conv.parity.judging.compare import compare
from scratch_conv.parity.operators import find_operator


def cases(like: str, supports: Claims = None, *, invalid: bool = False) -> st.SearchStrategy[Case]:
    """Return a strategy that draws calls of an operator.

    Args:
        like: the operator's name in torch.nn.functional.
        supports: what the candidate claims; see `Supports`.
        invalid: draw calls that torch (mostly) refuses instead.

    Raises:
        ValueError: for an unknown name.
    """
    operator = find_operator(like)
    claims = parse_supports(supports, operator.arguments)
    return operator.invalid_cases(claims) if invalid else operator.cases(claims)


def assert_parity(candidate: Any, case: Case, supports: Claims = None) -> None:
    """Call a candidate on a case, in this process.

    Args:
        candidate: a function, an nn.Module class or a NumPy layer, as `check` takes it.
        case: the call.
        supports: what is compared besides values: see `Supports.memory_format` and `Supports.errors`.

    Raises:
        AssertionError: says what differs from torch.
    """
    operator = find_operator(case.like)
    verdict = compare(as_call(candidate, operator), case, parse_supports(supports, operator.arguments))
    if verdict.differences:
        lines = [str(case), f"  {case}", *(f"  {each.message}" for each in verdict.differences)]
        raise AssertionError("\n".join(lines))
