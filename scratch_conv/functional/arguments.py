"""Arguments as torch's signatures take them, parsed once into full pairs; and what torch refuses, refused.

Each refusal has the type of torch's own and, where torch's wording names the argument and what was expected,
torch's wording.
"""

import math
import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scratch_conv.kernels.windows import Pair

_DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
}
_DTYPES_OF_PYTHON = {float: torch.float64, int: torch.int64, bool: torch.bool, complex: torch.complex128}

_METHOD_FIRST: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_avg_pool3d"), ("input",)),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d"), ("input",)),
    **dict.fromkeys(("dropout1d", "dropout2d", "dropout3d"), ("input",)),
    **dict.fromkeys(("group_norm", "instance_norm", "local_response_norm"), ("input",)),
    **dict.fromkeys(("log_softmax", "sigmoid", "softmax", "softsign", "tanh"), ("input",)),
    **{"max_unpool1d": ("input", "indices"), "max_unpool2d": ("input",), "max_unpool3d": ("input",)},
    **dict.fromkeys(("binary_cross_entropy", "huber_loss", "l1_loss"), ("input", "target", "weight")),
    **dict.fromkeys(("mse_loss", "smooth_l1_loss"), ("input", "target", "weight")),
    "binary_cross_entropy_with_logits": ("input", "target"),
}
"""Of what torch.nn.functional, in Python, calls a method before it hands it on."""

MOST_DIMENSIONS = 32
"""The most that arrays of every supported version of NumPy have (64 from 2.0 on); torch's have any number."""


def pair(function: str, name: str, value: Any) -> Pair:
    """Return an int, or a sequence of one or two ints, as two; raises what `integers` does."""
    first, last = integers(function, name, value, 2)
    return first, last


def integers(function: str, name: str, value: Any, count: int) -> tuple[int, ...]:
    """Return an int, or a sequence of one or `count` ints, as `count` of them.

    Raises:
        TypeError: for anything else but ints and sequences, and for sequences of ints beyond 64 bits.
        ValueError: for a single int beyond 64 bits.
        RuntimeError: for a sequence of another length.
    """
    if not isinstance(value, (tuple, list)):
        return (_single(function, name, value),) * count
    if value and isinstance(value[0], bool):  # torch looks at the type of the first
        raise _no_integer(function, name, value)
    given = tuple([_item(function, name, item) for item in value])
    if len(given) not in (1, count):
        raise RuntimeError(
            f"{function}: expected {name} to be a single integer value or a list of {count} values, "
            f"but got {name}={list(value)}"
        )
    return given if len(given) == count else given * count


def shape(function: str, name: str, value: Any) -> tuple[int, ...]:
    """Return a tuple or a list of ints, of any number, as a tuple.

    Raises:
        TypeError: for anything else, ints included, and for ints beyond 64 bits.
    """
    if not isinstance(value, (tuple, list)) or (value and isinstance(value[0], bool)):
        raise TypeError(f"{function}(): argument '{name}' must be tuple of ints, not {type(value).__name__}")
    return tuple([_item(function, name, item) for item in value])


def integer(function: str, name: str, value: Any, *, strict: bool = False) -> int:
    """Return an integer as one: Python's, NumPy's, a symbolic one, or a tensor of one element.

    Args:
        function: the name of the function, for messages.
        name: that of the argument.
        value: what was passed.
        strict: whether torch takes this one from few types: neither what has `__index__`, nor a tensor that
            has dimensions.

    Raises:
        TypeError: for anything else, bool and float included.
        ValueError: for one beyond 64 bits.
    """
    if isinstance(value, torch.SymInt):
        return value  # type: ignore[return-value]  # stands for an int while shapes are traced
    allowed = not strict or isinstance(value, (int, np.integer)) or (_is_tensor(value) and value.dim() == 0)
    if not allowed or isinstance(value, bool) or (_is_tensor(value) and value.dtype == torch.bool):
        raise _no_integer(function, name, value)
    return _within_64_bits(_index(function, name, value), ValueError)


def _single(function: str, name: str, value: Any) -> int:
    """Return what stands for all axes: torch takes a tensor of one element, but not what has `__index__`."""
    if isinstance(value, torch.SymInt):
        return value  # type: ignore[return-value]
    if isinstance(value, bool) or not isinstance(value, (int, np.integer, Tensor)):
        raise _no_integer(function, name, value)
    return _within_64_bits(_index(function, name, value), ValueError)


def _item(function: str, name: str, value: Any) -> int:
    """Return an int out of a sequence."""
    if isinstance(value, torch.SymInt):
        return value  # type: ignore[return-value]
    return _within_64_bits(_index(function, name, value), TypeError)


def _index(function: str, name: str, value: Any) -> int:
    if type(value) is int:  # as a compiler shows its symbols, which `operator.index` would bind to one number
        return value
    try:
        return operator.index(value)
    except TypeError:
        raise _no_integer(function, name, value) from None


def _no_integer(function: str, name: str, value: Any) -> TypeError:
    return TypeError(
        f"{function}(): argument '{name}' must be int or tuple of ints, not {type(value).__name__}"
    )


def _within_64_bits(value: int, refusal: type[Exception]) -> int:
    if not -(2**63) <= value < 2**63:
        raise refusal("Overflow when unpacking long long")
    return value


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def dimension(function: str, name: str, value: Any, count: int) -> int:
    """Return a dimension of a tensor that has `count` of them, counted from the front.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is beyond 64 bits.
        IndexError: there is no such dimension.
    """
    dim, count = integer(function, name, value, strict=True), max(1, count)
    if not -count <= dim < count:
        raise IndexError(
            f"{function}: Dimension out of range (expected {name} to be in range of [{-count}, {count - 1}], "
            f"but got {dim})"
        )
    return dim % count


def number(function: str, name: str, value: Any) -> float:
    """Return a number as a float: Python's, NumPy's, or a tensor of no dimensions.

    Raises:
        TypeError: for anything else, for a complex tensor, and for one that requires a gradient, which would
            be lost.
        OverflowError: for an int beyond the largest float.
    """
    taken = isinstance(value, (float, int, np.number, np.bool_, torch.SymFloat, torch.SymInt))
    if not taken and not (_is_tensor(value) and _is_real_number(value)):
        raise TypeError(f"{function}(): argument '{name}' must be float, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise OverflowError(f"{function}(): argument '{name}' is too large for a float") from None


def _is_real_number(tensor: Tensor) -> bool:
    return tensor.dim() == 0 and not tensor.requires_grad and not tensor.is_complex()


def dtype(function: str, value: Any) -> torch.dtype:
    """Return a dtype, or the one that Python's own type of a number stands for.

    Raises:
        TypeError: for anything else.
        NotImplementedError: for a dtype that NumPy cannot compute with.
    """
    found = _DTYPES_OF_PYTHON.get(value, value) if isinstance(value, type) else value
    if not isinstance(found, torch.dtype):
        raise TypeError(f"{function}(): argument 'dtype' must be torch.dtype, not {type(value).__name__}")
    if found not in _DTYPES:
        raise NotImplementedError(f"{function} is not implemented for {found}")
    return found


def boolean(function: str, name: str, value: Any) -> bool:
    """Return a bool as it is.

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{function}(): argument '{name}' must be bool, not {type(value).__name__}")
    return value


def output_size(function: str, *sizes: int) -> None:
    """Refuse an output of more elements than 64 bits can count the bytes of.

    Raises:
        RuntimeError: as torch does, where it computes the size of the storage.
    """
    if torch.compiler.is_compiling():  # sizes may be symbols, which a comparison would bound for good
        return
    if max(sizes) >= 2**31 and math.prod(sizes) >= 2**59:
        raise RuntimeError(f"{function}: Storage size calculation overflowed with sizes={list(sizes)}")


def types(function: str, **values: Any) -> None:
    """Refuse what isn't a tensor.

    Raises:
        TypeError: as torch does.
        AttributeError: where torch looks for a method of it first.
    """
    for name, value in values.items():
        if not isinstance(value, Tensor):
            error = AttributeError if name in _METHOD_FIRST.get(function, ()) else TypeError
            raise error(f"{function}(): argument '{name}' must be Tensor, not {type(value).__name__}")


def tensors(function: str, **values: Any) -> None:
    """Refuse what isn't a tensor, and tensors that these kernels cannot reach.

    Raises:
        TypeError: for anything but a tensor; for some an AttributeError, see `types`.
        RuntimeError: for a tensor on a device other than the CPU (or meta, which has no data), or for tensors
            on both of these; for one that was made in inference mode and is to be trained.
        NotImplementedError: for a tensor that is not strided (sparse, nested, or of oneDNN's own layout), or
            of a dtype that NumPy cannot compute with.
    """
    first: tuple[str, torch.device] | None = None
    types(function, **values)
    for name, value in values.items():
        if value.layout != torch.strided or value.is_nested:
            layout = "a nested tensor" if value.is_nested else value.layout
            raise NotImplementedError(f"{function}: expected {name} to be a strided tensor, but got {layout}")
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
