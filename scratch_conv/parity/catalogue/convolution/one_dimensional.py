"""Implementations of conv1d."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

CONVOLUTION_1D = Collection("conv1d")
COLLECTIONS = (CONVOLUTION_1D,)


@CONVOLUTION_1D.sound("by-conv2d", {"second_derivatives": True})
def conv1d_by_conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve as an image of one row."""
    row = {"stride": 1, "padding": 0, "dilation": 1}
    for name, fill in row.items():
        value = arguments.get(name, fill)
        if not isinstance(value, str):
            arguments[name] = (fill, value[0] if isinstance(value, tuple) else value)
    return F.conv2d(input.unsqueeze(-2), weight.unsqueeze(-2), bias, **arguments).squeeze(-2)


@CONVOLUTION_1D.fault("kernel-flipped", "convolves instead of correlating")
def _kernel_flipped(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    return F.conv1d(input, weight.flip(-1), bias, **arguments)


@CONVOLUTION_1D.fault("same-pads-the-front", "puts the odd zero of padding='same' before the input")
def _same_pads_the_front(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, padding: Any = 0, **arguments: Any
) -> Tensor:
    dilation = arguments.get("dilation", 1)
    extent = (dilation[0] if isinstance(dilation, tuple) else dilation) * (weight.shape[-1] - 1)
    if padding != "same":
        return F.conv1d(input, weight, bias, padding=padding, **arguments)
    return F.conv1d(F.pad(input, (extent - extent // 2, extent // 2)), weight, bias, **arguments)


@CONVOLUTION_1D.fault("dilation-ignored", "places the taps next to each other whatever the dilation")
def _dilation_ignored(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    output = F.conv1d(input, weight, bias, **arguments)
    near = F.conv1d(input, weight, bias, **{**arguments, "dilation": 1})
    return near[..., : output.shape[-1]]


@CONVOLUTION_1D.fault("bias-gradient-of-the-first-sample", "sums the bias's gradient over one sample")
@partial(with_gradients, F.conv1d)
def _bias_gradient_of_the_first_sample(b: Backward) -> Gradients:
    if len(b.tensors) < 3 or b.grad_output.ndim < 3 or not len(b.grad_output):
        return b.right
    return [*b.right[:2], b.grad_output[0].sum(-1)]
