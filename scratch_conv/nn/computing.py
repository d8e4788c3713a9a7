"""How NumPy computes a layer: by the forward pass of its class in torch, within `Override`."""

import inspect
from functools import partial
from typing import Any

from torch import nn

from scratch_conv.functional.overriding import OVERRIDE

__all__ = ["SWAPPED", "bound_forward", "compute", "forward"]

SWAPPED = "__reduce_ex__"
"""The entry, beside `forward`, that swapping makes on an instance: how it is copied and pickled."""


def forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Run the forward pass of a module's class, whose calls of torch's functions NumPy computes.

    Not so where the layer is restored, but someone who had wrapped this function still holds it.
    """
    if SWAPPED not in vars(module):
        return type(module).forward(module, *args, **kwargs)
    with OVERRIDE:
        return type(module).forward(module, *args, **kwargs)


def compute(layer: type[nn.Module]) -> None:
    """Let NumPy compute a class derived from a layer of torch.nn, and what users derive from it."""
    # What computes a convolution is called by classes that users derive, too.
    name = "_conv_forward" if "_conv_forward" in vars(layer.__base__) else "forward"
    torchs = getattr(layer, name)

    def method(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with OVERRIDE:
            return torchs(self, *args, **kwargs)

    method.__name__, method.__qualname__ = name, f"{layer.__qualname__}.{name}"
    method.__signature__ = inspect.signature(torchs)  # type: ignore[attr-defined]
    setattr(layer, name, method)


def bound_forward(module: nn.Module) -> Any:
    """Return what stands for a swapped layer's `forward`: a partial, which can be copied and pickled."""
    bound = partial(forward, module)
    bound.__signature__ = inspect.signature(type(module).forward.__get__(module))  # type: ignore[attr-defined]
    return bound
