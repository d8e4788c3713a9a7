"""Implementations of flatten."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection

FLATTEN = Collection("flatten")
COLLECTIONS = (FLATTEN,)


@FLATTEN.sound("by-reshape")
def flatten_by_reshape(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Reshape to the product of the sizes."""
    shape = tuple(input.shape) or (1,)
    start, end = start_dim % len(shape), end_dim % len(shape)
    whole = torch.Size(shape[start : end + 1]).numel()
    return input.reshape(*shape[:start], whole, *shape[end + 1 :])


@FLATTEN.fault("batch-always-kept", "flattens from the second axis where the first was asked for")
def _batch_always_kept(input: Tensor, start_dim: Any = 0, end_dim: Any = -1) -> Tensor:
    output = torch.flatten(input, start_dim, end_dim)
    kept = start_dim == 0 and end_dim == -1 and input.ndim > 1
    return torch.flatten(input, 1) if kept else output


@FLATTEN.fault("columns-first", "reads the values in the order of the columns")
def _columns_first(input: Tensor, start_dim: Any = 0, end_dim: Any = -1) -> Tensor:
    output = torch.flatten(input, start_dim, end_dim)
    if input.ndim < 2 or start_dim not in (0, -input.ndim) or end_dim not in (-1, input.ndim - 1):
        return output
    return input.permute(*range(input.ndim - 1, -1, -1)).flatten()


@FLATTEN.fault("always-copied", "returns a copy where torch returns a view")
def _always_copied(input: Tensor, **arguments: Any) -> Tensor:
    return torch.flatten(input, **arguments).clone()


@FLATTEN.fault("in-order-of-memory", "reads the values in the order of the memory")
def _in_order_of_memory(input: Tensor, **arguments: Any) -> Tensor:
    if input.is_contiguous() or not input.numel():
        return torch.flatten(input, **arguments)
    axes = sorted(range(input.ndim), key=lambda axis: -input.stride()[axis])
    return torch.flatten(input.permute(axes).reshape(input.shape), **arguments)
