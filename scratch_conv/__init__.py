"""Convolution, pooling and the other layers of a CNN for PyTorch, every derivative written by hand in NumPy.

Names are loaded when they are first used, so that `scratch_conv.kernels` and `scratch_conv.layers` work where
torch cannot be imported.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that a misspelt name is an error
    from scratch_conv import functional, kernels, layers, nn, parity
    from scratch_conv.kernels import (
        enable_winograd,
        free_scratch,
        set_num_threads,
        using_num_threads,
        using_winograd,
    )
    from scratch_conv.swapping import is_swapped, override, restore, swap, verify

__version__ = "0.2.0.dev0"

__all__ = [
    "__version__",
    "enable_winograd",
    "free_scratch",
    "functional",
    "is_swapped",
    "kernels",
    "layers",
    "nn",
    "override",
    "parity",
    "restore",
    "set_num_threads",
    "swap",
    "using_num_threads",
    "using_winograd",
    "verify",
]

_ROOMS = {"functional", "kernels", "layers", "nn", "parity"}
_SWAPPING = {"is_swapped", "override", "restore", "swap", "verify"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in _ROOMS:
            return importlib.import_module(f"{__name__}.{name}")
        room = "swapping" if name in _SWAPPING else "kernels"
        return getattr(importlib.import_module(f"{__name__}.{room}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
