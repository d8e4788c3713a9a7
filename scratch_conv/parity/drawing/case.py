"""A case: one call of an operator, as plain data that can be compared, sent and written as code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from scratch_conv.parity.drawing.arrays import Array, Layout, short_repr


@dataclass(frozen=True, repr=False)
class Case:
    """One call of an operator and the derivatives that are asked of it.

    Attributes:
        like: the operator's name in torch.nn.functional.
        arrays: names and tensors, in the order of torch's signature; those left out are absent.
        arguments: names and values of the arguments that differ from torch's default.
        dtype: name of the dtype of the floating-point tensors.
        wanted: names of the tensors whose gradient is wanted.
        grad_output: the incoming gradient; its shape follows from the call and is left empty here.
        order: 1 for gradients, 2 for their derivatives too.
        seed: what torch's generator is seeded with before the call; None where the call draws nothing.
    """

    like: str
    arrays: tuple[tuple[str, Array], ...]
    arguments: tuple[tuple[str, Any], ...] = ()
    dtype: str = "float32"
    wanted: tuple[str, ...] = ()
    grad_output: Array = field(default_factory=lambda: Array(()))
    order: int = 1
    seed: int | None = None

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch's object."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @property
    def tensors(self) -> dict[str, Array]:
        """The tensors by name."""
        return dict(self.arrays)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors' shapes by name."""
        return {name: array.shape for name, array in self.arrays}

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments by name."""
        return dict(self.arguments)

    def kinds(self) -> set[str]:
        """Return the kinds of values that occur."""
        return {array.kind for _, array in self.arrays} | ({self.grad_output.kind} if self.wanted else set())

    def changed(self, **arguments: Any) -> Case:
        """Return the case with other arguments."""
        return replace(self, arguments=tuple({**self.keywords, **arguments}.items()))

    def reshaped(self, name: str, shape: tuple[int, ...]) -> Case:
        """Return the case with another shape for one tensor."""
        arrays = {**self.tensors, name: self.tensors[name].reshaped(shape)}
        return replace(self, arrays=tuple(arrays.items()))

    def arranged(self, name: str, layout: Layout) -> Case:
        """Return the case with another layout for one tensor."""
        arrays = {**self.tensors, name: replace(self.tensors[name], layout=layout)}
        return replace(self, arrays=tuple(arrays.items()))

    def retyped(self, name: str, dtype: str) -> Case:
        """Return the case with another dtype for one tensor, whose gradient is not wanted of integers."""
        arrays = {**self.tensors, name: replace(self.tensors[name], dtype=dtype)}
        kind: torch.dtype = getattr(torch, dtype)
        differentiable = kind.is_floating_point or kind.is_complex
        wanted = tuple(each for each in self.wanted if differentiable or each != name)
        return replace(self, arrays=tuple(arrays.items()), wanted=wanted, order=self.order if wanted else 1)

    def __repr__(self) -> str:
        """Return the constructor's call, without what is at its default."""
        return short_repr(self)

    def __str__(self) -> str:
        tensors = [f"{name}: {_describe(array, self.dtype)}" for name, array in self.arrays]
        arguments = [f"{name}={value!r}" for name, value in self.arguments]
        wanted = f" with gradients of {', '.join(self.wanted)}" if self.wanted else ""
        return f"{self.like}({', '.join(tensors + arguments)}){wanted}{' twice' if self.order == 2 else ''}"


def _describe(array: Array, dtype: str) -> str:
    layout = "" if array.layout == "contiguous" else f" {array.layout}"
    return f"{array.dtype or dtype}{list(array.shape)}{layout} of {array.kind}"
