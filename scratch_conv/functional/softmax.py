"""Softmax and its logarithm."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from scratch_conv.autograd import LogSoftmax, Softmax, call, reshaped
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, warn

__all__ = ["log_softmax", "softmax"]


@replaces(F.softmax)
@overridable
def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """Turn the numbers along a dimension into weights that sum to one, as `torch.nn.functional.softmax` does.

    Args:
        input: of any shape, float64, float32, float16 or bfloat16 once it is cast to `dtype`.
        dim: the dimension of the classes; None takes 0 or 1, with torch's warning.
        dtype: what the input is cast to first, and the dtype of the result; the input's own where it is None.

    Returns:
        exp(input) / Σ exp(input), of the input's shape.

    Raises:
        TypeError: an argument has a type that torch does not take.
        IndexError: there is no dimension `dim`.
        RuntimeError: the input is not on the CPU.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    return _along(Softmax, "softmax", input, dim, _stacklevel, dtype)


@replaces(F.log_softmax)
@overridable
def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the logarithm of softmax, as `torch.nn.functional.log_softmax` does.

    Args, Returns and Raises are those of `softmax`; the result is input - log Σ exp(input).
    """
    return _along(LogSoftmax, "log_softmax", input, dim, _stacklevel, dtype)


@replaces(torch.softmax, torch.special.softmax, Tensor.softmax)
def _softmax(input: Any, dim: Any, dtype: Any = None) -> Any:
    return softmax(input, dim, dtype=dtype)


@replaces(torch.log_softmax, torch.special.log_softmax, Tensor.log_softmax)
def _log_softmax(input: Any, dim: Any, dtype: Any = None) -> Any:
    return log_softmax(input, dim, dtype=dtype)


def _along(
    function: type[Function],
    name: str,
    input: Tensor,
    dim: int | None,
    stacklevel: int,
    dtype: torch.dtype | None,
) -> Tensor:
    """Call a function along a dimension."""
    arguments.tensors(name, input=input)
    if dim is None:
        # torch counts the frames from a function that softmax calls; here softmax's dispatch is one more.
        warn(
            f"Implicit dimension choice for {name} has been deprecated. "
            f"Change the call to include dim=X as an argument.",
            stacklevel=stacklevel + 1,
        )
        dim = 0 if input.dim() in (0, 1, 3) else 1
    dim = arguments.dimension(name, "dim", dim, input.dim())
    if dtype is not None:
        input = input.to(arguments.dtype(name, dtype))
    if not input.dtype.is_floating_point:
        if not input.numel():  # torch does not look at the dtype where there is nothing to compute
            return input.clone(memory_format=torch.contiguous_format)
        raise NotImplementedError(f"{name} is not implemented for {input.dtype}")
    if input.dim() > arguments.MOST_DIMENSIONS:
        shape = input.shape
        rows = input.reshape(math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :]))
        return reshaped(call(function, rows, 1), shape)
    output: Tensor = call(function, input, dim)
    return output
