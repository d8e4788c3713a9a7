"""Implementations of padding."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

PAD = Collection("pad")
COLLECTIONS = (PAD,)


@PAD.sound("by-indices", {"empty": False})
def pad_by_indices(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Gather along one axis after the other; what no index reaches is the value."""
    output, outside = input, torch.zeros(input.shape, dtype=torch.bool)
    for place in range(len(pad) // 2):
        axis, (before, after) = input.dim() - 1 - place, pad[2 * place : 2 * place + 2]
        size = input.shape[axis]
        places = torch.arange(-before, size + after)
        first, last = max(0, -before), size - max(0, -after)
        if mode == "reflect":
            places = size - 1 - (size - 1 - places.abs()).abs()
        elif mode == "replicate":
            places = places.clamp(0, size - 1)
        elif mode == "circular":
            places = first + (places - first) % max(1, last - first)
        missing = (places < 0) | (places >= size)
        output = output.index_select(axis, places.clamp(0, size - 1))
        outside = outside.index_select(axis, places.clamp(0, size - 1))
        outside = outside | missing.reshape(-1, *[1] * (input.dim() - 1 - axis))
    filling = torch.full((), value or 0.0, dtype=torch.float64).to(input.dtype)
    return torch.where(outside, filling, output)


@PAD.fault("edge-repeated", "reflects about the end of the input instead of its last element")
def _edge_repeated(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    if mode != "reflect" or min(pad) < 0:
        return F.pad(input, pad, mode, value)
    output = input
    for place in range(len(pad) // 2):
        axis, size = input.dim() - 1 - place, input.shape[input.dim() - 1 - place]
        places = torch.arange(-pad[2 * place], size + pad[2 * place + 1])
        places = torch.where(places < 0, -1 - places, places)
        output = output.index_select(axis, torch.where(places >= size, 2 * size - 1 - places, places))
    return output


@PAD.fault("first-axis-first", "takes the first two numbers for the first of the padded axes")
def _first_axis_first(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    pairs = [pad[place : place + 2] for place in range(0, len(pad), 2)]
    return F.pad(input, [each for pair in reversed(pairs) for each in pair], mode, value)


@PAD.fault("sides-exchanged", "adds before an axis what belongs after it")
def _sides_exchanged(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    exchanged = [pad[place ^ 1] for place in range(len(pad))]
    return F.pad(input, exchanged, mode, value)


@PAD.fault("value-ignored", "pads with zeros whatever the value")
def _value_ignored(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    return F.pad(input, pad, mode)


@PAD.fault("never-cropped", "takes negative amounts for none")
def _never_cropped(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    return F.pad(input, [max(0, each) for each in pad], mode, value)


@PAD.fault("copies-without-gradient", "the gradient of what was copied to the edges is lost")
@partial(with_gradients, F.pad)
def _copies_without_gradient(b: Backward) -> Gradients:
    pad = b.arguments["pad"]
    return [F.pad(b.grad_output, [-each for each in pad])]
