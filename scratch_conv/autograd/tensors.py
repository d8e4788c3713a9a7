"""Between torch's tensors and NumPy's arrays."""

import torch
from torch import Tensor

from scratch_conv.kernels.geometry import Array

_COMPUTED_IN_FLOAT32 = {torch.float16, torch.bfloat16}


def to_array(tensor: Tensor) -> Array:
    """View a CPU tensor as an array; half-precision tensors are widened to float32 (a copy)."""
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype in _COMPUTED_IN_FLOAT32:
        tensor = tensor.float()
    array: Array = tensor.numpy()
    return array


def to_tensor(array: Array, like: Tensor) -> Tensor:
    """Wrap an array as a contiguous tensor, rounded to the dtype of `like` if that is narrower."""
    return torch.from_numpy(array).contiguous().to(like.dtype)
