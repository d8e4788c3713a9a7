"""Wrong gradients for a right result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scratch_conv.parity.operators.calling import Call, share_memory

Gradients: TypeAlias = list[Any]
"""One tensor, or None, for each tensor of the call."""


@dataclass
class Backward:
    """What a wrong backward pass is made from.

    Attributes:
        right: the right gradients.
        grad_output: the incoming gradient.
        tensors: the call's tensors.
        arguments: the call's other arguments.
    """

    right: Gradients
    grad_output: Tensor
    tensors: list[Any]
    arguments: dict[str, Any]


Change: TypeAlias = Callable[[Backward], Gradients]


class _Replaced(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: Tensor, backward: Callable[[Tensor], Gradients], *tensors: Tensor | None
    ) -> Tensor:
        ctx.replacement = backward
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        return None, None, *ctx.replacement(grad_output)


def right_gradients(
    call: Call, tensors: list[Tensor | None], arguments: dict[str, Any], grad_output: Tensor
) -> Gradients:
    """Return the gradients of a call by autograd, zeros for what is not wanted, None for what has none."""
    leaves = [None if t is None else t.detach().requires_grad_(t.requires_grad) for t in tensors]
    with torch.enable_grad():
        result = call(*leaves, **arguments)
        output = result[0] if isinstance(result, tuple) else result
        wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        grads = iter(torch.autograd.grad(output, wanted, grad_output, allow_unused=True))
    return [_gradient(leaf, grads) for leaf in leaves]


def _gradient(leaf: Tensor | None, grads: Iterator[Tensor | None]) -> Tensor | None:
    if leaf is None or not leaf.is_floating_point():
        return None
    found = next(grads) if leaf.requires_grad else None
    return torch.zeros_like(leaf) if found is None else found


def with_gradients(call: Call, change: Change) -> Call:
    """Return a function with the results of `call` and changed gradients.

    Where the result is the memory of a tensor given, nothing is changed.
    """

    def candidate(*tensors: Tensor | None, **arguments: Any) -> Any:
        listed = list(tensors)
        if arguments.get("inplace"):
            return call(*listed, **arguments)
        with torch.no_grad():
            result = call(*listed, **arguments)
        if isinstance(result, Tensor) and any(share_memory(result, t) for t in listed if t is not None):
            return call(*listed, **arguments)

        def backward(grad_output: Tensor) -> Gradients:
            right = right_gradients(call, listed, arguments, grad_output)
            return change(Backward(right, grad_output, listed, arguments))

        if isinstance(result, tuple):
            return _Replaced.apply(result[0], backward, *listed), *result[1:]
        return _Replaced.apply(result, backward, *listed)

    return candidate


def differentiated_as(call: Call, other: Call) -> Call:
    """Return a function with the results of `call` and the gradients of `other`."""

    def change(b: Backward) -> Gradients:
        return right_gradients(other, b.tensors, b.arguments, b.grad_output)

    return with_gradients(call, change)
