"""`swap` and `restore`: put these layers into a model, and take them out again."""

import warnings
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from scratch_conv.swapping.layers import (
    SWAPPABLE,
    become_ours,
    become_torchs,
    computes_by_itself,
    is_out_of_reach,
    is_swapped,
)
from scratch_conv.swapping.report import ABSENT, ALREADY, NEVER_CALLED, Row, SwapReport

_COMPUTING_NOTHING = (
    *(nn.Identity, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict),
    ParametrizationList,
)

Selector = type[nn.Module] | str | Iterable[type[nn.Module] | str]


def swap(model: nn.Module, only: Selector | None = None, exclude: Selector | None = None) -> SwapReport:
    """Let NumPy compute, in place, each layer of `torch.nn` in a model that `scratch_conv.nn` has too.

    Only the `forward` of the layer changes, and that on the instance: its class, parameters, buffers, hooks,
    flags and state dict keys stay the same objects. `is_swapped` tells. A subclass of a torch layer is
    swapped too: where it has a forward pass of its own, NumPy computes those of torch's functions in it that
    `override` reaches, and the report says so. The report lists every layer that stays torch's, and why. Not
    listed are functions that the model's own code calls (see `override`), nor what torch computes without
    calling its layers: `torch.nn.TransformerEncoderLayer` in evaluation, where nothing requires a gradient.
    A tool that watches the dispatcher and knows ATen's operators alone counts nothing for these. What a tool
    has made of a model before stays: a compiled, exported or traced graph is made anew, and a fused or
    quantized layer is the tool's.

    Args:
        model: any module tree, or a single layer.
        only: swap just these: a layer type, a name pattern ("features.*"), or several of them.
        exclude: leave these alone; same forms, and stronger than `only`. A type or a pattern that fits no
            layer is warned of.

    Raises:
        TypeError: `model` is not a module, or a selector is neither a type nor a string.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"swap() expects a torch.nn.Module, not {type(model).__name__}")
    wanted = _selectors(only, "only") if only is not None else [nn.Module]
    unwanted = _selectors(exclude, "exclude") if exclude is not None else []
    layers = _layers(model)
    attended = {id(part) for part in _parts_of_attention(model)}
    reasons = [
        NEVER_CALLED if id(module) in attended else _why_not(name, module, wanted, unwanted)
        for name, module in layers
    ]
    chosen = [module for (_, module), reason in zip(layers, reasons, strict=True) if not reason]
    for module in chosen:
        become_ours(module)
    unmatched = _unmatched([*(wanted if only is not None else []), *unwanted], layers)
    for selector in unmatched:
        warnings.warn(f"swap(): no layer matches {selector}", stacklevel=2)
    return SwapReport(
        tuple(
            Row(name, type(module).__name__, _count_parameters(module), reason, _is_own(module))
            for (name, module), reason in zip(layers, reasons, strict=True)
        ),
        unmatched,
    )


def restore(model: nn.Module) -> None:
    """Undo `swap`: torch computes every layer in the model again, those of `scratch_conv.nn` too, in place.

    Raises:
        TypeError: `model` is not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"restore() expects a torch.nn.Module, not {type(model).__name__}")
    for module in model.modules():
        become_torchs(module)


def _count_parameters(module: nn.Module) -> int:
    """Count what is there already: a lazy layer has its parameters from its first input on."""
    return sum(0 if is_lazy(parameter) else parameter.numel() for parameter in module.parameters())


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return a model's layers with their names: those that can be swapped, and what else computes something.

    The latter are modules without others inside, and those of torch.nn with parameters of their own.
    """
    parametrizing = {
        id(part)
        for module in model.modules()
        if isinstance(module, ParametrizationList)
        for part in module.modules()
    }

    def computes(module: nn.Module) -> bool:
        if isinstance(module, SWAPPABLE):
            return True
        if isinstance(module, _COMPUTING_NOTHING) or id(module) in parametrizing:
            return False
        if all(child == "parametrizations" for child, _ in module.named_children()):
            return True
        return _is_torchs(module) and next(module.parameters(recurse=False), None) is not None

    return [(name, module) for name, module in model.named_modules() if computes(module)]


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _parts_of_attention(model: nn.Module) -> list[nn.Module]:
    """Return the layers that hold weights for a layer around them, which computes without calling them."""
    return [
        module.out_proj
        for module in model.modules()
        if isinstance(module, nn.MultiheadAttention) and type(module).forward is nn.MultiheadAttention.forward
    ]


def _why_not(name: str, module: nn.Module, wanted: list[Any], unwanted: list[Any]) -> str:
    if is_swapped(module):
        return ALREADY
    if not isinstance(module, SWAPPABLE) and _is_torchs(module):
        return ABSENT
    if not isinstance(module, SWAPPABLE) or is_out_of_reach(module):
        return f"{type(module).__module__}.{type(module).__qualname__} has a forward of its own"
    if any(_fits(selector, name, module) for selector in unwanted):
        return "excluded"
    return "" if any(_fits(selector, name, module) for selector in wanted) else "not selected"


def _is_own(module: nn.Module) -> bool:
    return isinstance(module, SWAPPABLE) and computes_by_itself(module)


def _unmatched(selectors: list[Any], layers: list[tuple[str, nn.Module]]) -> tuple[str, ...]:
    return tuple(str(one) for one in selectors if not any(_fits(one, *layer) for layer in layers))


def _fits(selector: type[nn.Module] | str, name: str, module: nn.Module) -> bool:
    return fnmatchcase(name, selector) if isinstance(selector, str) else isinstance(module, selector)


def _selectors(given: Any, argument: str) -> list[Any]:
    """Return what `only` or `exclude` names, as a list.

    Raises:
        TypeError: for anything but types and strings.
    """
    single = isinstance(given, (str, type)) or not isinstance(given, Iterable)
    selectors: list[Any] = [given] if single else list(given)
    for one in selectors:
        if not isinstance(one, (str, type)):
            raise TypeError(
                f"swap(): '{argument}' takes layer types and name patterns, not {type(one).__name__}"
            )
    return selectors
