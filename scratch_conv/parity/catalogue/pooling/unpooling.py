"""Implementations of max unpooling."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.operators.calling import Call
from scratch_conv.parity.operators.pooling.one_and_three_dimensional import for_each_axis

UNPOOLING_1D, UNPOOLING_2D, UNPOOLING_3D = (Collection(f"max_unpool{axes}d") for axes in (1, 2, 3))
COLLECTIONS = (UNPOOLING_1D, UNPOOLING_2D, UNPOOLING_3D)


def _size(axes: int, input: Tensor, **arguments: Any) -> tuple[int, ...]:
    """Return the size of the output."""
    if arguments.get("output_size") is not None:
        given: tuple[int, ...] = arguments["output_size"][-axes:]
        return given
    stride = arguments.get("stride")
    numbers = (
        arguments["kernel_size"],
        arguments["kernel_size"] if stride is None else stride,
        arguments.get("padding", 0),
    )
    each = zip(input.shape[-axes:], *(for_each_axis(number, axes) for number in numbers), strict=True)
    return tuple((length - 1) * s + k - 2 * p for length, k, s, p in each)


def _scattered(input: Tensor, indices: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return zeros of a size with the elements of the input at their indices."""
    axes = len(size)
    zeros = input.new_zeros(*input.shape[:-axes], math.prod(size))
    output = zeros.scatter(-1, indices.flatten(-axes), input.flatten(-axes))
    return output.reshape(*input.shape[:-axes], *size)


def _by_scatter(axes: int) -> Call:
    """Return an unpooling of flattened images."""

    def candidate(input: Tensor, indices: Tensor, **arguments: Any) -> Tensor:
        return _scattered(input, indices, _size(axes, input, **arguments))

    return candidate


for _axes, _collection in enumerate(COLLECTIONS, 1):
    _collection.sound("by-scatter", {"second_derivatives": True})(_by_scatter(_axes))


@UNPOOLING_1D.fault("first-sample-repeated", "puts all samples at the indices of the first")
def _first_sample_repeated(input: Tensor, indices: Tensor, **arguments: Any) -> Tensor:
    return _by_scatter(1)(input, indices[:1].expand(indices.shape), **arguments)


@UNPOOLING_2D.fault("padding-kept", "makes room for the padding of the pooling")
def _padding_kept(input: Tensor, indices: Tensor, **arguments: Any) -> Tensor:
    return _by_scatter(2)(input, indices, **{**arguments, "padding": 0})


@UNPOOLING_2D.fault("stride-defaults-to-one", "takes a stride of 1 where none is given")
def _stride_defaults_to_one(input: Tensor, indices: Tensor, **arguments: Any) -> Tensor:
    return _by_scatter(2)(input, indices, **{"stride": 1, **arguments})


@UNPOOLING_2D.fault("output-size-ignored", "returns the default size whatever is asked for")
def _output_size_ignored(input: Tensor, indices: Tensor, **arguments: Any) -> Tensor:
    return _by_scatter(2)(input, indices, **{**arguments, "output_size": None})


@UNPOOLING_2D.fault("column-by-column", "counts the pixels of the output column by column")
def _column_by_column(input: Tensor, indices: Tensor, **arguments: Any) -> Tensor:
    height, width = _size(2, input, **arguments)
    return _scattered(input, indices, (width, height)).mT


@UNPOOLING_2D.fault("gradient-of-the-corner", "reads the gradient at the first pixel of each window")
@partial(with_gradients, F.max_unpool2d)
def _gradient_of_the_corner(b: Backward) -> Gradients:
    input, stride = b.tensors[0], b.arguments.get("stride")
    steps = for_each_axis(b.arguments["kernel_size"] if stride is None else stride, 2)
    height, width = b.grad_output.shape[-2:]
    rows, columns = (
        (torch.arange(count) * step).clamp(max=size - 1)
        for count, step, size in zip(input.shape[-2:], steps, (height, width), strict=True)
    )
    return [b.grad_output[..., rows[:, None], columns], None]


@UNPOOLING_3D.fault("indices-of-the-slice", "takes the indices for those of a slice, the first")
def _indices_of_the_slice(input: Tensor, indices: Tensor, **arguments: Any) -> Tensor:
    _, height, width = _size(3, input, **arguments)
    return F.max_unpool3d(input, indices % (height * width), **arguments)
