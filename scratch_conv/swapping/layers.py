"""How one layer is swapped: the computation is put on the instance, and its class stays torch's."""

from functools import partial
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

import scratch_conv.nn
from scratch_conv.functional.calling import refuse_torchscript
from scratch_conv.nn.computing import SWAPPED, bound_forward, forward

_TORCHS: dict[type[nn.Module], type[nn.Module]] = {
    getattr(scratch_conv.nn, name): getattr(nn, name) for name in scratch_conv.nn.__all__
}

_LAYERS = set(_TORCHS.values())

SWAPPABLE: Any = tuple(
    layer
    for layer in vars(nn).values()
    if isinstance(layer, type) and (layer in _LAYERS or getattr(layer, "cls_to_become", None) in _LAYERS)
)
"""The layers of torch.nn that NumPy can compute, and those that become one at their first input."""

_CALLED = ("__call__", "_call_impl")
_COMPUTING = ("forward", "_conv_forward")
"""The methods by which a layer is called, and by which it computes."""


def is_swapped(module: nn.Module) -> bool:
    """Return whether NumPy computes a layer: one that was swapped, or one of `scratch_conv.nn`.

    Raises:
        TypeError: `module` is not a module.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"is_swapped() expects a torch.nn.Module, not {type(module).__name__}")
    return _is_ours(module, SWAPPED) or isinstance(module, tuple(_TORCHS))


def is_out_of_reach(module: nn.Module) -> bool:
    """Return whether a layer does not come to its class' forward pass as torch's do.

    Something else stands for it on the instance, or the class is called in a way of its own.
    """
    entries = [name for name in (*_CALLED, *_COMPUTING) if name in vars(module)]
    return any(not _is_ours(module, name) for name in entries) or _differs(module, _CALLED)


def computes_by_itself(module: nn.Module) -> bool:
    """Return whether a layer has a forward pass other than that of the torch.nn layer it derives from."""
    return _differs(module, _COMPUTING)


def _differs(module: nn.Module, methods: tuple[str, ...]) -> bool:
    cls, base = type(module), next(base for base in type(module).__mro__ if base in SWAPPABLE)
    return any(getattr(cls, name, None) is not getattr(base, name, None) for name in methods)


def become_ours(module: nn.Module) -> None:
    """Let NumPy compute a layer: one of `SWAPPABLE`, or of a subclass, whose own forward pass is kept.

    A shallow copy and a pickle take the entries of the layer along, and these would still compute the layer
    itself. So the layer has its own way to be copied: `copy` and `pickle` ask the instance for it.
    """
    reduce = partial(_reduce, module)
    entries = {"forward": bound_forward(module), SWAPPED: reduce, _SCRIPTED: refuse_torchscript}
    vars(module).update(entries)


def become_torchs(module: nn.Module) -> None:
    """Let torch compute a layer again, of `scratch_conv.nn` too, which then is of torch's class."""
    for name in [name for name in _OURS if _is_ours(module, name)]:
        del vars(module)[name]
    cls = type(module)
    parametrized = parametrize.is_parametrized(module)
    torchs = _TORCHS.get(cls.__bases__[0] if parametrized else cls)
    if torchs is not None:
        module.__class__ = type(cls.__name__, (torchs,), _body(cls)) if parametrized else torchs


def _body(cls: type[nn.Module]) -> dict[str, Any]:
    return {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}


def _reduce(module: nn.Module, protocol: Any) -> Any:
    """Copy or pickle a layer as its class does, and swap what that makes."""
    reduced: Any = type(module).__reduce_ex__(module, protocol)
    make, arguments, *rest = reduced
    if rest and isinstance(rest[0], dict):
        rest[0] = {name: entry for name, entry in rest[0].items() if not _is_ours(module, name)}
    return _swapped, (make, arguments), *rest


def _swapped(make: Any, arguments: Any) -> nn.Module:
    module: nn.Module = make(*arguments)
    become_ours(module)
    return module


_SCRIPTED = "__prepare_scriptable__"
_OURS: dict[str, Any] = {"forward": forward, SWAPPED: _reduce, _SCRIPTED: refuse_torchscript}
"""The entries that swapping makes on an instance: partials of these functions, or the functions."""


def _is_ours(module: nn.Module, name: str) -> bool:
    entry = vars(module).get(name)
    return entry is not None and getattr(entry, "func", entry) is _OURS.get(name)
