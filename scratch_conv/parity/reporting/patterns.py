"""The pattern of a difference: where the wrong elements are, and what the wrong values are instead."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

_NAMES = ("sample", "channel", "row", "column")


def describe_pattern(got: Tensor, expected: Tensor, wrong: Tensor) -> list[str]:
    """Describe in words what is regular about a difference.

    Args:
        got: the candidate's result.
        expected: torch's, of the same shape, in float64.
        wrong: bool, where they differ too much.

    Returns:
        Some lines, none where nothing stands out.
    """
    if got.shape != expected.shape or not wrong.any():
        return []
    wide = got.to(expected.dtype)
    return [*_values(wide, expected), *_places(wrong)]


def describe_factor(got: Tensor, expected: Tensor) -> list[str]:
    """Say by which one factor two results differ, if they do."""
    if (
        got.shape != expected.shape
        or got.numel() < 2
        or not (got.isfinite().all() and expected.isfinite().all())
    ):
        return []
    factor = _factor(got.to(expected.dtype), expected)
    if factor is None:
        return []
    return [f"got is expected times {factor:.9g} everywhere" if factor else "got is zero everywhere"]


def _close(a: Tensor, b: Tensor) -> bool:
    """Return whether two results are the same up to rounding, to name a pattern (not to judge)."""
    if a.shape != b.shape:
        return False
    size = float(b.abs().max()) if b.numel() else 0.0
    return bool(((a - b).abs() <= 1e-5 * size).all())


def _values(got: Tensor, expected: Tensor) -> Iterator[str]:
    if got.numel() < 2 or not (got.isfinite().all() and expected.isfinite().all()):
        return
    if factor := describe_factor(got, expected):
        yield from factor
        return
    if expected.ndim >= 2:
        for text, changed in _rearranged(expected):
            if not _close(changed, expected) and _close(got, changed):
                yield f"got is expected {text}"
                return
        yield from _shift(got, expected)


def _factor(got: Tensor, expected: Tensor) -> float | None:
    """Return the one factor between two tensors, if there is one."""
    if not expected.any() or got.is_complex():
        return None
    at = int(expected.abs().argmax())
    factor = float(got.flatten()[at] / expected.flatten()[at])
    return factor if _close(got, expected * factor) and abs(factor - 1) > 1e-5 else None


def _rearranged(expected: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield "with height and width transposed", expected.mT
    yield "upside down", expected.flip(-2)
    yield "mirrored left to right", expected.flip(-1)
    yield "rotated by 180 degrees", expected.flip(-2, -1)
    if expected.ndim == 4:
        yield "with samples and channels transposed", expected.transpose(0, 1)
        for axis in (0, 1):
            size = expected.shape[axis]
            orders = itertools.islice(itertools.permutations(range(size)), 1, 24)
            for order in orders if size > 1 else ():
                text = f"with axis {axis} ({_NAMES[axis]}) in the order {list(order)}"
                yield text, expected.index_select(axis, torch.tensor(order))


def _shift(got: Tensor, expected: Tensor) -> Iterator[str]:
    """Name a shift by up to two rows and columns, where what is left of both agrees."""
    height, width = expected.shape[-2:]
    for down, right in itertools.product(range(-2, 3), repeat=2):
        rows, columns = height - abs(down), width - abs(right)
        if (down, right) == (0, 0) or rows < 2 or columns < 2:
            continue
        there = got[..., max(down, 0) :, max(right, 0) :][..., :rows, :columns]
        here = expected[..., max(-down, 0) :, max(-right, 0) :][..., :rows, :columns]
        if here.any() and _close(there, here):
            yield f"got is expected, shifted by {down} rows and {right} columns"
            return


def _places(wrong: Tensor) -> Iterator[str]:
    if wrong.ndim < 2 or wrong.all():
        return
    names = _NAMES[-wrong.ndim :] if wrong.ndim <= 4 else _NAMES
    inner = wrong[..., 1:-1, 1:-1]
    if inner.numel() and not inner.any():
        yield "only the border is wrong"
    for axis, name in enumerate(names):
        others = [each for each in range(wrong.ndim) if each != axis]
        hit = wrong.any(dim=others)
        where = hit.nonzero().flatten().tolist()
        if len(hit) < 2 or hit.all():
            continue
        yield f"only {_positions(where, len(hit))} of axis {axis} ({name}) are wrong"


def _positions(where: list[int], size: int) -> str:
    if where == [size - 1]:
        return f"the last ({size - 1})"
    if len(where) > 1 and where == list(range(1, size, 2)):
        return "odd positions"
    if len(where) > 1 and where == list(range(0, size, 2)):
        return "even positions"
    return f"positions {where}" if len(where) <= 8 else f"{len(where)} positions"
