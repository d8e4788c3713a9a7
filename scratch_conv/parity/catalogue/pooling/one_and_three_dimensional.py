"""Implementations of pooling of signals and of volumes, and of adaptive max pooling."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.operators.calling import Call

MAX_POOLING_1D = Collection("max_pool1d")
MAX_POOLING_3D = Collection("max_pool3d")
AVERAGE_POOLING_1D = Collection("avg_pool1d")
AVERAGE_POOLING_3D = Collection("avg_pool3d")
ADAPTIVE_AVERAGE_POOLING_1D = Collection("adaptive_avg_pool1d")
ADAPTIVE_AVERAGE_POOLING_3D = Collection("adaptive_avg_pool3d")
ADAPTIVE_MAX_POOLING_1D = Collection("adaptive_max_pool1d")
ADAPTIVE_MAX_POOLING_2D = Collection("adaptive_max_pool2d")
ADAPTIVE_MAX_POOLING_3D = Collection("adaptive_max_pool3d")
COLLECTIONS = (
    *(MAX_POOLING_1D, MAX_POOLING_3D, AVERAGE_POOLING_1D, AVERAGE_POOLING_3D),
    *(ADAPTIVE_AVERAGE_POOLING_1D, ADAPTIVE_AVERAGE_POOLING_3D),
    *(ADAPTIVE_MAX_POOLING_1D, ADAPTIVE_MAX_POOLING_2D, ADAPTIVE_MAX_POOLING_3D),
)


def _by_images(pool: Call) -> Call:
    """Return a pooling of signals by one of images of one row."""
    fills = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "output_size": 1}

    def candidate(input: Tensor, **arguments: Any) -> Any:
        for name in fills.keys() & arguments.keys():
            value = arguments[name]
            arguments[name] = (fills[name], value[0] if isinstance(value, tuple) else value)
        result = pool(input.unsqueeze(-2), **arguments)
        return tuple(each.squeeze(-2) for each in result) if isinstance(result, tuple) else result.squeeze(-2)

    return candidate


_ONE_WAY = {"second_derivatives": True}
MAX_POOLING_1D.sound("by-max_pool2d", _ONE_WAY)(_by_images(F.max_pool2d))
AVERAGE_POOLING_1D.sound("by-avg_pool2d", _ONE_WAY)(_by_images(F.avg_pool2d))
ADAPTIVE_MAX_POOLING_1D.sound("by-adaptive_max_pool2d", _ONE_WAY)(_by_images(F.adaptive_max_pool2d))


@MAX_POOLING_3D.sound("gathered")
def max_pool3d_by_indices(input: Tensor, kernel_size: Any, stride: Any = None, **arguments: Any) -> Any:
    """Gather what torch's indices name, of a contiguous input: in another order those of -inf are wrong."""
    input = input.contiguous()
    _, indices = F.max_pool3d(input, kernel_size, stride, **{**arguments, "return_indices": True})
    output = input.flatten(-3).gather(-1, indices.flatten(-3)).reshape(indices.shape)
    return (output, indices) if arguments.get("return_indices") else output


@ADAPTIVE_AVERAGE_POOLING_3D.sound("depth-last", FINITE)
def adaptive_average_depth_last(input: Tensor, output_size: Any) -> Tensor:
    """Average the slices, then over their depth."""
    size = output_size if isinstance(output_size, tuple) else (output_size,) * 3
    depth, height, width = (own if n is None else n for n, own in zip(size, input.shape[-3:], strict=True))
    slices = F.adaptive_avg_pool2d(input.reshape(-1, *input.shape[-3:]), (height, width))
    output = F.adaptive_avg_pool2d(slices.flatten(2), (depth, height * width))
    return output.reshape(*input.shape[:-3], depth, height, width)


def _without_nan(pool: Call) -> Call:
    """Return a pooling that compares with >, which no NaN wins."""

    def candidate(input: Tensor, **arguments: Any) -> Any:
        return pool(torch.where(input.isnan(), -torch.inf, input), **arguments)

    return candidate


for _collection, _pool in (
    (MAX_POOLING_1D, F.max_pool1d),
    (MAX_POOLING_3D, F.max_pool3d),
    (ADAPTIVE_MAX_POOLING_2D, F.adaptive_max_pool2d),
):
    _collection.fault("nan-lost", "compares with >, which no NaN wins")(_without_nan(_pool))


def _in_slices(pool: Call) -> Call:
    """Return a pooling whose indices count in each slice."""

    def candidate(input: Tensor, **arguments: Any) -> Any:
        result = pool(input, **arguments)
        if not isinstance(result, tuple):
            return result
        return result[0], result[1] % (input.shape[-1] * input.shape[-2])

    return candidate


for _collection, _pool in ((MAX_POOLING_3D, F.max_pool3d), (ADAPTIVE_MAX_POOLING_3D, F.adaptive_max_pool3d)):
    _collection.fault("indices-of-the-slice", "the indices count in each slice")(_in_slices(_pool))


@MAX_POOLING_3D.fault("stride-defaults-to-one", "takes a stride of 1 where none is given")
def _stride_defaults_to_one(input: Tensor, **arguments: Any) -> Any:
    return F.max_pool3d(input, **{"stride": 1, **arguments})


@MAX_POOLING_3D.fault(
    "overlap-overwritten", "the last window's gradient overwrites that of others it overlaps"
)
@partial(with_gradients, F.max_pool3d)
def _overlap_overwritten(b: Backward) -> Gradients:
    input, arguments = b.tensors[0].detach(), {**b.arguments, "return_indices": True}
    indices = F.max_pool3d(input, **arguments)[1].flatten(-3)
    gradient = torch.zeros_like(input).flatten(-3)
    return [gradient.scatter(-1, indices, b.grad_output.flatten(-3)).reshape(input.shape)]


def _counting_padding(pool: Call) -> Call:
    def candidate(input: Tensor, **arguments: Any) -> Tensor:
        output: Tensor = pool(input, **{**arguments, "count_include_pad": True})
        return output

    return candidate


for _collection, _average in ((AVERAGE_POOLING_1D, F.avg_pool1d), (AVERAGE_POOLING_3D, F.avg_pool3d)):
    _collection.fault("padding-counted", "divides by the whole window in every mode")(
        _counting_padding(_average)
    )


@AVERAGE_POOLING_3D.fault("overhang-counted", "divides by the whole window where it hangs over the padding")
def _overhang_counted(input: Tensor, **arguments: Any) -> Tensor:
    kernel_size = arguments["kernel_size"]
    depth, height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 3
    if arguments.get("count_include_pad", True) and "divisor_override" not in arguments:
        arguments["divisor_override"] = depth * height * width
    return F.avg_pool3d(input, **arguments)


@AVERAGE_POOLING_3D.fault("gradient-undivided", "passes the whole gradient to each pixel of the window")
@partial(with_gradients, F.avg_pool3d)
def _gradient_undivided(b: Backward) -> Gradients:
    kernel_size = b.arguments["kernel_size"]
    depth, height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 3
    return [b.right[0] * (depth * height * width)]


def _ending_early(pool: Call, axes: int) -> Call:
    """Return an adaptive average pooling along some axes; bins of the last end where the next ones start."""

    def candidate(input: Tensor, output_size: Any) -> Tensor:
        right: Tensor = pool(input, output_size)
        *others, count = right.shape[-axes:]
        length = input.shape[-1]
        if not right.numel() or count > length:
            return right
        ends = [(i * length // count, (i + 1) * length // count) for i in range(count)]
        return torch.cat([pool(input[..., start:stop], (*others, 1)) for start, stop in ends], -1)

    return candidate


for _collection, _adaptive, _axes in (
    (ADAPTIVE_AVERAGE_POOLING_1D, F.adaptive_avg_pool1d, 1),
    (ADAPTIVE_AVERAGE_POOLING_3D, F.adaptive_avg_pool3d, 3),
):
    _collection.fault("end-rounded-down", "rounds the end of a bin down")(_ending_early(_adaptive, _axes))


@ADAPTIVE_AVERAGE_POOLING_3D.fault("none-taken-for-one", "takes an output size of None for 1")
def _none_taken_for_one(input: Tensor, output_size: Any) -> Tensor:
    if isinstance(output_size, tuple):
        output_size = tuple(1 if size is None else size for size in output_size)
    return F.adaptive_avg_pool3d(input, output_size)


@ADAPTIVE_MAX_POOLING_2D.fault("end-rounded-down", "rounds the end of a bin of columns down")
def _maximum_ending_early(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    right, indices = F.adaptive_max_pool2d(input, output_size, return_indices=True)
    rows, count = right.shape[-2:]
    length = input.shape[-1]
    if right.numel() and count <= length:
        ends = [(i * length // count, (i + 1) * length // count) for i in range(count)]
        bins = [F.adaptive_max_pool2d(input[..., start:stop], (rows, 1)) for start, stop in ends]
        right = torch.cat(bins, -1)
    return (right, indices) if return_indices else right


@ADAPTIVE_MAX_POOLING_2D.fault("indices-of-the-row", "the indices count in each row")
def _indices_of_the_row(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    output, indices = F.adaptive_max_pool2d(input, output_size, return_indices=True)
    return (output, indices % input.shape[-1]) if return_indices else output


@ADAPTIVE_MAX_POOLING_1D.fault("gradient-averaged", "the gradient is divided by the largest bin's size")
@partial(with_gradients, F.adaptive_max_pool1d)
def _gradient_averaged(b: Backward) -> Gradients:
    return [b.right[0] / (-(-b.tensors[0].shape[-1] // max(1, b.grad_output.shape[-1])) + 1)]
