"""The forms in which a candidate may come."""

from __future__ import annotations

from typing import Any

import torch

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.array_function import ArrayFunction
from scratch_conv.parity.candidates.candidate import Candidate
from scratch_conv.parity.candidates.function import Function
from scratch_conv.parity.candidates.module import ModuleClass
from scratch_conv.parity.candidates.numpy_layer.layer import NumpyLayerClass
from scratch_conv.parity.candidates.signatures import class_of
from scratch_conv.parity.operators.operator import Operator

_KINDS: tuple[type[Candidate[Any]], ...] = (ModuleClass, NumpyLayerClass, ArrayFunction, Function)
_FORMS = "a function, an nn.Module class or the class of a layer in NumPy with a forward"


def as_candidate(given: Any, operator: Operator, adapter: Adapter | None = None) -> Candidate[Any]:
    """Return what `check` was given as a candidate.

    Args:
        given: a function with the signature of the operator in torch.nn.functional, an nn.Module class with
            the constructor of its namesake in torch.nn, or a class of a layer in NumPy.
        operator: what it is compared with.
        adapter: how it is called, where that is not as torch's namesake.

    Raises:
        TypeError: for anything else.
    """
    kind, adapter, constructed = type(given).__name__, adapter or Adapter(), class_of(given)
    if constructed is not None and issubclass(constructed, torch.autograd.Function):
        wrapped = f"a function with torch's signature that calls {constructed.__name__}.apply"
        raise TypeError(f"candidate {constructed.__name__} is a torch.autograd.Function; give {wrapped}")
    if isinstance(given, torch.nn.Module) or _is_layer(given):
        raise TypeError(f"candidate must be {_FORMS}; this is an instance of {kind}: give the class itself")
    arrays = adapter.backward is not None or adapter.arrays not in ("", "torch")
    if arrays and constructed is None and callable(given):
        return ArrayFunction(given, operator, adapter)
    for each in _KINDS:
        if each is ArrayFunction and adapter.arrays == "torch":
            continue
        if each.accepts(given):
            return each(given, operator, adapter)
    if constructed is not None and adapter.names.method(constructed, "forward"):
        return NumpyLayerClass(given, operator, adapter)
    if constructed is not None:
        raise TypeError(f"candidate must be {_FORMS}; class {constructed.__name__} has no forward")
    raise TypeError(f"candidate must be {_FORMS}, got {kind}")


def _is_layer(given: Any) -> bool:
    """Return whether something is a layer in NumPy, which may be called, rather than its class."""
    has_passes = hasattr(type(given), "backward") or not callable(given)
    return NumpyLayerClass.accepts(type(given)) and has_passes
