"""Layers in plain NumPy, the form in which most people write them first.

The protocol: a class that is constructed like its namesake in torch.nn (arguments at torch's default are not
passed), with `forward(x)`, which returns an array, and `backward(dy)`, which returns the gradient of x. Its
parameters are arrays among its attributes or in a dictionary `parameters` or `params`, and so are their
gradients after `backward` (in `gradients` or `grads`). A parameter `weight` may be called weight, weights, W,
w, kernel, kernels or filters, a `bias` bias, biases, b; the gradient of W may be called grad_W, dW, W_grad or
d_W.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scratch_conv.parity.operators.base import Operator

_NAMES = {
    "weight": ("weight", "weights", "W", "w", "kernel", "kernels", "filters", "gamma", "scale"),
    "bias": ("bias", "biases", "b", "beta", "shift"),
}
_GRADIENTS = ("grad_{}", "d{}", "{}_grad", "d_{}")
_STORES = ("parameters", "params")
_GRADIENT_STORES = ("gradients", "grads")


def is_numpy_layer(candidate: object) -> bool:
    """Tell whether a candidate is a class with forward and backward that is no nn.Module."""
    if not inspect.isclass(candidate) or issubclass(candidate, (torch.nn.Module, torch.autograd.Function)):
        return False
    return all(callable(getattr(candidate, name, None)) for name in ("forward", "backward"))


class NumpyCall:
    """Constructs a layer for each call, sets its parameters, and joins its backward to autograd."""

    def __init__(self, layer: Any, operator: Operator) -> None:
        self.layer = layer
        self.operator = operator

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        named = dict(zip(self.operator.signature, tensors, strict=False))
        present = {name: tensor for name, tensor in named.items() if tensor is not None}
        layer = self.layer(**_accepted(self.layer, self.operator.constructor(present, arguments)))
        names = tuple(name for name in present if name != "input")
        for name in ("weight", "bias"):
            if name in present:
                set_parameter(layer, name, present[name].detach().numpy())
            elif name in self.operator.signature and find_parameter(layer, name) is not None:
                absent = np.zeros_like(find_parameter(layer, name), present["input"].detach().numpy().dtype)
                set_parameter(layer, name, absent)
        return _Joined.apply(layer, names, present["input"], *(present[name] for name in names))


def _accepted(layer: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Drop `bias=False` where the constructor has no such argument; the bias is then set to zero."""
    taken = inspect.signature(layer).parameters
    anything = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    return {name: value for name, value in arguments.items() if name != "bias" or "bias" in taken or anything}


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layer: Any, names: tuple[str, ...], x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.layer, ctx.names = layer, names
        return torch.from_numpy(np.asarray(layer.forward(x.detach().numpy())))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        grad_input = np.asarray(ctx.layer.backward(grad_output.numpy()))
        grads = [find_gradient(ctx.layer, name) for name in ctx.names]
        return None, None, *(torch.from_numpy(np.asarray(each)) for each in (grad_input, *grads))


def find_parameter(layer: Any, name: str) -> NDArray[Any] | None:
    """Return the array of a parameter, None where the layer has none of that name."""
    for store in (layer, *(getattr(layer, each, None) for each in _STORES)):
        for spelling in _NAMES[name]:
            found = store.get(spelling) if isinstance(store, dict) else getattr(store, spelling, None)
            if isinstance(found, np.ndarray):
                return found
    return None


def set_parameter(layer: Any, name: str, value: NDArray[Any]) -> None:
    """Give a parameter the values and the dtype of `value`.

    Raises:
        AttributeError: the layer has no such array.
        ValueError: it has another shape.
    """
    for store in (layer, *(getattr(layer, each, None) for each in _STORES)):
        for spelling in _NAMES[name]:
            found = store.get(spelling) if isinstance(store, dict) else getattr(store, spelling, None)
            if not isinstance(found, np.ndarray):
                continue
            if found.size != value.size:
                raise ValueError(f"{spelling} has shape {found.shape}, torch's {name} has {value.shape}")
            shaped = value.reshape(found.shape).copy()
            if isinstance(store, dict):
                store[spelling] = shaped
            else:
                setattr(store, spelling, shaped)
            return
    raise AttributeError(f"the layer has no array called {', '.join(_NAMES[name])}")


def find_gradient(layer: Any, name: str) -> NDArray[Any]:
    """Return the gradient of a parameter after `backward`.

    Raises:
        AttributeError: the layer holds none under the names that are known.
    """
    for spelling in _NAMES[name]:
        for store in _GRADIENT_STORES:
            held = getattr(layer, store, None)
            if isinstance(held, dict) and isinstance(held.get(spelling), np.ndarray):
                return np.asarray(held[spelling])
        for form in _GRADIENTS:
            found = getattr(layer, form.format(spelling), None)
            if isinstance(found, np.ndarray):
                return found
    raise AttributeError(f"the layer holds no gradient of {name}, such as grad_{name} or d{name}")
