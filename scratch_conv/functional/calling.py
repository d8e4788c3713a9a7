"""What comes before any arithmetic: who may take a call over, and in which dtype it runs."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from scratch_conv.autograd import _torch_internals as internals
from scratch_conv.autograd import in_torchscript
from scratch_conv.functional.overriding import LEFT, OVERRIDE, PLACES, REAL, REPLACEMENTS

Function = TypeVar("Function", bound=Callable[..., Any])
IntOrPair = int | list[int] | tuple[int, ...]

_TORCHS: dict[Any, Any] = {}
"""The function of torch's that a function of ours shows itself as."""


def replaces(
    *torchs: Any, real: bool = False, left: Callable[..., bool] | None = None
) -> Callable[[Function], Function]:
    """Register a function as the one that `override()` calls in place of each of torch's.

    It takes their arguments in their order; where it is `real`, complex numbers stay torch's, and so does
    a call of which `left`, called with its arguments, returns True.
    """

    def register(function: Function) -> Function:
        REPLACEMENTS.update(dict.fromkeys(torchs, function))
        REAL.update(torchs if real else ())
        LEFT.update({} if left is None else dict.fromkeys(torchs, left))
        PLACES.update({each.__name__: function for each in torchs if each in vars(F).values()})
        _TORCHS[function] = torchs[0]
        return function

    return register


def overridable(function: Function) -> Function:
    """Let tensor subclasses, modes and FX proxies see the call first, as torch's own functions do.

    They see torch's function, which they know, and whose call is computed here; a graph keeps ours.
    TorchScript is refused: what it records would hold for the shapes of one input alone.
    """

    @wraps(function)
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        relevant = (*args, *kwargs.values())
        if not has_torch_function(relevant):
            if in_torchscript():
                refuse_torchscript()
            return function(*args, **kwargs)
        if not internals.CAN_GO_BENEATH or any(isinstance(each, torch.fx.Proxy) for each in relevant):
            return handle_torch_function(dispatch, relevant, *args, **kwargs)
        with OVERRIDE:
            return _TORCHS[dispatch](*args, **kwargs)

    vars(dispatch)["__prepare_scriptable__"] = refuse_torchscript
    return dispatch  # type: ignore[return-value]


def refuse_torchscript(*_: Any) -> NoReturn:
    """Refuse what `torch.jit` does; `torch.jit.script` calls this where it is a `__prepare_scriptable__`.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        "scratch_conv: TorchScript (torch.jit.trace, torch.jit.script, torch.onnx.export with dynamo=False) "
        "cannot hold layers that NumPy computes. Call scratch_conv.restore(model) first, for torch's own "
        "layers; torch.export and torch.compile take the model as it is."
    )


def autocast(tensor: Any) -> Any:
    """Bring a tensor to the dtype of `torch.autocast`, which leaves float64 and whole numbers alone."""
    narrows = tensor is not None and tensor.dtype.is_floating_point and tensor.dtype != torch.float64
    return tensor.to(torch.get_autocast_dtype("cpu")) if narrows else tensor


def autocast_to_float32(tensor: Tensor) -> Tensor:
    """Widen a tensor of half precision where `torch.autocast` is on, for operators that it has in float32."""
    narrow = tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.float() if narrow and torch.is_autocast_enabled("cpu") else tensor


def warn(message: str, stacklevel: int) -> None:
    """Warn as `warnings.warn` does; not while a compiler traces, which cannot."""
    if not torch.compiler.is_compiling():
        warnings.warn(message, stacklevel=stacklevel + 1)


def size_of(tensor: Tensor) -> list[int]:
    """Return a tensor's shape as messages print it."""
    return list(tensor.shape)
