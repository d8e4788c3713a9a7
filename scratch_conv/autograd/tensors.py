"""Conversion between torch's tensors and NumPy's arrays, and the memory formats of results."""

from collections.abc import Sequence
from operator import ge
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scratch_conv.autograd import _torch_internals as internals
from scratch_conv.kernels.windows import Array

__all__ = ["computed_by_onednn", "is_channels_last", "suggests_channels_last"]

_COMPUTED_IN_FLOAT32 = {torch.float16, torch.bfloat16}


class _Memory:
    """A tensor as NumPy takes its memory: `Tensor.numpy` would mark the tensor's storage as not resizable."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(self, **_: Any) -> Any:
        return torch.to_dlpack(self.tensor)  # type: ignore[attr-defined]

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU


def to_array(tensor: Tensor) -> Array:
    """View a CPU tensor as an array, to be read only; half precision is widened to float32 (a copy)."""
    tensor = tensor.detach()
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    if tensor.dtype in _COMPUTED_IN_FLOAT32:
        tensor = tensor.float()
    array: Array = np.from_dlpack(_Memory(tensor))
    return array


def to_bits(tensor: Tensor) -> Array:
    """View a CPU tensor as an array whose elements are moved alone: those of half precision as their bits."""
    if tensor.dtype in _COMPUTED_IN_FLOAT32:
        tensor = tensor.detach().view(torch.int16)
    return to_array(tensor)


def to_array_if_any(tensor: Tensor | None) -> Array | None:
    """View a CPU tensor as an array, as `to_array` does; None stays None."""
    return None if tensor is None else to_array(tensor)


def to_tensor(
    array: Array, like: Tensor | None, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """Wrap an array as a tensor in a memory format, rounded to the dtype of `like` (if any is given).

    The strides are those of a new tensor in that format, also where axes of size 0 or 1 would allow others.
    """
    tensor = torch.from_numpy(np.asarray(array, order="C"))
    if like is not None:
        tensor = tensor.to(like.dtype)
    if memory_format == torch.contiguous_format and tensor.numel():
        return tensor
    return empty(tensor, tensor.shape, memory_format).copy_(tensor)


def to_tensor_in(array: Array, like: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Wrap an array whose memory has this format, and whose integers may be the bits of half precision."""
    tensor = _of_dtype(array, like)
    return tensor if array.size else empty(like, tensor.shape, memory_format)


def to_tensor_of(array: Array, wanted: Tensor) -> Tensor:
    """Wrap an array as a tensor of the dtype and the strides of `wanted`, which may be on the meta device.

    Integers may be the bits of half precision.
    """
    tensor = _of_dtype(array, wanted)
    if tensor.stride() == wanted.stride():
        return tensor
    return torch.empty_strided(wanted.shape, wanted.stride(), dtype=wanted.dtype).copy_(tensor)


def to_tensor_like(array: Array, like: Tensor) -> Tensor:
    """Wrap an array as a tensor of the dtype and the strides of `torch.empty_like(like)`."""
    return to_tensor_of(array, torch.empty_like(like, device="meta"))


def _of_dtype(array: Array, like: Tensor) -> Tensor:
    tensor = torch.from_numpy(array)
    if tensor.dtype == like.dtype:
        return tensor
    return tensor.view(like.dtype) if tensor.dtype == torch.int16 else tensor.to(like.dtype)


def empty(
    like: Tensor,
    shape: Sequence[int],
    memory_format: torch.memory_format = torch.contiguous_format,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return an uninitialized tensor on the device of `like`, and of its dtype if none is given."""
    return torch.empty(
        tuple(shape), dtype=dtype or like.dtype, device=like.device, memory_format=memory_format
    )


def is_channels_last(*operands: Tensor) -> bool:
    """Return whether torch's output is channels_last: an operand suggests it, and the batch is not empty."""
    return any(map(_suggests_channels_last, operands)) and bool(operands[0].shape[0])


def suggests_channels_last(operand: Tensor) -> bool:
    """Return whether torch's output for one operand, of any number of axes, has its channels last."""
    return operand.dim() in (4, 5) and is_channels_last(operand)


def _suggests_channels_last(operand: Tensor) -> bool:
    # Dynamo fails on strides that are expressions of sizes; vmap knows nothing but strides.
    wanted = memory_format(True, operand.dim())
    if torch.compiler.is_compiling() and not internals.in_transform():
        return operand.is_contiguous(memory_format=wanted) and not operand.is_contiguous()
    channel, *_, column = operand.stride()[1:]
    if channel > column:  # most often: no need to look at all of them, which takes 5 µs
        return False
    return internals.suggested_memory_format(operand) == wanted


def computed_by_onednn(
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    output_padding: Sequence[int],
) -> bool:
    """Return whether oneDNN computes torch's convolution of volumes, which decides about its memory format.

    The conditions are those of `use_mkldnn` in ATen/native/Convolution.cpp; output_padding is zero where the
    convolution is not transposed.
    """
    if any(map(ge, output_padding, stride)):
        return False
    if input.dtype not in (torch.float32, torch.complex64):
        return input.dtype in internals.HALVES_OF_ONEDNN
    images, channels, depth, height, _ = input.shape
    one_tap = max(weight.shape[-2:]) == max(stride) == max(dilation) == 1
    if one_tap and images < 16 and internals.num_threads() == 1:
        return False
    large = images > 1 or images * channels * depth * height > 20480
    return groups > 1 or large or min(weight.shape[-2:]) > 3


def memory_format(channels_last: bool, dim: int = 4) -> torch.memory_format:
    """Return the memory format of tensors of 4 or 5 dimensions that are channels_last, or not."""
    if not channels_last:
        return torch.contiguous_format
    return torch.channels_last_3d if dim == 5 else torch.channels_last


def common_memory_format(*operands: Tensor) -> torch.memory_format:
    """Return the format of torch's outputs: channels_last if any operand's strides suggest it."""
    return memory_format(is_channels_last(*operands), operands[0].dim())
