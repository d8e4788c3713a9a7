"""Faults in flatten, adaptive_avg_pool2d and conv1d."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.fault import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

FLATTEN = Collection("flatten")
ADAPTIVE_AVERAGE_POOLING = Collection("adaptive_avg_pool2d")
CONVOLUTION_1D = Collection("conv1d")
_GITHUB = "https://github.com/"


@FLATTEN.add("batch-always-kept", "flattens from the second axis where the first was asked for")
def _batch_always_kept(input: Tensor, start_dim: Any = 0, end_dim: Any = -1) -> Tensor:
    output = torch.flatten(input, start_dim, end_dim)
    kept = start_dim == 0 and end_dim == -1 and input.ndim > 1
    return torch.flatten(input, 1) if kept else output


@FLATTEN.add("columns-first", "reads the values in the order of the columns")
def _columns_first(input: Tensor, start_dim: Any = 0, end_dim: Any = -1) -> Tensor:
    output = torch.flatten(input, start_dim, end_dim)
    if input.ndim < 2 or start_dim not in (0, -input.ndim) or end_dim not in (-1, input.ndim - 1):
        return output
    return input.permute(*range(input.ndim - 1, -1, -1)).flatten()


@FLATTEN.add("always-copied", "returns a copy where torch returns a view")
def _always_copied(input: Tensor, **arguments: Any) -> Tensor:
    return torch.flatten(input, **arguments).clone()


@FLATTEN.add("in-order-of-memory", "reads the values in the order of the memory")
def _in_order_of_memory(input: Tensor, **arguments: Any) -> Tensor:
    if input.is_contiguous() or not input.numel():
        return torch.flatten(input, **arguments)
    axes = sorted(range(input.ndim), key=lambda axis: -input.stride()[axis])
    return torch.flatten(input.permute(axes).reshape(input.shape), **arguments)


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


ADAPTIVE_AVERAGE_POOLING.add("end-rounded-down", "rounds the end of a window down")(
    _windowed(lambda i, n, height: (i + 1) * height // n)
)
ADAPTIVE_AVERAGE_POOLING.add("windows-of-one-size", "makes all windows as large as the quotient")(
    _windowed(lambda i, n, height: i * height // n + height // n)
)


@ADAPTIVE_AVERAGE_POOLING.add("none-taken-for-one", "takes an output size of None for 1")
def _none_taken_for_one(input: Tensor, output_size: Any) -> Tensor:
    if isinstance(output_size, tuple):
        output_size = tuple(1 if size is None else size for size in output_size)
    return F.adaptive_avg_pool2d(input, output_size)


@ADAPTIVE_AVERAGE_POOLING.add("gradient-undivided", "hands the whole gradient to each pixel of the window")
@partial(with_gradients, F.adaptive_avg_pool2d)
def _gradient_undivided(b: Backward) -> Gradients:
    shape, output = b.tensors[0].shape, b.grad_output.shape
    area = (shape[-1] * shape[-2]) / max(1, output[-1] * output[-2])
    return [b.right[0] * area]


@CONVOLUTION_1D.add("kernel-flipped", "convolves instead of correlating")
def _kernel_flipped(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    return F.conv1d(input, weight.flip(-1), bias, **arguments)


@CONVOLUTION_1D.add("same-pads-the-front", "puts the odd zero of padding='same' before the input, not after")
def _same_pads_the_front(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, padding: Any = 0, **arguments: Any
) -> Tensor:
    dilation = arguments.get("dilation", 1)
    reach = (dilation[0] if isinstance(dilation, tuple) else dilation) * (weight.shape[-1] - 1)
    if padding != "same":
        return F.conv1d(input, weight, bias, padding=padding, **arguments)
    return F.conv1d(F.pad(input, (reach - reach // 2, reach // 2)), weight, bias, **arguments)


@CONVOLUTION_1D.add("dilation-ignored", "places the taps next to each other whatever the dilation")
def _dilation_ignored(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    output = F.conv1d(input, weight, bias, **arguments)
    near = F.conv1d(input, weight, bias, **{**arguments, "dilation": 1})
    return near[..., : output.shape[-1]]


@CONVOLUTION_1D.add("bias-gradient-of-the-first-sample", "sums the bias's gradient over one sample")
@partial(with_gradients, F.conv1d)
def _bias_gradient_of_the_first_sample(b: Backward) -> Gradients:
    if len(b.tensors) < 3 or b.grad_output.ndim < 3 or not len(b.grad_output):
        return b.right
    return [*b.right[:2], b.grad_output[0].sum(-1)]
