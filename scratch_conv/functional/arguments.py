"""Arguments as torch's signatures take them, parsed once into full pairs; and what torch refuses, refused.

Each refusal has the type of torch's own and, where torch's wording names the argument and what was expected,
torch's wording.
"""

import operator
from typing import Any

import torch
from torch import Tensor

from scratch_conv.kernels.windows import Pair

_DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
}


def pair(function: str, name: str, value: Any) -> Pair:
    """Return an int, or a sequence of one or two ints, as two; raises what `integers` does."""
    first, last = integers(function, name, value, 2)
    return first, last


def integers(function: str, name: str, value: Any, count: int) -> tuple[int, ...]:
    """Return an int, or a sequence of one or `count` ints, as `count` of them.

    Raises:
        TypeError: for anything else but ints and sequences.
        RuntimeError: for a sequence of another length.
    """
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(values) not in (1, count):
        raise RuntimeError(
            f"{function}: expected {name} to be a single integer value or a list of {count} values, "
            f"but got {name}={list(values)}"
        )
    given = tuple(integer(function, name, v) for v in values)
    return given if len(given) == count else given * count


def integer(function: str, name: str, value: Any) -> int:
    """Return an integer as one: Python's, NumPy's, a symbolic one, or a tensor of one element.

    Raises:
        TypeError: for anything else, bool and float included.
    """
    if isinstance(value, torch.SymInt):
        return value  # type: ignore[return-value]  # stands for an int while shapes are traced
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{function}(): argument '{name}' must be int or tuple of ints, not {type(value).__name__}"
        ) from None


def dimension(function: str, name: str, value: Any, count: int) -> int:
    """Return a dimension of a tensor that has `count` of them, counted from the front.

    Raises:
        TypeError: it is not an integer.
        IndexError: there is no such dimension.
    """
    dim, count = integer(function, name, value), max(1, count)
    if not -count <= dim < count:
        raise IndexError(
            f"{function}: Dimension out of range (expected {name} to be in range of [{-count}, {count - 1}], "
            f"but got {dim})"
        )
    return dim % count


def number(function: str, name: str, value: Any) -> float:
    """Return a number as a float: Python's, NumPy's, or a tensor of one element.

    Raises:
        TypeError: for anything else.
    """
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{function}(): argument '{name}' must be float, not {type(value).__name__}"
        ) from None


def boolean(function: str, name: str, value: Any) -> bool:
    """Return a bool as it is.

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{function}(): argument '{name}' must be bool, not {type(value).__name__}")
    return value


def tensors(function: str, **values: Any) -> None:
    """Refuse what isn't a tensor, and tensors that these kernels cannot reach.

    Raises:
        TypeError: for anything but a tensor.
        RuntimeError: for a tensor on a device other than the CPU (or meta, which has no data), or for tensors
            on both of these; for one that was made in inference mode and is to be trained.
        NotImplementedError: for a tensor that is not strided (sparse, or of oneDNN's own layout), or of a
            dtype that NumPy cannot compute with.
    """
    first: tuple[str, torch.device] | None = None
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{function}(): argument '{name}' must be Tensor, not {type(value).__name__}")
        if value.layout != torch.strided:
            raise NotImplementedError(
                f"{function}: expected {name} to be a strided tensor, but got {value.layout}"
            )
        if value.dtype not in _DTYPES:
            raise NotImplementedError(f"{function}: {name} has dtype {value.dtype}, which is not implemented")
        device = value.device
        if device.type not in ("cpu", "meta"):
            raise RuntimeError(
                f"{function}: scratch_conv computes on the CPU, but {name} is on {device}. "
                f"Move the model and its input with .cpu(), or give the model its torch layers back "
                f"with scratch_conv.restore(model)."
            )
        if first is None:
            first = name, device
        elif device != first[1]:  # a kernel would read memory that was never written
            raise RuntimeError(
                f"{function}: Expected all tensors to be on the same device, "
                f"but {first[0]} is on {first[1]} and {name} is on {device}"
            )
        if value.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            _trainable(function, name, value)


def _trainable(function: str, name: str, tensor: Tensor) -> None:
    """Refuse a tensor of inference mode: its views require no gradient, so it would never be trained."""
    if tensor.is_inference():
        raise RuntimeError(
            f"{function}: {name} requires a gradient, but was made in inference mode. Inference tensors "
            f"cannot be saved for backward. To work around this, make a clone and use it in autograd."
        )
