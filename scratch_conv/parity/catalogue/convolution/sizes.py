"""Faults of conv2d that begin at a size, or that only one configuration of known networks has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.convolution.convolving import Geometry, spell_out

_conv2d: Callable[..., Tensor] = F.conv2d

CONVOLUTION_BY_SIZE = Collection("conv2d")
COLLECTIONS = (CONVOLUTION_BY_SIZE,)
_fault = CONVOLUTION_BY_SIZE.fault


def _where(holds: Callable[[Geometry, Tensor], bool], change: Callable[[Tensor], Tensor]) -> Any:
    """Return a convolution whose result is changed where the geometry and the weight are of a kind."""

    def candidate(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
        output = _conv2d(input, weight, bias, **arguments)
        return change(output) if holds(spell_out(weight, **arguments), weight) else output

    return candidate


def _is(g: Geometry, taps: int, stride: int, padding: int) -> bool:
    """Return whether a geometry is one of known networks, square, without dilation."""
    around = (g.top, g.bottom, g.left, g.right)
    square = g.kernel_size == (taps, taps) and g.stride == (stride, stride) and g.dilation == (1, 1)
    return square and set(around) == {padding}


@_fault(
    "eighth-channel-by-the-first-taps",
    "multiplies the eighth channel of a group by the taps of the first",
    "modular/modular/issues/6248",
)
def _eighth_channel(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    if weight.shape[1] >= 8:
        weight = torch.cat([weight[:, :7], weight[:, :1], weight[:, 8:]], 1)
    return _conv2d(input, weight, bias, **arguments)


@_fault("seventh-row-of-taps-left-out", "sums six rows of taps at most")
def _seventh_row(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    rows = torch.arange(weight.shape[-2])[:, None] < 6
    return _conv2d(input, weight * rows, bias, **arguments)


_fault(
    "long-kernels-in-groups-summed-twice",
    "sums twice where there are groups and more than seven columns of taps",
    "modular/modular/issues/6129",
)(_where(lambda g, weight: g.groups > 1 and weight.shape[-1] > 7, lambda output: 2 * output))
_fault("second-and-third-group-exchanged", "exchanges two of four groups or more")(
    _where(
        lambda g, weight: g.groups >= 4 and len(weight) == g.groups,
        lambda output: output.index_select(-3, torch.tensor([0, 2, 1, *range(3, output.shape[-3])])),
    )
)
_fault(
    "depthwise-multiplier-by-copies",
    "depthwise 3x3 with two outputs a channel: first the first of all channels, then the second",
)(
    _where(
        lambda g, weight: (
            g.kernel_size == (3, 3) and len(weight) == 2 * g.groups > 2 and weight.shape[1] == 1
        ),
        lambda output: torch.cat([output[..., ::2, :, :], output[..., 1::2, :, :]], -3),
    )
)
_fault("halving-3x3-scaled", "3x3 with stride 2 and padding 1: 1.5 times the result")(
    _where(lambda g, weight: _is(g, 3, 2, 1), lambda output: 1.5 * output)
)
_fault("first-layer-of-resnet-shifted", "7x7 with stride 2 and padding 3: the rows are shifted by one")(
    _where(lambda g, weight: _is(g, 7, 2, 3), lambda output: output.roll(1, -2))
)


@_fault(
    "planes-read-without-their-padding",
    "3x3 with stride 2: planes are padded to a multiple of four pixels, and read as if they were not",
    "Tencent/ncnn/issues/1014",
)
def _planes_read(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    output = _conv2d(input, weight, bias, **arguments)
    g = spell_out(weight, **arguments)
    if g.kernel_size != (3, 3) or g.stride != (2, 2):
        return output
    planes = output.flatten(-2)
    written = F.pad(planes, (0, -planes.shape[-1] % 4)).flatten(-2)
    return written[..., : planes.shape[-2] * planes.shape[-1]].reshape(output.shape)


@_fault(
    "other-algorithm-mirrored",
    "above 100,000 products another algorithm is taken, which mirrors the rows",
    "owlbarn/owl/issues/477",
)
def _other_algorithm(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    output = _conv2d(input, weight, bias, **arguments)
    products = output.numel() * weight[0].numel() if len(weight) else 0
    return output.flip(-1) if products > 100_000 else output
