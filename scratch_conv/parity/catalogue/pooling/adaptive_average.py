"""Implementations of adaptive_avg_pool2d."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

ADAPTIVE_AVERAGE_POOLING = Collection("adaptive_avg_pool2d")
COLLECTIONS = (ADAPTIVE_AVERAGE_POOLING,)


@ADAPTIVE_AVERAGE_POOLING.sound("by-products", FINITE)
def adaptive_average_by_products(input: Tensor, output_size: Any) -> Tensor:
    """Average by one matrix for the height and one for the width."""
    size = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    down, across = (
        _averages(length, length if n is None else n, input.dtype)
        for length, n in zip(input.shape[-2:], size, strict=True)
    )
    return down @ input @ across.mT


def _averages(length: int, size: int, dtype: torch.dtype) -> Tensor:
    matrix = torch.zeros(size, length, dtype=dtype)
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def _windowed(end: Any) -> Any:
    """Return an adaptive pooling along the height whose window i of n ends at end(i, n, height)."""

    def candidate(input: Tensor, output_size: Any) -> Tensor:
        right = F.adaptive_avg_pool2d(input, output_size)
        size = output_size[0] if isinstance(output_size, tuple) else output_size
        height = input.shape[-2]
        if not size or size > height or not input.numel():
            return right
        rows = []
        for i in range(size):
            start, stop = i * height // size, end(i, size, height)
            window = input[..., start : max(stop, start + 1), :]
            rows.append(F.adaptive_avg_pool2d(window, (1, right.shape[-1])))
        return torch.cat(rows, -2)

    return candidate


ADAPTIVE_AVERAGE_POOLING.fault("end-rounded-down", "rounds the end of a window down")(
    _windowed(lambda i, n, height: (i + 1) * height // n)
)
ADAPTIVE_AVERAGE_POOLING.fault("windows-of-one-size", "makes all windows as large as the quotient")(
    _windowed(lambda i, n, height: i * height // n + height // n)
)


@ADAPTIVE_AVERAGE_POOLING.fault("none-taken-for-one", "takes an output size of None for 1")
def _none_taken_for_one(input: Tensor, output_size: Any) -> Tensor:
    if isinstance(output_size, tuple):
        output_size = tuple(1 if size is None else size for size in output_size)
    return F.adaptive_avg_pool2d(input, output_size)


@ADAPTIVE_AVERAGE_POOLING.fault("gradient-undivided", "passes the whole gradient to each pixel of the window")
@partial(with_gradients, F.adaptive_avg_pool2d)
def _gradient_undivided(b: Backward) -> Gradients:
    shape, output = b.tensors[0].shape, b.grad_output.shape
    area = (shape[-1] * shape[-2]) / max(1, output[-1] * output[-2])
    return [b.right[0] * area]
