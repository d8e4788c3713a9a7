"""Between torch's tensors and NumPy's arrays."""

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from scratch_conv.kernels.geometry import Array

_COMPUTED_IN_FLOAT32 = {torch.float16, torch.bfloat16}


def to_array(tensor: Tensor) -> Array:
    """View a CPU tensor as an array; half-precision tensors are widened to float32 (a copy)."""
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype in _COMPUTED_IN_FLOAT32:
        tensor = tensor.float()
    array: Array = tensor.numpy()
    return array


def to_tensor(
    array: Array, like: Tensor, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """Wrap an array as a tensor, rounded to the dtype of `like` if that is narrower."""
    return torch.from_numpy(array).contiguous(memory_format=memory_format).to(like.dtype)


def to_tensor_like(array: Array, like: Tensor) -> Tensor:
    """Wrap an array as a tensor of the dtype of `like`, with the strides of `torch.empty_like(like)`."""
    tensor, wanted = torch.from_numpy(array), torch.empty_like(like)
    return tensor if _same_layout(tensor, wanted) else wanted.copy_(tensor)


def _same_layout(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.stride() == other.stride()


def common_memory_format(*operands: Tensor) -> torch.memory_format:
    """Give the format of torch's outputs: channels_last if any operand's strides suggest it."""
    suggested = {suggest_memory_format(operand) for operand in operands}
    return torch.channels_last if torch.channels_last in suggested else torch.contiguous_format
