"""Put these layers into somebody else's model, and take them out again."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from scratch_conv import functional
from scratch_conv.swapping import twins

Selector = type[nn.Module] | str | Iterable[type[nn.Module] | str]


_ALREADY = "already swapped"


@dataclass(frozen=True)
class Row:
    """What `swap` did with one layer: `reason` is empty where it was swapped, else says why it was not."""

    name: str
    layer: str
    parameters: int
    reason: str

    @property
    def swapped(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class SwapReport:
    """One row for each layer that could be swapped, in the model's order; prints as a table.

    `unmatched` are the selectors that no layer of the model fits: a slip of the pen, most likely.
    """

    rows: tuple[Row, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def swapped(self) -> tuple[str, ...]:
        """The names of the layers that were swapped."""
        return tuple(row.name for row in self.rows if row.swapped)

    def __str__(self) -> str:
        table = [("name", "layer", "parameters", "swapped")]
        table += [
            (row.name, row.layer, f"{row.parameters:,}", f"no: {row.reason}" if row.reason else "yes")
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in table) for column in range(4)]
        lines = [
            f"{name:<{widths[0]}}  {layer:<{widths[1]}}  {parameters:>{widths[2]}}  {swapped}"
            for name, layer, parameters, swapped in table
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        already = sum(row.reason == _ALREADY for row in self.rows)
        lines.append(f"{len(self.swapped)} of {len(self.rows)} layers swapped")
        lines[-1] += f", {already} were already" if already else ""
        lines += [f"no layer matches {selector}" for selector in self.unmatched]
        return "\n".join(lines)


def swap(model: nn.Module, only: Selector | None = None, exclude: Selector | None = None) -> SwapReport:
    """Let NumPy compute a model's layers: each `torch.nn` layer that has a twin here becomes it, in place.

    Only the class of a layer changes: its parameters, buffers, hooks, flags and state dict keys stay the
    same objects. A subclass of a torch layer becomes a subclass of itself that NumPy computes; with a forward
    pass of its own it is left alone, and the report says so.

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
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, twins.SWAPPABLE)]
    reasons = [_why_not(name, module, wanted, unwanted) for name, module in layers]
    chosen = [module for (_, module), reason in zip(layers, reasons, strict=True) if not reason]
    for module in chosen:
        twins.prepare(module)
    for module in chosen:
        twins.become_ours(module)
    return SwapReport(
        tuple(
            Row(name, type(module).__name__, _count_parameters(module), reason)
            for (name, module), reason in zip(layers, reasons, strict=True)
        ),
        _unmatched([*wanted, *unwanted], layers),
    )


def restore(model: nn.Module) -> None:
    """Undo `swap`: every layer of this package in the model becomes its `torch.nn` twin again, in place.

    Raises:
        TypeError: `model` is not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"restore() expects a torch.nn.Module, not {type(model).__name__}")
    for module in model.modules():
        twins.become_torchs(module)


def override() -> AbstractContextManager[Any]:
    """Let NumPy compute what `scratch_conv.functional` can, wherever torch's is called in a `with` block.

    Layers of `torch.nn`, and calls of `torch.nn.functional` and of `torch` itself in code that is not yours,
    are reached, in this thread only. Not reached are TorchScript, `torch.ops`, and calls that torch makes
    inside its own composite functions. A checkpointed region must run its backward inside the block too.
    """
    return _Override()


class _Override(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        own = _REPLACEMENTS.get(func)
        # Into `out` torch writes itself; sparse, quantized and other tensors without strides are its own too.
        if own is None or given.get("out") is not None or not all(map(_is_plain, (*args, *given.values()))):
            own = func
        return own(*args, **given)


def _is_plain(argument: Any) -> bool:
    """Tell whether an argument is no tensor, or one whose numbers lie in memory by strides."""
    if not isinstance(argument, Tensor):
        return True
    return argument.layout == torch.strided and not (argument.is_quantized or argument.is_nested)


def _max_pool2d_with_indices(*args: Any, **kwargs: Any) -> Any:
    return functional.max_pool2d(*args, **{**kwargs, "return_indices": True})


def _batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, *rest: Any, **named: Any
) -> Any:
    """Take the arguments of `torch.batch_norm`, which end with whether to use cuDNN."""
    named.pop("cudnn_enabled", None)
    return functional.batch_norm(input, running_mean, running_var, weight, bias, *rest[:3], **named)


def _dropout(input: Any, p: Any, train: Any) -> Any:
    return functional.dropout(input, p, train)


def _dropout_in_place(input: Any, p: Any, train: Any) -> Any:
    return functional.dropout(input, p, train, inplace=True)


def _relu_in_place(input: Any) -> Any:
    return functional.relu(input, inplace=True)


def _softmax(input: Any, dim: Any, dtype: Any = None) -> Any:
    return functional.softmax(input, dim, dtype=dtype)


def _log_softmax(input: Any, dim: Any, dtype: Any = None) -> Any:
    return functional.log_softmax(input, dim, dtype=dtype)


_REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    F.adaptive_avg_pool2d: functional.adaptive_avg_pool2d,
    F.avg_pool2d: functional.avg_pool2d,
    F.batch_norm: functional.batch_norm,
    F.cross_entropy: functional.cross_entropy,
    F.dropout2d: functional.dropout2d,
    F.dropout: functional.dropout,
    F.linear: functional.linear,
    F.log_softmax: functional.log_softmax,
    torch._C._nn.adaptive_avg_pool2d: functional.adaptive_avg_pool2d,
    torch.conv1d: functional.conv1d,
    torch.conv2d: functional.conv2d,
    torch.conv_transpose2d: functional.conv_transpose2d,
    torch.max_pool2d: functional.max_pool2d,
    F.max_pool2d: functional.max_pool2d,
    F.max_pool2d_with_indices: _max_pool2d_with_indices,
    F.relu: functional.relu,
    F.softmax: functional.softmax,
    Tensor.flatten: functional.flatten,
    Tensor.log_softmax: _log_softmax,
    Tensor.relu: functional.relu,
    Tensor.relu_: _relu_in_place,
    Tensor.softmax: _softmax,
    torch._C._nn.max_pool2d_with_indices: _max_pool2d_with_indices,
    torch.batch_norm: _batch_norm,
    torch.conv2d: functional.conv2d,
    torch.dropout: _dropout,
    torch.dropout_: _dropout_in_place,
    torch.flatten: functional.flatten,
    torch.log_softmax: _log_softmax,
    torch.max_pool2d: functional.max_pool2d,
    torch.relu: functional.relu,
    torch.relu_: _relu_in_place,
    torch.softmax: _softmax,
    torch.special.log_softmax: _log_softmax,
    torch.special.softmax: _softmax,
}


def _count_parameters(module: nn.Module) -> int:
    """Count what is there already: a lazy layer has its parameters from its first input on."""
    return sum(0 if is_lazy(parameter) else parameter.numel() for parameter in module.parameters())


def _why_not(name: str, module: nn.Module, wanted: list[Any], unwanted: list[Any]) -> str:
    if twins.is_ours(module):
        return _ALREADY
    if twins.computes_by_itself(module):
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
    """Give what `only` or `exclude` names as a list.

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
