"""How the dimension that vmap adds becomes a part of another one."""

from typing import Any

from torch import Tensor
from torch.autograd import Function

from scratch_conv.autograd.operators import call

__all__ = ["fold", "fold_into_batch", "unfold", "vmap_elementwise"]


def vmap_elementwise(function: type[Function], info: Any, in_dims: Any, *operands: Any) -> Any:
    """Batch a function of operands of one rank, elementwise: the vmapped dimension is one more in front.

    Operands without one are repeated; what is not a tensor is passed on.
    """
    size = info.batch_size
    stacked = [
        operand
        if not isinstance(operand, Tensor)
        else operand.expand(size, *operand.shape)
        if dim is None
        else operand.movedim(dim, 0)
        for operand, dim in zip(operands, in_dims, strict=True)
    ]
    return call(function, *stacked), 0


def fold(tensor: Tensor, vmapped_dim: int | None, dim: int, size: int) -> Tensor:
    """Merge the dimension that vmap added (of `size`) into `dim`; a tensor without one is repeated."""
    if vmapped_dim is None:
        tensor = tensor.unsqueeze(dim).expand(*tensor.shape[:dim], size, *tensor.shape[dim:])
    else:
        tensor = tensor.movedim(vmapped_dim, dim)
    return tensor.flatten(dim, dim + 1)


def fold_into_batch(info: Any, in_dims: Any, *operands: Tensor) -> tuple[Tensor, ...]:
    """Merge the dimension that vmap added into the batch of each operand."""
    folded = zip(operands, in_dims, strict=False)  # what else is passed on has no dimension
    return tuple(fold(operand, dim, 0, info.batch_size) for operand, dim in folded)


def unfold(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Split a dimension that `fold` merged; the vmapped dimension is then at `dim`."""
    shape = tensor.shape
    return tensor.reshape(*shape[:dim], size, shape[dim] // size, *shape[dim + 1 :])
