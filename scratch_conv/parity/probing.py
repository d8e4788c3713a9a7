"""Finding out what a candidate claims: that with which every drawn call fails is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scratch_conv.parity.checking import check
from scratch_conv.parity.options import listed
from scratch_conv.parity.reporting.hints import hinted_dtype

_EXAMPLES = 100  # of each attempt


def probe(candidate: Any, like: str, seed: int = 0, **options: Any) -> dict[str, Any]:
    """Return options of `check` that leave out what a candidate does not do.

    They are those that its reports propose: features and arguments with which every drawn call raises an
    exception, and the dtypes other than the one it computes in. What it computes wrongly is never left out.

    Args:
        candidate: as `check` takes it.
        like: the operator's name in torch.nn.functional.
        seed: the same seed draws the same cases.
        **options: further arguments of `check`, which are returned too.

    Raises:
        TypeError, ValueError: as `check` does.
    """
    for claims in attempts(candidate, like, seed, options):
        options = claims
    return options


def attempts(candidate: Any, like: str, seed: int, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the options as they are, then with more and more left out."""
    claims, before = dict(options), None
    while claims != before:
        yield claims
        before = claims
        report = check(candidate, like, _EXAMPLES, seed, **{**claims, "further": False})
        claims = dict(claims)
        if names := [*listed(claims.get("without") or ()), *report.proposed]:
            claims["without"] = ",".join(dict.fromkeys(names))
        if dtype := hinted_dtype(report.diagnosis):
            claims["dtypes"] = dtype
