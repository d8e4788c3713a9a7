"""Normalization by the squares of neighbouring channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import LocalResponseNorm, call
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces
from scratch_conv.functional.normalization import check_floating

__all__ = ["local_response_norm"]


@replaces(F.local_response_norm)
@overridable
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide by a power of the neighbouring channels' mean square, as torch's function of that name does.

    Args:
        input: (N, C, *) of three or more dimensions, float64 or float32; of three, also float16 or bfloat16.
        size: how many channels are neighbours, size // 2 of them before; what is outside counts as 0.
        alpha: what the mean square is multiplied by.
        beta: the power.
        k: what is added to the mean square.

    Returns:
        input / (k + alpha · mean square)^beta, of the input's shape and memory format; the input itself where
        it is empty. Under `torch.autocast` float32 for half precision, of four or more dimensions.

    Raises:
        TypeError: an argument has a type that torch does not take, or a number is a tensor of several.
        ValueError: the input has fewer than three dimensions.
        RuntimeError: the size is not positive, or the input is not on the CPU.
        NotImplementedError: the input is of whole numbers, bool or complex, or of half precision and of more
            than three dimensions.
    """
    arguments.tensors("local_response_norm", input=input)
    if input.dim() < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)")
    size = arguments.integer("local_response_norm", "size", size)
    numbers = [arguments.number("local_response_norm", *each) for each in (("alpha", alpha), ("beta", beta))]
    numbers.append(arguments.number("local_response_norm", "k", k))
    if not input.numel():
        return input
    if size <= 0:
        raise RuntimeError(f"local_response_norm: size should be greater than zero, but got {size}")
    check_floating("local_response_norm", input)
    if input.dim() > 3 and input.dtype in (torch.float16, torch.bfloat16):
        if not torch.is_autocast_enabled("cpu"):
            raise NotImplementedError(
                f"local_response_norm of {input.dim()} dimensions is not implemented for {input.dtype}"
            )
        input = input.float()
    output: Tensor = call(LocalResponseNorm, input, size, *numbers)
    return output
