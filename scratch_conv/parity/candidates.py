"""The forms in which an implementation may come, each turned into a function with torch's signature."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.case import Case
from scratch_conv.parity.numpy_layers import NumpyCall, is_numpy_layer
from scratch_conv.parity.operators.base import Operator
from scratch_conv.parity.running import Call


def as_call(candidate: Any, operator: Operator) -> Call:
    """Return a candidate as a function that is called as `Call` says.

    Arguments:
        candidate: a function with the signature of the operator in torch.nn.functional, an nn.Module class
            with the constructor of its namesake in torch.nn, or a class of a layer in NumPy.
        operator: what it is compared with.

    Raises:
        TypeError: for anything else.
    """
    if _is_module(candidate):
        return _ModuleCall(candidate, operator)
    if is_numpy_layer(candidate):
        return NumpyCall(candidate, operator)
    if callable(candidate):
        call: Call = candidate
        return call
    kind = type(candidate).__name__
    raise TypeError(f"candidate must be a function, an nn.Module class or a NumPy layer's class, got {kind}")


def is_layer(candidate: object) -> bool:
    """Tell whether a candidate is a class of layers, which can be called only as torch.nn's can."""
    return _is_module(candidate) or is_numpy_layer(candidate)


def _is_module(candidate: Any) -> bool:
    return inspect.isclass(candidate) and issubclass(candidate, torch.nn.Module)


class _ModuleCall:
    """Constructs a module for each call, with the case's tensors as its parameters and buffers."""

    def __init__(self, module: type[torch.nn.Module], operator: Operator) -> None:
        self.module = module
        self.operator = operator

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        named = dict(zip(self.operator.signature, tensors, strict=False))
        present = {name: tensor for name, tensor in named.items() if tensor is not None}
        module = self.module(**self.operator.constructor(present, arguments))
        if "training" in self.operator.arguments:
            module.train(bool(arguments.get("training", self.operator.trains)))
        state = {name: tensor for name, tensor in present.items() if name not in self.operator.inputs}
        inputs = tuple(present[name] for name in self.operator.inputs)
        return torch.func.functional_call(module, state, inputs)


def name_of(candidate: object) -> str:
    """Return the name under which a candidate is reported."""
    return str(getattr(candidate, "__qualname__", type(candidate).__qualname__))


def import_code(candidate: object) -> str:
    """Return the line that brings the candidate into pasted code, a comment where it cannot be imported."""
    name, module = name_of(candidate), getattr(candidate, "__module__", None)
    if module in (None, "__main__") or "." in name or "<" in name:
        return f"# candidate = {name}"
    return f"from {module} import {name} as candidate"


def call_code(candidate: object, operator: Operator, case: Case, call: str) -> list[str]:
    """Return the lines that compute `got`."""
    if is_numpy_layer(candidate):
        return [
            "from scratch_conv.parity.numpy_layers import NumpyCall",
            "from scratch_conv.parity.operators import find_operator",
            f"got = NumpyCall(candidate, find_operator({case.like!r}))({call})",
        ]
    if not _is_module(candidate):
        return [f"got = candidate({call})"]
    tensors = {name: array.make(case.torch_dtype) for name, array in case.arrays}
    constructed = operator.constructor(tensors, case.keywords)
    layer = f"layer = candidate({', '.join(f'{name}={value!r}' for name, value in constructed.items())})"
    state = ", ".join(f"'{name}': {name}" for name in case.tensors if name not in operator.inputs)
    inputs = ", ".join(operator.inputs)
    return [layer, f"got = torch.func.functional_call(layer, {{{state}}}, ({inputs},))"]
