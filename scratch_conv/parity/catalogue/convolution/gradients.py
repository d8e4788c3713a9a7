"""Faults in the gradients of conv2d."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.convolution.convolving import altered, convolve, spell_out
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, differentiated_as, with_gradients

_conv2d: Callable[..., Tensor] = F.conv2d

CONVOLUTION_GRADIENTS = Collection("conv2d")
COLLECTIONS = (CONVOLUTION_GRADIENTS,)
_fault = CONVOLUTION_GRADIENTS.fault
_backward = partial(with_gradients, _conv2d)


def _columns(weight: Tensor, grad_output: Tensor, groups: int) -> Tensor:
    """Return what each tap of each window adds to the gradient: (..., C, KH, KW, OH, OW)."""
    taps = torch.unflatten(weight, 0, (groups, -1))
    windows = torch.unflatten(grad_output, -3, (groups, -1))
    return torch.einsum("gochw,...goyx->...gchwyx", taps, windows).flatten(-6, -5)


@_fault("col2im-overwrites", "the gradient of the input is set with = where windows overlap, instead of +=")
@_backward
def _col2im_overwrites(b: Backward) -> Gradients:
    input, weight = b.tensors[:2]
    g = spell_out(weight, **b.arguments)
    grad_output = b.grad_output
    columns = _columns(weight, grad_output, g.groups)
    padded = torch.zeros_like(F.pad(input, (g.left, g.right, g.top, g.bottom)))
    for i in range(g.kernel_size[0]):
        for j in range(g.kernel_size[1]):
            row, column = i * g.dilation[0], j * g.dilation[1]
            rows = slice(row, row + g.stride[0] * grad_output.shape[-2], g.stride[0])
            across = slice(column, column + g.stride[1] * grad_output.shape[-1], g.stride[1])
            padded[..., rows, across] = columns[..., i, j, :, :]
    height, width = input.shape[-2:]
    return [padded[..., g.top : g.top + height, g.left : g.left + width], *b.right[1:]]


def _undilated(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    g = spell_out(weight, **arguments)
    height, width = _conv2d(input, weight, bias, **arguments).shape[-2:]
    return convolve(input, weight, bias, replace(g, dilation=(1, 1)))[..., :height, :width]


_fault(
    "dilation-ignored-in-backward",
    "the backward pass unfolds the input without the dilation",
    "meta-pytorch/opacus/issues/137",
)(differentiated_as(_conv2d, _undilated))


def _strided_alike(*tensors: Tensor, **arguments: Any) -> Tensor:
    height, width = _conv2d(*tensors, **arguments).shape[-2:]
    output = altered(lambda g: replace(g, stride=(g.stride[0], g.stride[0])))(*tensors, **arguments)
    return F.pad(output, (0, max(0, width - output.shape[-1])))[..., :height, :width]


_fault(
    "stride-of-one-axis-in-backward",
    "the backward pass uses the vertical stride on both axes",
    "apache/mxnet/pull/4704",
)(differentiated_as(_conv2d, _strided_alike))


@_fault(
    "large-padding-refused-in-backward",
    "the gradient of the input is refused where the padding exceeds the kernel",
    "ml-explore/mlx/issues/833",
)
@_backward
def _large_padding_refused(b: Backward) -> Gradients:
    weight = b.tensors[1]
    g = spell_out(weight, **b.arguments)
    if (
        g.top >= g.dilation[0] * (g.kernel_size[0] - 1) + 1
        or g.left >= g.dilation[1] * (g.kernel_size[1] - 1) + 1
    ):
        raise ValueError("padding sizes must be non-negative")
    return b.right


@_fault(
    "input-gradient-remainder-first",
    "where the stride does not divide, the rows without a window come first in the input's gradient",
    "PKUFlyingPig/CMU10-714/issues/6",
)
@_backward
def _remainder_first(b: Backward) -> Gradients:
    input, weight = b.tensors[:2]
    g = spell_out(weight, **b.arguments)
    window = g.dilation[0] * (g.kernel_size[0] - 1) + 1
    rest = (input.shape[-2] + g.top + g.bottom - window) % g.stride[0]
    return [b.right[0].roll(rest, -2), *b.right[1:]]


@_fault(
    "input-gradient-width-from-height",
    "the input's gradient is shifted sideways by the difference of the output's height and width",
    "renmengye/np-conv2d/pull/2",
)
@_backward
def _width_from_height(b: Backward) -> Gradients:
    height, width = b.grad_output.shape[-2:]
    return [b.right[0].roll(height - width, -1), *b.right[1:]]


def _flipped(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    return _conv2d(input, weight.flip(-2, -1), bias, **arguments)


@_fault("input-gradient-kernel-unrotated", "the input's gradient is convolved with the kernel unrotated")
@_backward
def _unrotated(b: Backward) -> Gradients:
    input, weight = b.tensors[:2]
    with torch.enable_grad():
        leaf = input.detach().requires_grad_()
        (wrong,) = torch.autograd.grad(_flipped(leaf, weight.detach(), **b.arguments), leaf, b.grad_output)
    return [wrong, *b.right[1:]]


def _batch(b: Backward) -> int:
    """Return the batch's size, 1 where it is empty or missing."""
    input = b.tensors[0]
    return max(1, int(input.shape[0])) if input.ndim == 4 else 1


@_fault(
    "weight-gradient-averaged",
    "the gradient of the weight is divided by the batch's size",
    "danijar/layered/issues/1",
)
@_backward
def _weight_averaged(b: Backward) -> Gradients:
    return [b.right[0], b.right[1] / _batch(b), *b.right[2:]]


def _bias_changed(b: Backward, bias: Tensor) -> Gradients:
    return [*b.right[:2], bias] if len(b.right) == 3 else b.right


@_fault(
    "bias-gradient-averaged",
    "the gradient of the bias is a mean over the batch instead of a sum",
    "kvfrans/notes/issues/5",
)
@_backward
def _bias_averaged(b: Backward) -> Gradients:
    channels = b.grad_output.shape[-3]
    return _bias_changed(b, b.grad_output.sum((-1, -2)).reshape(-1, channels).sum(0) / _batch(b))


@_fault(
    "bias-gradient-summed-over-all",
    "every bias gets the sum of all biases' gradients",
    "rasbt/stat453-deep-learning-ss21/issues/5",
)
@_backward
def _bias_summed(b: Backward) -> Gradients:
    return _bias_changed(b, b.grad_output.sum().expand(b.grad_output.shape[-3]))


@_fault(
    "bias-gradient-of-first-sample",
    "the gradient of the bias holds the first sample only",
    "mlpack/mlpack/pull/3679",
)
@_backward
def _bias_of_first(b: Backward) -> Gradients:
    first = b.grad_output[:1] if b.grad_output.ndim == 4 else b.grad_output.unsqueeze(0)
    return _bias_changed(b, first.sum((0, 2, 3)))


@_fault("weight-gradient-groups-reversed", "the groups' gradients of the weight are stacked in reverse")
@_backward
def _groups_reversed(b: Backward) -> Gradients:
    groups = b.arguments.get("groups", 1)
    turned = torch.unflatten(b.right[1], 0, (groups, -1)).flip(0).flatten(0, 1)
    return [b.right[0], turned, *b.right[2:]]


class _Accumulating:
    """Adds each weight gradient to the last one of its shape and never sets it to zero."""

    def __init__(self) -> None:
        self.totals: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, b: Backward) -> Gradients:
        """Return the gradients, that of the weight with those of earlier calls added."""
        gradient: Tensor = b.right[1]
        shape = tuple(gradient.shape)
        self.totals[shape] = (gradient + self.totals.get(shape, torch.zeros(()))).to(gradient.dtype)
        return [b.right[0], self.totals[shape], *b.right[2:]]


_fault("weight-gradient-never-reset", "the gradient of the weight is added to that of the call before")(
    _backward(_Accumulating())
)
