"""Dense layers."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import Linear, call, reshaped
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import autocast, overridable, replaces, size_of

__all__ = ["linear"]


@replaces(F.linear)
@overridable
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear map to the last dimension, y = x wᵀ + b, as `torch.nn.functional.linear` does.

    Args:
        input: (*, I), where * is any number of dimensions.
        weight: (O, I), or (I,) for a map to one number; of the input's dtype.
        bias: (O,), or what broadcasts to the output; of the input's dtype; or None.

    Returns:
        (*, O), or (*) for a weight (I,).

    Raises:
        TypeError: an argument is not a tensor.
        RuntimeError: shapes or dtypes do not fit; or a tensor is not on the CPU.
        NotImplementedError: the tensors are bool.
    """
    arguments.tensors("linear", input=input, weight=weight, **({} if bias is None else {"bias": bias}))
    if torch.is_autocast_enabled("cpu"):
        input, weight, bias = (autocast(tensor) for tensor in (input, weight, bias))
    _check_linear(input, weight, bias)
    batch, features = input.shape[:-1], input.shape[-1]
    matrix = weight if weight.dim() == 2 else weight.unsqueeze(0)
    rows, outs = math.prod(batch), matrix.shape[0]
    if bias is None or math.prod(bias.shape[:-1]) == 1:
        shared = None if bias is None else bias.reshape(1, -1).expand(1, outs)
        output = call(Linear, input.reshape(1, rows, features), matrix.unsqueeze(0), shared)
    else:  # a bias for every row: each is a group of its own
        own = bias.expand(*batch, outs).reshape(rows, outs)
        output = call(Linear, input.reshape(rows, 1, features), matrix.expand(rows, -1, -1), own)
    return reshaped(output, (*batch, outs) if weight.dim() == 2 else batch)


def _check_linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input.dim() == 0 or weight.dim() == 0:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, "
            f"but they are {input.dim()}D and {weight.dim()}D"
        )
    if weight.dim() > 2 or (weight.dim() == 1 and bias is not None):
        expected = "1D or 2D weight" if bias is None else "2D weight with a bias"
        raise RuntimeError(f"linear: expected {expected}, but got weight of size: {size_of(weight)}")
    if input.shape[-1] != weight.shape[-1]:
        raise RuntimeError(
            f"linear: mat1 and mat2 shapes cannot be multiplied: input of size {size_of(input)} should have "
            f"{weight.shape[-1]} features, as weight of size {size_of(weight)} has"
        )
    if input.dtype == torch.bool:
        raise NotImplementedError("linear is not implemented for 'Bool'")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != input.dtype:
            raise RuntimeError(
                f"linear: Input type ({input.dtype}) and {name} type ({tensor.dtype}) should be the same"
            )
    if bias is not None and not _broadcasts(bias, (*input.shape[:-1], weight.shape[0])):
        raise RuntimeError(
            f"linear: bias of size {size_of(bias)} does not broadcast to the output's size "
            f"{[*input.shape[:-1], weight.shape[0]]}"
        )


def _broadcasts(tensor: Tensor, shape: tuple[Any, ...]) -> bool:
    if tensor.dim() > len(shape):
        return False
    trailing = shape[len(shape) - tensor.dim() :]
    return all(own in (1, size) for own, size in zip(tensor.shape, trailing, strict=True))
