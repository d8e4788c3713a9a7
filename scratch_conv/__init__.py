"""Convolution, pooling and the other layers of a CNN for PyTorch, every derivative written by hand in NumPy.

Names are loaded when they are first used, so that `scratch_conv.kernels` and `scratch_conv.layers` work where
torch cannot be imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scratch_conv import functional, kernels, layers, nn
    from scratch_conv.kernels import enable_winograd, using_winograd
    from scratch_conv.swapping import override, restore, swap

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "enable_winograd",
    "functional",
    "kernels",
    "layers",
    "nn",
    "override",
    "restore",
    "swap",
    "using_winograd",
]

_MODULES = {"functional", "kernels", "layers", "nn"}
_KERNELS = {"enable_winograd", "using_winograd"}
_SWAPPING = {"override", "restore", "swap"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _KERNELS:
        return getattr(importlib.import_module(f"{__name__}.kernels"), name)
    if name in _SWAPPING:
        return getattr(importlib.import_module(f"{__name__}.swapping"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
