"""Faults in the results of conv2d."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.convolution.convolving import Geometry, altered, convolve, spell_out

_conv2d: Callable[..., Tensor] = F.conv2d

CONVOLUTION = Collection("conv2d")
COLLECTIONS = (CONVOLUTION,)
_fault = CONVOLUTION.fault


@_fault(
    "kernel-flipped",
    "convolves instead of correlating: the kernel is flipped in both axes",
    "astrorama/SourceXtractorPlusPlus/pull/72",
)
def _kernel_flipped(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    return _conv2d(input, weight.flip(-2, -1), bias, **arguments)


@_fault("kernel-transposed", "reads the kernel column by column", "mlpack/mlpack/pull/3376")
def _kernel_transposed(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    swapped = weight.transpose(-2, -1).reshape(weight.shape)
    return _conv2d(input, swapped, bias, **arguments)


_fault("stride-swapped", "takes the stride as (horizontal, vertical)")(
    altered(lambda g: replace(g, stride=g.stride[::-1]))
)
_fault("stride-of-one-axis", "uses the vertical stride on both axes", "apache/mxnet/pull/4704")(
    altered(lambda g: replace(g, stride=(g.stride[0], g.stride[0])))
)
_fault("padding-swapped", "pads the height by the width's padding", "autogluon/autogluon/pull/438")(
    altered(lambda g: replace(g, top=g.left, bottom=g.right, left=g.top, right=g.bottom))
)
_fault("dilation-swapped", "takes the dilation as (horizontal, vertical)")(
    altered(lambda g: replace(g, dilation=g.dilation[::-1]))
)
_fault("dilation-of-one-axis", "uses the vertical dilation on both axes", "tenstorrent/tt-metal/pull/19542")(
    altered(lambda g: replace(g, dilation=(g.dilation[0], g.dilation[0])))
)
_fault("dilation-ignored", "places the taps next to each other")(
    altered(lambda g: replace(g, dilation=(1, 1)))
)
_fault("stride-clipped", "limits the stride to the kernel's size")(
    altered(
        lambda g: replace(g, stride=(min(g.stride[0], g.kernel_size[0]), min(g.stride[1], g.kernel_size[1])))
    )
)
_fault("padding-one-sided", "puts the padding of both sides at the end")(
    altered(lambda g: replace(g, top=0, bottom=g.top + g.bottom, left=0, right=g.left + g.right))
)
_fault("padding-once", "pads the start and forgets the end")(altered(lambda g: replace(g, bottom=0, right=0)))
_fault(
    "same-uneven-pixel-first",
    "padding='same' puts the uneven pixel at the top and left",
    "robertknight/rten/pull/1399",
)(altered(lambda g: replace(g, top=g.bottom, bottom=g.top, left=g.right, right=g.left) if g.same else g))


def _same(g: Geometry, totals: tuple[int, int]) -> Geometry:
    top, left = totals[0] // 2, totals[1] // 2
    return replace(g, top=top, bottom=totals[0] - top, left=left, right=totals[1] - left) if g.same else g


_fault(
    "same-without-dilation",
    "padding='same' is computed from the kernel without its dilation",
    "root-project/root/pull/21685",
)(altered(lambda g: _same(g, (g.kernel_size[0] - 1, g.kernel_size[1] - 1))))
_fault(
    "same-dilation-reversed",
    "padding='same' reverses the kernel but not the dilation",
    "tinygrad/tinygrad/pull/17805",
)(
    altered(
        lambda g: _same(g, (g.dilation[1] * (g.kernel_size[0] - 1), g.dilation[0] * (g.kernel_size[1] - 1)))
    )
)


@_fault(
    "size-without-dilation",
    "computes the output's size from the kernel without its dilation",
    "keras-team/keras/issues/16930",
)
def _size_without_dilation(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any
) -> Tensor:
    g = spell_out(weight, **arguments)
    more = [(d - 1) * (k - 1) for d, k in zip(g.dilation, g.kernel_size, strict=True)]
    return convolve(input, weight, bias, replace(g, bottom=g.bottom + more[0], right=g.right + more[1]))


@_fault("last-window-dropped", "loses the last row where the stride does not divide the height")
def _last_window_dropped(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any
) -> Tensor:
    g = spell_out(weight, **arguments)
    rest = (input.shape[-2] + g.top + g.bottom - g.dilation[0] * (g.kernel_size[0] - 1) - 1) % g.stride[0]
    output = convolve(input, weight, bias, g)
    return output[..., :-1, :] if rest else output


@_fault("padding-replicated", "pads with the nearest pixel instead of zeros")
def _padding_replicated(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any
) -> Tensor:
    g = spell_out(weight, **arguments)
    padded = F.pad(input, (g.left, g.right, g.top, g.bottom), mode="replicate")
    return _conv2d(padded, weight, bias, g.stride, 0, g.dilation, g.groups)


@_fault(
    "large-padding-refused", "refuses a padding of the kernel's size or more", "Maratyszcza/NNPACK/issues/103"
)
def _large_padding_refused(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any
) -> Tensor:
    g = spell_out(weight, **arguments)
    if g.top >= g.kernel_size[0] > 1 or g.left >= g.kernel_size[1] > 1:
        raise ValueError("padding must be smaller than the kernel")
    return convolve(input, weight, bias, g)


@_fault(
    "groups-interleaved",
    "writes the groups' output channels in turn instead of one after the other",
    "uxlfoundation/oneDNN/issues/352",
)
def _groups_interleaved(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    groups = arguments.get("groups", 1)
    output = _conv2d(input, weight, *bias, **arguments)
    return torch.unflatten(output, -3, (groups, -1)).transpose(-4, -3).flatten(-4, -3)


@_fault("group-inputs-interleaved", "hands the input channels to the groups in turn")
def _group_inputs_interleaved(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    groups = arguments.get("groups", 1)
    shuffled = torch.unflatten(input, -3, (-1, groups)).transpose(-4, -3).flatten(-4, -3)
    return _conv2d(shuffled, weight, *bias, **arguments)


@_fault("groups-read-first", "every group reads the first group's channels", "pytorch/pytorch/issues/19912")
def _groups_read_first(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    first = input.narrow(-3, 0, weight.shape[1])
    return _conv2d(first, weight, bias, **{**arguments, "groups": 1})


@_fault("bias-twice", "adds the bias twice")
def _bias_twice(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    output = _conv2d(input, weight, bias, **arguments)
    return output if bias is None else output + bias[:, None, None]


@_fault("bias-forgotten", "leaves the bias out")
def _bias_forgotten(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    output = _conv2d(input, weight, None, **arguments)
    return output if bias is None else output + 0 * bias[:, None, None]


@_fault("bias-along-the-width", "adds the bias to columns where their number fits")
def _bias_along_the_width(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any
) -> Tensor:
    output = _conv2d(input, weight, None, **arguments)
    if bias is None:
        return output
    return output + (bias if output.shape[-1] == bias.shape[0] else bias[:, None, None])


@_fault("unbatched-kept-batched", "returns an unbatched result with a batch axis")
def _unbatched_kept_batched(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    batched = input if input.ndim == 4 else input.unsqueeze(0)
    return _conv2d(batched, weight, *bias, **arguments)


@_fault("computed-in-float32", "computes float64 in float32")
def _computed_in_float32(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    narrow = [each.float() for each in (input, weight, *bias)]
    return _conv2d(*narrow, **arguments).to(input.dtype)


@_fault("accumulated-in-float16", "accumulates in float16", "ARM-software/ComputeLibrary/pull/1287")
def _accumulated_in_float16(input: Tensor, weight: Tensor, *bias: Tensor, **arguments: Any) -> Tensor:
    narrow = [each.half() for each in (input, weight, *bias)]
    return _conv2d(*narrow, **arguments).to(input.dtype)


@_fault(
    "strides-ignored", "reads the input's memory as if it were contiguous", "pytorch/pytorch/issues/77299"
)
def _strides_ignored(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    dense = not input.is_contiguous() and input.untyped_storage().nbytes() >= input.nbytes
    read = torch.as_strided(input, (input.numel(),), (1,)).reshape(input.shape) if dense else input
    return _conv2d(read, weight, bias, **arguments)


@_fault("scaled-by-one-part-in-ten-thousand", "is off by a relative error of 1e-4")
def _scaled(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    return _conv2d(input, weight, bias, **arguments) * (1 + 1e-4)


@_fault("input-changed", "flips the kernel in place and does not flip it back")
def _input_changed(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    output = _conv2d(input, weight, bias, **arguments)
    if 0 not in weight.stride():
        weight.data.copy_(weight.detach().flip(-2, -1))  # .data: autograd does not notice
    return output


class _Buffered:
    """Keeps one output buffer for each shape and hands it out again and again."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[Any, ...], Tensor] = {}

    def __call__(self, input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
        output = _conv2d(input, weight, bias, **arguments)
        buffer = self.buffers.setdefault((output.shape, output.dtype), torch.empty_like(output).detach())
        return _into(buffer, output)


def _into(buffer: Tensor, output: Tensor) -> Tensor:
    """Write a result into a buffer and return the buffer's memory with the result's derivative."""
    buffer.copy_(output.detach())
    shared = output.view_as(output)
    shared.data = buffer
    return shared


_fault("output-reused", "returns the same memory at each call, so that the last result overwrites the first")(
    _Buffered()
)
