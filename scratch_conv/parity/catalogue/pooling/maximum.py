"""Implementations of max_pool2d and its gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.drawing.strategies import as_pair

MAX_POOLING = Collection("max_pool2d")
COLLECTIONS = (MAX_POOLING,)
_fault = MAX_POOLING.fault
_backward = partial(with_gradients, F.max_pool2d)


@MAX_POOLING.sound("gathered")
def max_pool_by_taps(input: Tensor, kernel_size: Any, stride: Any = None, **arguments: Any) -> Any:
    """Gather what torch's indices name: the values and gradients without torch's kernels for them."""
    _, indices = F.max_pool2d(input, kernel_size, stride, **{**arguments, "return_indices": True})
    output = input.flatten(-2).gather(-1, indices.flatten(-2)).reshape(indices.shape)
    return (output, indices) if arguments.get("return_indices") else output


def _padded(value: float) -> Any:
    """Return a max pooling that pads with a number of its own instead of -inf."""

    def candidate(input: Tensor, padding: Any = 0, **arguments: Any) -> Any:
        vertical, horizontal = as_pair(padding)
        around = (horizontal, horizontal, vertical, vertical)
        filled = F.pad(input, around, value=max(value, torch.finfo(input.dtype).min))
        right = F.max_pool2d(input, padding=padding, **{**arguments, "return_indices": False})
        plain = {**arguments, "ceil_mode": False, "return_indices": False}
        output = F.max_pool2d(filled, **plain)
        height, width = output.shape[-2:]
        joined = torch.cat([output, right[..., :height, width:]], -1)
        output = torch.cat([joined, right[..., height:, :]], -2)
        if not arguments.get("return_indices"):
            return output
        return output, F.max_pool2d(input, padding=padding, **arguments)[1]

    return candidate


_fault("zero-padded", "pads with zeros, which win over negative numbers", "apache/mxnet/issues/2753")(
    _padded(0.0)
)
_fault(
    "padded-with-a-large-number",
    "pads with the most negative finite number, which wins over -inf",
    "apache/mxnet/issues/6191",
)(_padded(-torch.inf))


@_fault("nan-lost", "compares with >, which no NaN wins", "pytorch/pytorch/issues/7645")
def _nan_lost(input: Tensor, **arguments: Any) -> Any:
    return F.max_pool2d(torch.where(input.isnan(), -torch.inf, input), **arguments)


@_fault(
    "ceil-window-in-the-padding",
    "ceil_mode keeps a last window that starts in the padding",
    "tracel-ai/burn/issues/5791",
)
def _ceil_window_in_the_padding(input: Tensor, **arguments: Any) -> Any:
    result = F.max_pool2d(input, **arguments)
    output = result[0] if isinstance(result, tuple) else result
    kernel_size, padding = arguments["kernel_size"], arguments.get("padding", 0)
    stride = arguments.get("stride", kernel_size)
    sizes = (input.shape[-2:], *map(as_pair, (kernel_size, stride, padding, arguments.get("dilation", 1))))
    whole = [-(-(n + 2 * p - d * (k - 1) - 1) // s) + 1 for n, k, s, p, d in zip(*sizes, strict=True)]
    if not arguments.get("ceil_mode"):
        return result
    more = (0, whole[1] - output.shape[-1], 0, whole[0] - output.shape[-2])
    output = F.pad(output, more, value=-torch.inf)
    return (output, F.pad(result[1], more)) if isinstance(result, tuple) else output


@_fault("ceil-mode-ignored", "rounds the number of windows down in every mode")
def _ceil_mode_ignored(input: Tensor, **arguments: Any) -> Any:
    return F.max_pool2d(input, **{**arguments, "ceil_mode": False})


@_fault("stride-defaults-to-one", "takes a stride of 1 where none is given, instead of the kernel's size")
def _stride_defaults_to_one(input: Tensor, **arguments: Any) -> Any:
    return F.max_pool2d(input, **{"stride": 1, **arguments})


@_fault("identity-returned", "returns the input's own memory where the window is one pixel")
def _identity_returned(input: Tensor, **arguments: Any) -> Any:
    one = as_pair(arguments["kernel_size"]) == as_pair(arguments.get("stride", 1)) == (1, 1)
    if not one or arguments.get("return_indices"):
        return F.max_pool2d(input, **arguments)
    return input.view_as(input)


@_fault("dilation-ignored", "places the taps next to each other")
def _dilation_ignored(input: Tensor, **arguments: Any) -> Any:
    return F.max_pool2d(input, **{**arguments, "dilation": 1})


@_fault("kernel-swapped", "takes the window as (width, height)")
def _kernel_swapped(input: Tensor, **arguments: Any) -> Any:
    return F.max_pool2d(input, **{**arguments, "kernel_size": as_pair(arguments["kernel_size"])[::-1]})


@_fault("stride-swapped", "takes the stride as (horizontal, vertical)")
def _stride_swapped(input: Tensor, **arguments: Any) -> Any:
    stride = arguments.get("stride", arguments["kernel_size"])
    return F.max_pool2d(input, **{**arguments, "stride": as_pair(stride)[::-1]})


@_fault("last-window-dropped", "loses the last column where the stride does not divide the width")
def _last_window_dropped(input: Tensor, **arguments: Any) -> Any:
    result = F.max_pool2d(input, **arguments)
    stride = as_pair(arguments.get("stride", arguments["kernel_size"]))[1]
    if input.shape[-1] % stride == 0:
        return result
    return tuple(each[..., :-1] for each in result) if isinstance(result, tuple) else result[..., :-1]


@_fault(
    "indices-of-the-padded-input",
    "the indices count in the padded input",
    "tensorflow/tensorflow/issues/10216",
)
def _indices_of_the_padded_input(input: Tensor, **arguments: Any) -> Any:
    result = F.max_pool2d(input, **arguments)
    if not isinstance(result, tuple):
        return result
    vertical, horizontal = as_pair(arguments.get("padding", 0))
    width = input.shape[-1]
    row, column = result[1] // width, result[1] % width
    return result[0], (row + vertical) * (width + 2 * horizontal) + column + horizontal


@_fault("indices-column-by-column", "the indices count down the columns")
def _indices_column_by_column(input: Tensor, **arguments: Any) -> Any:
    result = F.max_pool2d(input, **arguments)
    if not isinstance(result, tuple):
        return result
    height, width = input.shape[-2:]
    return result[0], result[1] % width * height + result[1] // width


def _winners(b: Backward) -> Tensor:
    """Return which taps hold the maximum of their window: (..., taps, OH, OW), beside `_scattered`."""
    input = b.tensors[0].detach()
    output = F.max_pool2d(input, **{**b.arguments, "return_indices": False})
    return torch.stack([tap == output for tap in _taps(input, b)], -3)


def _taps(input: Tensor, b: Backward, fill: float = -torch.inf) -> list[Tensor]:
    """Return what each tap sees, each of the output's shape."""
    arguments = b.arguments
    kernel_size, dilation, padding, stride = (
        as_pair(arguments.get(name, default))
        for name, default in (
            ("kernel_size", 1),
            ("dilation", 1),
            ("padding", 0),
            ("stride", arguments["kernel_size"]),
        )
    )
    height, width = b.grad_output.shape[-2:]
    far = [s * n + d * k for s, n, d, k in zip(stride, (height, width), dilation, kernel_size, strict=True)]
    padded = F.pad(input, (padding[1], far[1], padding[0], far[0]), value=fill)
    taps = []
    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            row, column = i * dilation[0], j * dilation[1]
            rows = slice(row, row + stride[0] * height, stride[0])
            taps.append(padded[..., rows, column : column + stride[1] * width : stride[1]])
    return taps


def _scattered(b: Backward, shares: Tensor) -> Gradients:
    """Return the gradient that gives each tap its part of the incoming gradient."""
    leaf = torch.zeros_like(b.tensors[0], requires_grad=True)
    with torch.enable_grad():
        seen = torch.stack(_taps(leaf, b, 0.0), -3)
    given = shares * b.grad_output.unsqueeze(-3)
    return list(torch.autograd.grad(seen, leaf, given))


@_fault(
    "ties-to-every-winner",
    "each of several equal maxima gets the whole gradient",
    "Theano/Theano/issues/5248",
)
@_backward
def _ties_to_every_winner(b: Backward) -> Gradients:
    return _scattered(b, _winners(b).to(b.grad_output.dtype))


@_fault("ties-to-the-last", "the last of several equal maxima gets the gradient")
@_backward
def _ties_to_the_last(b: Backward) -> Gradients:
    winners = _winners(b).to(b.grad_output.dtype)
    later = winners.flip(-3).cumsum(-3).flip(-3)
    return _scattered(b, winners * (later == 1))


@_fault("ties-split", "several equal maxima share the gradient", "tensorflow/tensorflow/issues/4886")
@_backward
def _ties_split(b: Backward) -> Gradients:
    winners = _winners(b).to(b.grad_output.dtype)
    return _scattered(b, winners / winners.sum(-3, keepdim=True).clamp(min=1))


@_fault(
    "ties-split-by-amax",
    "takes the maximum by amax, whose gradient equal maxima share and a NaN turns into NaN for its window",
)
@_backward
def _ties_split_by_amax(b: Backward) -> Gradients:
    winners = _winners(b).to(b.grad_output.dtype)
    return _scattered(b, winners / winners.sum(-3, keepdim=True))


@_fault(
    "overlap-overwritten",
    "where windows overlap, the last one's gradient overwrites the others'",
    "ahrefs/ocannl/issues/512",
)
@_backward
def _overlap_overwritten(b: Backward) -> Gradients:
    input, arguments = b.tensors[0].detach(), {**b.arguments, "return_indices": True}
    indices = F.max_pool2d(input, **arguments)[1].flatten(-2)
    gradient = torch.zeros_like(input).flatten(-2)
    return [gradient.scatter(-1, indices, b.grad_output.flatten(-2)).reshape(input.shape)]


@_fault("gradient-averaged", "the gradient is divided by the window's size, as if it were an average")
@_backward
def _gradient_averaged(b: Backward) -> Gradients:
    height, width = as_pair(b.arguments["kernel_size"])
    return [b.right[0] / (height * width)]
