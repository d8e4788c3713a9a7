"""Activations."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import ReLU, ReLUInPlace, call, reshaped
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces

__all__ = ["relu"]


@replaces(F.relu, torch.relu, Tensor.relu)
@overridable
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Take the positive part of every element, as `torch.nn.functional.relu` does.

    Args:
        input: of any shape, real or whole numbers.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        max(input, 0), of the shape, the dtype and the strides of the input; NaN stays NaN.

    Raises:
        TypeError: the input is not a tensor.
        RuntimeError: it is not on the CPU; or it is a leaf that requires a gradient, and `inplace`.
        NotImplementedError: it is bool or complex.
    """
    arguments.tensors("relu", input=input)
    if input.dtype == torch.bool or input.dtype.is_complex:
        raise NotImplementedError(f"relu is not implemented for {input.dtype}")
    if input.dim() > arguments.MOST_DIMENSIONS:
        output: Tensor = reshaped(relu(input.reshape(-1)), input.shape)
        return input.copy_(output) if inplace else output
    if inplace and ReLUInPlace.fits_in_place(input):
        # To copy the output over it would take a twentieth of a training step of ResNet-18.
        return ReLUInPlace.apply(input)
    output = call(ReLU, input)
    return input.copy_(output) if inplace else output


@replaces(torch.relu_, Tensor.relu_)
def _relu_(input: Any) -> Any:
    return relu(input, inplace=True)
