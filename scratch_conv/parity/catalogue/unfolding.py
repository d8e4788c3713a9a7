"""Implementations of unfold and fold."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.drawing.strategies import as_pair

UNFOLD = Collection("unfold")
FOLD = Collection("fold")
COLLECTIONS = (UNFOLD, FOLD)


@UNFOLD.sound("by-taps", {"dtypes": ("float32", "float64", "bool"), "empty": False})
def unfold_by_taps(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Stack what each tap of the window meets."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = map(as_pair, (kernel_size, dilation, padding, stride))
    padded = F.pad(input, (pw, pw, ph, ph))
    height = (padded.shape[-2] - dh * (kh - 1) - 1) // sh + 1
    width = (padded.shape[-1] - dw * (kw - 1) - 1) // sw + 1
    taps = [
        padded[..., i * dh : i * dh + sh * height : sh, j * dw : j * dw + sw * width : sw].flatten(-2)
        for i in range(kh)
        for j in range(kw)
    ]
    return torch.stack([tap[..., : height * width] for tap in taps], -2).flatten(-3, -2)


@UNFOLD.fault("channels-within-taps", "puts the channels of a tap together instead of the taps of a channel")
def _channels_within_taps(input: Tensor, kernel_size: Any, **window: Any) -> Tensor:
    columns = F.unfold(input, kernel_size, **window)
    parts = columns.reshape(*columns.shape[:-2], input.shape[-3], -1, columns.shape[-1])
    return parts.transpose(-3, -2).reshape(columns.shape).clone()


@UNFOLD.fault("columns-as-rows", "returns one row for each block")
def _columns_as_rows(input: Tensor, kernel_size: Any, **window: Any) -> Tensor:
    return F.unfold(input, kernel_size, **window).mT


@UNFOLD.fault("dilation-ignored", "takes neighbouring pixels whatever the dilation")
def _dilation_ignored(input: Tensor, kernel_size: Any, dilation: Any = 1, **window: Any) -> Tensor:
    right = F.unfold(input, kernel_size, dilation, **window)
    return F.unfold(input, kernel_size, **window)[..., : right.shape[-1]]


@UNFOLD.fault("gradient-overwritten", "the gradient of a pixel is that of one of its blocks")
@partial(with_gradients, F.unfold)
def _gradient_overwritten(b: Backward) -> Gradients:
    (input,) = b.tensors
    if 0 in input.shape:
        return b.right
    window = {"output_size": input.shape[-2:], **b.arguments}
    met = F.fold(F.unfold(torch.ones_like(input), **b.arguments), **window)
    return [b.right[0] / met.clamp(min=1)]


@FOLD.sound("by-gradient")
def fold_by_gradient(input: Tensor, output_size: Any, kernel_size: Any, **window: Any) -> Tensor:
    """Return the gradient of `unfold`, which is its transpose."""
    taps = as_pair(kernel_size)
    images = input.new_zeros(*input.shape[:-2], input.shape[-2] // (taps[0] * taps[1]), *as_pair(output_size))
    with torch.enable_grad():
        images.requires_grad_()
        columns = F.unfold(images, kernel_size, **window)
        (folded,) = torch.autograd.grad(columns, images, input, create_graph=input.requires_grad)
    return folded


@FOLD.fault("overwritten", "keeps one of the blocks that overlap instead of their sum")
def _overwritten(input: Tensor, output_size: Any, kernel_size: Any, **window: Any) -> Tensor:
    images = F.fold(input, output_size, kernel_size, **window)
    if input.dtype == torch.bool or 0 in input.shape:
        return images
    met = F.fold(torch.ones_like(input), output_size, kernel_size, **window)
    return images / met.abs().clamp(min=1)


@FOLD.fault("size-exchanged", "takes the output's width for its height")
def _size_exchanged(input: Tensor, output_size: Any, kernel_size: Any, **window: Any) -> Tensor:
    height, width = as_pair(output_size)
    return F.fold(input, (width, height), kernel_size, **window)


@FOLD.fault("gradient-averaged", "the gradient is divided by how many blocks a pixel lies in")
@partial(with_gradients, F.fold)
def _gradient_averaged(b: Backward) -> Gradients:
    (input,) = b.tensors
    if 0 in input.shape:
        return b.right
    met = F.fold(torch.ones_like(input), **b.arguments)
    window = {name: value for name, value in b.arguments.items() if name != "output_size"}
    return [F.unfold(b.grad_output / met.abs().clamp(min=1), **window)]
