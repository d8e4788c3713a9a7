"""The forms in which an implementation may come, each turned into a function with torch's signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.candidates.interface import (
    ABSENT,
    SPELLINGS,
    check_call,
    construct,
    constructor_arguments,
    counts_its_calls,
    function_arguments,
)
from scratch_conv.parity.candidates.numpy_layer import NumpyCall, is_numpy_layer
from scratch_conv.parity.operators.calling import UPDATED, Call, InterfaceError, KeptLayer, LayerCall
from scratch_conv.parity.operators.operator import Operator

_FORMS = "a function, an nn.Module class or the class of a layer in NumPy with a forward"


def as_call(candidate: Any, operator: Operator) -> Call:
    """Return a candidate as a function that is called as `Call` says.

    Args:
        candidate: a function with the signature of the operator in torch.nn.functional, an nn.Module class
            with the constructor of its namesake in torch.nn, or a class of a layer in NumPy.
        operator: what it is compared with.

    Raises:
        TypeError: for anything else.
    """
    if is_module(candidate):
        return _ModuleCall(candidate, operator)
    if is_numpy_layer(candidate):
        return NumpyCall(candidate, operator)
    if inspect.isclass(candidate) and issubclass(candidate, torch.autograd.Function):
        wrapped = f"a function with torch's signature that calls {candidate.__name__}.apply"
        raise TypeError(f"candidate {candidate.__name__} is a torch.autograd.Function; give {wrapped}")
    if inspect.isclass(candidate):
        raise TypeError(f"candidate must be {_FORMS}; class {candidate.__name__} has no forward")
    if isinstance(candidate, torch.nn.Module) or (
        is_numpy_layer(type(candidate)) and not callable(candidate)
    ):
        kind = type(candidate).__name__
        raise TypeError(f"candidate must be {_FORMS}; this is an instance of {kind}: give the class itself")
    if callable(candidate):
        return _FunctionCall(candidate, operator)
    raise TypeError(f"candidate must be {_FORMS}, got {type(candidate).__name__}")


def is_layer(candidate: object) -> bool:
    """Return whether a candidate is a class of layers, which can be called only as torch.nn's can."""
    return is_module(candidate) or is_numpy_layer(candidate)


def is_module(candidate: Any) -> bool:
    """Return whether a candidate is a class of modules."""
    return inspect.isclass(candidate) and issubclass(candidate, torch.nn.Module)


class _FunctionCall:
    """Calls a function, having seen that it takes the arguments."""

    def __init__(self, function: Callable[..., Any], operator: Operator) -> None:
        self.function = function
        self.operator = operator

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        arguments = function_arguments(self.function, self.operator, arguments)
        check_call(self.function, *tensors, **arguments)
        return self.function(*tensors, **arguments)


class _ModuleCall(LayerCall):
    """Calls a class of modules."""

    def __init__(self, module: type[torch.nn.Module], operator: Operator) -> None:
        self.module = module
        self.operator = operator

    def kept(self) -> KeptLayer:
        """Return a module for several equal calls."""
        return _KeptModule(self.module, self.operator)


class _KeptModule(KeptLayer):
    """A module, with the case's tensors as its parameters and buffers."""

    def __init__(self, kind: type[torch.nn.Module], operator: Operator) -> None:
        self.kind = kind
        self.operator = operator
        self._module: torch.nn.Module | None = None
        self._given: dict[str, Tensor] = {}

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        named = dict(zip(self.operator.signature, tensors, strict=False))
        present = {name: tensor for name, tensor in named.items() if tensor is not None}
        if self._module is None or counts_its_calls(self.operator, present, arguments):
            self._module = self._construct(present, arguments)
        inputs = tuple(present[name] for name in self.operator.inputs)
        held, absent = find_state(self._module, self.operator, set(present))
        self._given = {name: present[name] for name in held if name not in UPDATED}
        state = {key: present[name] for name, key in held.items()}
        state |= {k: torch.full(shape, value, dtype=inputs[0].dtype) for k, (shape, value) in absent.items()}
        check_call(self._module.forward, *inputs)
        return torch.func.functional_call(self._module, state, inputs)

    def _construct(self, present: dict[str, Tensor], arguments: dict[str, Any]) -> torch.nn.Module:
        constructed = constructor_arguments(self.kind, self.operator, present, arguments)
        module: torch.nn.Module = construct(self.kind, constructed)[0]
        if "training" in self.operator.arguments:
            module.train(bool(arguments.get("training", self.operator.trains)))
        return module

    def held(self) -> dict[str, Tensor]:
        """Return the parameters, which the call gave to the module."""
        return self._given


def find_state(
    module: torch.nn.Module, operator: Operator, present: set[str]
) -> tuple[dict[str, str], dict[str, tuple[tuple[int, ...], float]]]:
    """Return where a module, or a part of it, holds what torch's call has.

    Args:
        module: the module.
        operator: what it is compared with.
        present: the names of the tensors that the call has.

    Returns:
        The key of each tensor in the module's state, by torch's name; and for each key that belongs to a
        tensor which the call has not, its shape and the value by which it has no effect.

    Raises:
        InterfaceError: a tensor has no place in the module, or more than one.
    """
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    held, absent = {}, {}
    for name in operator.signature:
        called = SPELLINGS.get(name, ())
        keys = [name] if name in state else [key for key in state if key.rpartition(".")[2] in called]
        if name in operator.inputs or (name not in present and (name not in ABSENT or not keys)):
            continue
        if len(keys) != 1:
            kind, count = type(module).__name__, "more than one" if keys else "no"
            what = f"parameter or buffer called {name}, at the top or inside"
            raise InterfaceError(f"{kind} has {count} {what}: it has {', '.join(state) or 'none'}")
        if name in present:
            held[name] = keys[0]
        else:
            absent[keys[0]] = (tuple(state[keys[0]].shape), ABSENT[name])
    return held, absent
