"""`swap` and `restore`: put these layers into a model, and take them out again."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from scratch_conv.swapping.layers import SWAPPABLE, become_ours, become_torchs, computes_by_itself, is_swapped
from scratch_conv.swapping.report import ALREADY, Row, SwapReport

Selector = type[nn.Module] | str | Iterable[type[nn.Module] | str]


def swap(model: nn.Module, only: Selector | None = None, exclude: Selector | None = None) -> SwapReport:
    """Let NumPy compute, in place, each layer of `torch.nn` in a model that `scratch_conv.nn` has too.

    Only the `forward` of the layer changes, and that on the instance: its class, parameters, buffers, hooks,
    flags and state dict keys stay the same objects. `is_swapped` tells. A subclass of a torch layer is
    swapped too; with a forward pass of its own it is left alone, and the report says so.

    Args:
        model: any module tree, or a single layer.
        only: swap just these: a layer type, a name pattern ("features.*"), or several of them.
        exclude: leave these alone; same forms, and stronger than `only`.

    Raises:
        TypeError: `model` is not a module, or a selector is neither a type nor a string.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"swap() expects a torch.nn.Module, not {type(model).__name__}")
    wanted = _selectors(only, "only") if only is not None else [nn.Module]
    unwanted = _selectors(exclude, "exclude") if exclude is not None else []
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, SWAPPABLE)]
    reasons = [_why_not(name, module, wanted, unwanted) for name, module in layers]
    chosen = [module for (_, module), reason in zip(layers, reasons, strict=True) if not reason]
    for module in chosen:
        become_ours(module)
    return SwapReport(
        tuple(
            Row(name, type(module).__name__, _count_parameters(module), reason)
            for (name, module), reason in zip(layers, reasons, strict=True)
        ),
        _unmatched([*wanted, *unwanted], layers),
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


def _why_not(name: str, module: nn.Module, wanted: list[Any], unwanted: list[Any]) -> str:
    if is_swapped(module):
        return ALREADY
    if computes_by_itself(module):
        return f"{type(module).__module__}.{type(module).__qualname__} has a forward of its own"
    if any(_fits(selector, name, module) for selector in unwanted):
        return "excluded"
    return "" if any(_fits(selector, name, module) for selector in wanted) else "not selected"


def _unmatched(selectors: list[Any], layers: list[tuple[str, nn.Module]]) -> tuple[str, ...]:
    if not layers:
        return ()
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
