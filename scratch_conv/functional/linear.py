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
    shape = (*batch, matrix.shape[0]) if weight.dim() == 2 else batch
    rows, outs = math.prod(batch), matrix.shape[0]
    if bias is not None and bias.dtype != input.dtype:
        bias = bias.to(input.dtype)
    if bias is None or bias.numel() == 1 or (weight.dim() == 2 and math.prod(bias.shape[:-1]) == 1):
        shared = None if bias is None else bias.reshape(1, math.prod(bias.shape[-1:])).expand(1, outs)
        output = call(Linear, input.reshape(1, rows, features), matrix.unsqueeze(0), shared)
    else:  # a bias for every row: each is a group of its own
        own = bias.expand(shape).reshape(rows, outs)
        output = call(Linear, input.reshape(rows, 1, features), matrix.expand(rows, -1, -1), own)
    return reshaped(output, shape)


def _check_linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input.dim() == 0 or weight.dim() == 0:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, "
            f"but they are {input.dim()}D and {weight.dim()}D"
        )
    flat = bias is not None and _is_flattened(input, bias)
    if weight.dim() > 2 or (weight.dim() == 1 and flat):
        expected = "2D weight with this bias" if flat else "1D or 2D weight"
        raise RuntimeError(f"linear: expected {expected}, but got weight of size: {size_of(weight)}")
    if input.shape[-1] != weight.shape[-1]:
        raise RuntimeError(
            f"linear: mat1 and mat2 shapes cannot be multiplied: input of size {size_of(input)} should have "
            f"{weight.shape[-1]} features, as weight of size {size_of(weight)} has"
        )
    if input.dtype == torch.bool:
        raise NotImplementedError("linear is not implemented for 'Bool'")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None or tensor.dtype == input.dtype:
            continue
        if tensor is weight or flat or not torch.can_cast(tensor.dtype, input.dtype):
            raise RuntimeError(
                f"linear: Input type ({input.dtype}) and {name} type ({tensor.dtype}) should be the same"
            )
    shape = (*input.shape[:-1], *weight.shape[:-1])
    if bias is not None and not _broadcasts(bias, shape):
        raise RuntimeError(
            f"linear: bias of size {size_of(bias)} does not broadcast to the output's size {list(shape)}"
        )


def _is_flattened(input: Tensor, bias: Tensor) -> bool:
    """Return whether torch multiplies matrices here and adds the bias to their rows, and so is stricter.

    Otherwise it adds the bias to the product, of whatever shape that is, as to any tensor.
    """
    return input.dim() == 2 or (bias.dim() == 1 and input.is_contiguous())


def _broadcasts(tensor: Tensor, shape: tuple[Any, ...]) -> bool:
    if tensor.dim() > len(shape):
        return False
    trailing = shape[len(shape) - tensor.dim() :]
    return all(own in (1, size) for own, size in zip(tensor.shape, trailing, strict=True))
