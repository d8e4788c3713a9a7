"""Tensors as plain bytes, to be compared and sent whatever a candidate has made of torch's methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# The class in C that torch.Tensor extends: nobody can put other methods into it.
_TENSOR: Any = Tensor.__base__


@dataclass(frozen=True)
class Packed:
    """A tensor's shape, the name of its dtype, and its elements one after the other."""

    shape: tuple[int, ...]
    dtype: str
    data: bytes

    def unpack(self) -> Tensor:
        """Return the tensor, contiguous."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        if not self.data:
            return torch.empty(self.shape, dtype=dtype)
        return torch.frombuffer(bytearray(self.data), dtype=dtype).reshape(self.shape)


def pack(tensor: Tensor) -> Packed:
    """Return a tensor as bytes.

    Raises:
        TypeError: it is sparse, quantized or without memory.
    """
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise TypeError(f"a tensor of layout {tensor.layout} and dtype {tensor.dtype} on {tensor.device}")
    plain = _TENSOR.detach(tensor)
    for resolve in (_TENSOR.cpu, _TENSOR.resolve_conj, _TENSOR.resolve_neg):
        plain = resolve(plain)
    if tensor.dtype == torch.bfloat16:  # unknown to NumPy
        plain = _TENSOR.view(plain, torch.int16)
    shape = tuple(int(size) for size in tensor.shape)
    data: bytes = _TENSOR.numpy(plain, force=True).tobytes()  # of torch's zeros without memory too
    return Packed(shape, str(tensor.dtype).removeprefix("torch."), data)
