"""Functions that look at the same elements in another shape."""

import math

import torch
from torch import Tensor

from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces

__all__ = ["flatten"]


@replaces(torch.flatten, Tensor.flatten)
@overridable
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge dimensions from `start_dim` to `end_dim` into one, as `torch.flatten` does.

    Args:
        input: of any shape and dtype.
        start_dim: the first of the dimensions to be merged.
        end_dim: the last of them.

    Returns:
        The input itself where there is nothing to merge, a view where its strides allow one, else a copy.

    Raises:
        TypeError: an argument has a type that torch does not take.
        IndexError: there is no such dimension.
        RuntimeError: `start_dim` comes after `end_dim`.
    """
    arguments.types("flatten", input=input)
    start = arguments.dimension("flatten", "start_dim", start_dim, input.dim())
    end = arguments.dimension("flatten", "end_dim", end_dim, input.dim())
    if input.dim() == 0:
        return input.reshape(1)
    if start > end:
        raise RuntimeError(f"flatten: {start_dim=} cannot come after {end_dim=}")
    if start == end:
        return input
    merged = math.prod(input.shape[start : end + 1])
    return input.reshape(*input.shape[:start], merged, *input.shape[end + 1 :])
