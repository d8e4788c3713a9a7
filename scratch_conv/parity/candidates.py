"""The forms in which an implementation may come, each turned into a function with torch's signature."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.operators.base import Operator
from scratch_conv.parity.running import Call


def as_call(candidate: Any, operator: Operator) -> Call:
    """Return a candidate as a function that is called as `Call` says.

    Arguments:
        candidate: a function with the signature of the operator in torch.nn.functional, or an nn.Module class
            with the constructor of its namesake in torch.nn.
        operator: what it is compared with.

    Raises:
        TypeError: for anything else.
    """
    if inspect.isclass(candidate) and issubclass(candidate, torch.nn.Module):
        return _ModuleCall(candidate, operator)
    if callable(candidate):
        call: Call = candidate
        return call
    raise TypeError(f"candidate must be a function or an nn.Module class, got {type(candidate).__name__}")


class _ModuleCall:
    """Constructs a module for each call, with the case's tensors as its parameters and buffers."""

    def __init__(self, module: type[torch.nn.Module], operator: Operator) -> None:
        self.module = module
        self.operator = operator

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        named = dict(zip(self.operator.signature, tensors, strict=False))
        present = {name: tensor for name, tensor in named.items() if tensor is not None}
        module = self.module(**self.operator.constructor(present, arguments))
        state = {name: tensor for name, tensor in present.items() if name not in self.operator.inputs}
        inputs = tuple(present[name] for name in self.operator.inputs)
        return torch.func.functional_call(module, state, inputs, strict=False)
