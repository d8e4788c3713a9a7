"""The forms in which a candidate may come."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from scratch_conv.parity.candidates.candidate import Candidate
from scratch_conv.parity.candidates.function import Function
from scratch_conv.parity.candidates.module import ModuleClass
from scratch_conv.parity.candidates.numpy_layer.layer import NumpyLayerClass
from scratch_conv.parity.operators.operator import Operator

_KINDS: tuple[type[Candidate[Any]], ...] = (ModuleClass, NumpyLayerClass, Function)
_FORMS = "a function, an nn.Module class or the class of a layer in NumPy with a forward"


def as_candidate(given: Any, operator: Operator) -> Candidate[Any]:
    """Return what `check` was given as a candidate.

    Args:
        given: a function with the signature of the operator in torch.nn.functional, an nn.Module class with
            the constructor of its namesake in torch.nn, or a class of a layer in NumPy.
        operator: what it is compared with.

    Raises:
        TypeError: for anything else.
    """
    kind = type(given).__name__
    if inspect.isclass(given) and issubclass(given, torch.autograd.Function):
        wrapped = f"a function with torch's signature that calls {given.__name__}.apply"
        raise TypeError(f"candidate {given.__name__} is a torch.autograd.Function; give {wrapped}")
    if isinstance(given, torch.nn.Module) or (NumpyLayerClass.accepts(type(given)) and not callable(given)):
        raise TypeError(f"candidate must be {_FORMS}; this is an instance of {kind}: give the class itself")
    for each in _KINDS:
        if each.accepts(given):
            return each(given, operator)
    if inspect.isclass(given):
        raise TypeError(f"candidate must be {_FORMS}; class {given.__name__} has no forward")
    raise TypeError(f"candidate must be {_FORMS}, got {kind}")
