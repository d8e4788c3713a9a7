"""Let NumPy compute calls of torch's functions that stand in code which is not to be changed."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from scratch_conv.functional.calling import REPLACEMENTS


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
        own = REPLACEMENTS.get(func)
        # Into `out` torch writes itself; sparse, quantized and other tensors without strides are its own too.
        if own is None or given.get("out") is not None or not all(map(_is_plain, (*args, *given.values()))):
            own = func
        return own(*args, **given)


def _is_plain(argument: Any) -> bool:
    """Return whether an argument is a strided tensor, or no tensor."""
    if not isinstance(argument, Tensor):
        return True
    return argument.layout == torch.strided and not (argument.is_quantized or argument.is_nested)
