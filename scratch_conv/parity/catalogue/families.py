"""Faults that come with any of several numbers: they explain wrong values, and are not searched for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import TEXTBOOK, Fault
from scratch_conv.parity.catalogue.cross_entropy import from_logarithms

_NUMBERS = tuple(10.0**-power for power in range(3, 17))


def _shifted(eps: float) -> Callable[[Tensor, int], Tensor]:
    return lambda x, axis: (x.softmax(axis) + eps).log()


def _log_softmax(eps: float) -> Callable[..., Tensor]:
    def candidate(input: Tensor, dim: int, **arguments: Any) -> Tensor:
        return _shifted(eps)(input, dim)

    return candidate


def _eps_outside(input: Tensor, *others: Tensor | None, **arguments: Any) -> Tensor:
    """Normalise, in training and evaluation, by the standard deviation and eps."""
    right: Tensor = F.batch_norm(input, *others, **arguments)  # type: ignore[arg-type]
    mean, variance, weight, bias = (*others, None, None)[:4]
    shape, axes = (1, -1, *(1,) * (input.ndim - 2)), (0, *range(2, input.ndim))
    if arguments.get("training"):
        mean, variance = input.mean(axes), input.var(axes, correction=0)
    if mean is None or variance is None:
        return right
    normal = (input - mean.view(shape)) / (variance.sqrt() + arguments.get("eps", 1e-5)).view(shape)
    scaled = normal if weight is None else normal * weight.view(shape)
    return scaled if bias is None else scaled + bias.view(shape)


FAMILIES: dict[str, list[Fault]] = {
    like: [
        Fault("log-of-p-and-eps", like, f"takes log(p + {eps:g})", TEXTBOOK, make(eps)) for eps in _NUMBERS
    ]
    for like, make in (
        ("cross_entropy", lambda eps: from_logarithms(_shifted(eps))),
        ("log_softmax", _log_softmax),
    )
}
FAMILIES["batch_norm"] = [
    Fault(
        "eps-beside-the-root",
        "batch_norm",
        "divides by sqrt(var) + eps in place of sqrt(var + eps)",
        TEXTBOOK,
        _eps_outside,
    )
]
"""By operator; each is compared only with wrong values that a candidate has given."""
