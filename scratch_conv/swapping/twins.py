"""Which class of ours stands for a class of torch's, so that a change of class is all that swapping does."""

from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.utils import parametrize

import scratch_conv.nn

_OURS: dict[type[nn.Module], type[nn.Module]] = {
    getattr(nn, name): getattr(scratch_conv.nn, name) for name in scratch_conv.nn.__all__
}
_TORCHS = {ours: torchs for torchs, ours in _OURS.items()}
_GENERATED: dict[type[nn.Module], type[nn.Module]] = {}
_BEFORE: WeakKeyDictionary[type[nn.Module], type[nn.Module]] = WeakKeyDictionary()

SWAPPABLE: Any = tuple(_OURS)
"""The layers of torch.nn that have a twin in scratch_conv.nn."""

_COMPUTING = ("__call__", "_call_impl", "forward", "_conv_forward")
"""The methods that compute a layer: one with methods of its own among these is left to itself."""


def is_ours(module: nn.Module) -> bool:
    """Return whether a layer is one of this package."""
    return isinstance(module, tuple(_TORCHS))


def computes_by_itself(module: nn.Module) -> bool:
    """Return whether a layer has a forward pass other than that of the torch.nn layer it derives from."""
    base = _base(type(module))
    return any(
        name in vars(module) or getattr(type(module), name, None) is not getattr(base, name, None)
        for name in _COMPUTING
    )


def prepare(module: nn.Module) -> None:
    """Make the class that a layer will have: what may go wrong does before any layer is changed."""
    cls = _written_class(module)
    if cls not in _OURS:
        _generated(cls)


def become_ours(module: nn.Module) -> None:
    """Let NumPy compute a layer: one of `SWAPPABLE`, or of a subclass that does not compute by itself."""
    cls = _written_class(module)
    ours = _OURS.get(cls) or _generated(cls)
    if not parametrize.is_parametrized(module):
        module.__class__ = ours
        return
    before = type(module)
    module.__class__ = _rebased(before, ours)
    _BEFORE[type(module)] = before


def become_torchs(module: nn.Module) -> None:
    """Let torch compute a layer again that `become_ours` changed, of the very class that it had before."""
    torchs = _TORCHS.get(_written_class(module))
    if torchs is None:
        return
    if not parametrize.is_parametrized(module):
        module.__class__ = torchs
        return
    own, before = type(module), _BEFORE.get(type(module))
    if before is None or vars(before).keys() != vars(own).keys():  # parametrised further since
        before = _rebased(own, torchs)
    module.__class__ = before


def _written_class(module: nn.Module) -> type[nn.Module]:
    """Return a layer's class as it was written: parametrization derives another from it."""
    return type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)


def _base(cls: type[nn.Module]) -> type[nn.Module]:
    """Return the layer of torch.nn that a class derives from."""
    return next(base for base in cls.__mro__ if base in _OURS)


def _rebased(cls: type[nn.Module], base: type[nn.Module]) -> type[nn.Module]:
    """Derive a parametrised layer's class from another base: anew, as copies of the layer share the old."""
    body = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    return type(cls.__name__, (base,), body)


def _generated(cls: type[nn.Module]) -> type[nn.Module]:
    """Return a subclass of a user's class whose forward pass is that of ours."""
    if cls not in _GENERATED:
        ours = _OURS[_base(cls)]
        body: dict[str, Any] = {
            name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")
        }
        if hasattr(cls, "cls_to_become"):  # what a lazy layer is after its first input
            body["cls_to_become"] = _OURS.get(cls.cls_to_become, cls.cls_to_become)
        # The user's class becomes a base afterwards: its __init_subclass__ is for classes that users write.
        generated = type(cls.__name__, (ours,), {**body, "__reduce_ex__": _reduce})
        generated.__bases__ = (cls, ours)
        _GENERATED[cls], _TORCHS[generated] = generated, cls
    return _GENERATED[cls]


def _reduce(self: nn.Module, protocol: Any) -> Any:
    """Pickle a layer of a generated class by the class that it was generated for."""
    cls = type(self)
    reduced: Any = super(cls, self).__reduce_ex__(2)
    return _new, (_TORCHS[cls],), *reduced[2:]


def _new(cls: type[nn.Module]) -> nn.Module:
    generated = _generated(cls)
    return generated.__new__(generated)
