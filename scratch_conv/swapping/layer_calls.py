"""One call of a layer, apart from its model: by torch or by NumPy, in any precision, with its gradients."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Change = Callable[[Tensor], Tensor]


@dataclass
class Results:
    """What a call returns.

    Attributes:
        values: the output, further outputs, and the buffers that the call wrote to.
        gradients: of the tensors that it was called with, and of the parameters.
        seconds: for the forward and the backward pass.
    """

    values: dict[str, Tensor]
    gradients: dict[str, Tensor]
    seconds: float


@dataclass
class LayerCall:
    """A layer and what it is called with; `changed` returns another call, and nothing is ever written to.

    Attributes:
        layer: any module; its hooks are left out.
        args: the positional arguments, tensors among them.
        kwargs: the named ones.
        gradient: the incoming gradient of the first output.
    """

    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    gradient: Tensor | None = None

    def changed(self, change: Change) -> LayerCall:
        """Return the call with `change` done to its tensors of floating point."""

        def changed(value: Any) -> Any:
            return change(value.detach()).requires_grad_(value.requires_grad) if is_floating(value) else value

        layer = alone(self.layer)
        vars(layer).update({name: changed(value) for name, value in vars(layer).items()})
        args, kwargs = mapped((self.args, self.kwargs), changed)
        return LayerCall(layer, args, kwargs, None if self.gradient is None else changed(self.gradient))

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that it is called with, those of the layer left out."""
        found: list[Tensor] = []
        mapped(
            (self.args, self.kwargs), lambda value: found.append(value) if isinstance(value, Tensor) else 0
        )
        return found

    def run(self, prepare: Callable[[nn.Module], Any] = lambda layer: None) -> Results:
        """Call a copy of the layer, after `prepare` has changed it in place, and differentiate its output."""
        layer = alone(self.layer)
        held = {name: copy(value) for name, value in vars(layer).items() if isinstance(value, Tensor)}
        vars(layer).update(held)
        prepare(layer)
        args, kwargs = mapped((self.args, self.kwargs), lambda value: copy(value, differentiable=True))
        given, named = mapped((args, kwargs), copy_within_graph)
        start = time.perf_counter()
        returned = layer.forward(*given, **named)
        seconds = time.perf_counter() - start
        outputs = [returned] if isinstance(returned, Tensor) else list(returned)
        values = {f"output {number}" if number else "output": out for number, out in enumerate(outputs)}
        values |= {name: value for name, value in held.items() if name in WRITTEN}
        sources = dict(zip(("input", "target"), LayerCall(layer, args, kwargs).tensors, strict=False)) | held
        sources = {name: tensor for name, tensor in sources.items() if tensor.requires_grad}
        gradients: dict[str, Tensor] = {}
        if self.gradient is not None and outputs[0].requires_grad:
            start = time.perf_counter()
            grads = torch.autograd.grad(outputs[0], [*sources.values()], self.gradient, allow_unused=True)
            seconds += time.perf_counter() - start
            gradients = {name: one for name, one in zip(sources, grads, strict=True) if one is not None}
        return Results({name: one.detach() for name, one in values.items()}, gradients, seconds)


WRITTEN = ("running_mean", "running_var", "num_batches_tracked")
"""The tensors that a layer writes to."""


def alone(layer: nn.Module) -> nn.Module:
    """Return a layer of the same class with the same tensors as plain attributes, without hooks.

    A parametrised layer's tensors are what its parametrizations return. All parameters are differentiable.
    """
    parametrised = parametrize.is_parametrized(layer)
    cls: Any = type(layer).__bases__[0] if parametrised else type(layer)
    found: nn.Module = cls.__new__(cls)
    nn.Module.__init__(found)
    own = vars(found).keys() - {"training"}
    vars(found).update({name: value for name, value in vars(layer).items() if name not in own})
    if not parametrised:
        for name, module in layer.named_children():
            found.add_module(name, module)
    names = [name for name, _ in layer.named_parameters(recurse=False)]
    names += layer.parametrizations if parametrised else []  # type: ignore[arg-type]
    for name in names:
        tensor = getattr(layer, name).detach()
        vars(found)[name] = tensor.requires_grad_(is_floating(tensor))
    vars(found).update({name: buffer.detach() for name, buffer in layer.named_buffers(recurse=False)})
    optional = ("weight", "bias", "pos_weight", *WRITTEN)
    vars(found).update({name: None for name in optional if getattr(layer, name, layer) is None})
    return found


def copy(value: Any, differentiable: bool = False) -> Any:
    """Return a leaf with the values of a tensor; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return (
        value.detach().clone().requires_grad_(value.requires_grad or (differentiable and is_floating(value)))
    )


def copy_within_graph(value: Any) -> Any:
    """Return a copy of a tensor that may be written to; anything else as it is."""
    return value.clone() if isinstance(value, Tensor) else value


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Return tuples, lists and dicts, one inside another, with `change` done to what they hold."""
    if isinstance(tree, dict):
        return type(tree)({key: mapped(value, change) for key, value in tree.items()})
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(value, change) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(value, change) for value in tree)
    return change(tree)


def is_floating(value: Any) -> bool:
    """Return whether a value is a tensor of floating point, complex ones included."""
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
