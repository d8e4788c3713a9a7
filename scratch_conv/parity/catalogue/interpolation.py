"""Implementations of interpolate."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.operators.calling import Call

INTERPOLATION = Collection("interpolate")
COLLECTIONS = (INTERPOLATION,)
_fault = INTERPOLATION.fault
_interpolate: Call = F.interpolate
_SMOOTH = ("linear", "bilinear", "bicubic", "trilinear")


def _sizes(input: Tensor, arguments: dict[str, Any]) -> tuple[int, ...]:
    given = arguments.get("size")
    given = arguments["scale_factor"] if given is None else given
    each = given if isinstance(given, tuple) else (given,) * (input.dim() - 2)
    if arguments.get("size") is not None:
        return each
    return tuple(int(n * factor) for n, factor in zip(input.shape[2:], each, strict=True))


def _by_matrices(kernel: Any, offset: float = 0.5, clamps: bool = True) -> Call:
    """Return an interpolation by a matrix for each axis; pixels have their centres at `offset`.

    Of what is no smooth mode, or antialiased, torch's own result is returned.
    """

    def candidate(input: Tensor, **arguments: Any) -> Tensor:
        mode, factor = arguments.get("mode", "nearest"), arguments.get("scale_factor")
        if mode not in _SMOOTH or arguments.get("antialias") or not input.numel():
            return _interpolate(input, **arguments)
        output, wide = input, torch.promote_types(input.dtype, torch.float32)
        by_sizes = factor is None or arguments.get("recompute_scale_factor")
        for axis, size in enumerate(_sizes(input, arguments), 2):
            count = input.shape[axis]
            one: Any = factor[axis - 2] if isinstance(factor, tuple) else factor
            scale = count / size if by_sizes else 1 / one
            numbers = torch.arange(size, dtype=torch.float64)
            if arguments.get("align_corners"):
                places = numbers * ((count - 1) / (size - 1) if size > 1 else 0.0)
            else:
                places = (numbers + offset) * scale - offset
            places = places if mode == "bicubic" else places.clamp(0, count - 1)
            if mode != "bicubic" and size == count:
                places = numbers
            taps = torch.arange(-2, count + 2, dtype=torch.float64)
            weights = kernel((places[:, None] - taps).abs(), mode)
            inside = taps.clamp(0, count - 1).long()
            if not clamps:
                weights = weights * (taps == inside)
            matrix = torch.zeros(size, count, dtype=torch.float64).index_add(1, inside, weights).to(wide)
            output = torch.tensordot(output.to(wide), matrix, ([axis], [1])).movedim(-1, axis)
        return output.to(input.dtype)

    return candidate


def _keys(a: float) -> Any:
    """Return cubic convolution with this a for bicubic, else the linear kernel."""

    def kernel(x: Tensor, mode: str) -> Tensor:
        if mode != "bicubic":
            return (1 - x).clamp(min=0)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * (x**3 - 5 * x**2 + 8 * x - 4)
        return torch.where(x < 1, near, torch.where(x < 2, far, 0))

    return kernel


interpolate_by_matrices = INTERPOLATION.sound("by-matrices", FINITE)(_by_matrices(_keys(-0.75)))
_fault("a-of-one-half", "takes cubic convolution with a = -1/2, torch has -3/4")(_by_matrices(_keys(-0.5)))
_fault("without-half-a-pixel", "forgets that pixels have their centres half a pixel inside")(
    _by_matrices(_keys(-0.75), offset=0.0)
)
_fault("zeros-beyond-the-border", "takes zeros for the pixels outside, instead of the outermost ones")(
    _by_matrices(_keys(-0.75), clamps=False)
)


@INTERPOLATION.sound("nearest-by-indices")
def interpolate_by_indices(input: Tensor, **arguments: Any) -> Tensor:
    """Pick the pixels of each axis by their indices, which are torch's for a row."""
    if arguments.get("mode", "nearest") not in ("nearest", "nearest-exact") or not input.numel():
        return _interpolate(input, **arguments)
    output = input
    for axis, count in enumerate(input.shape[2:]):
        one = {name: value[axis] if isinstance(value, tuple) else value for name, value in arguments.items()}
        places = _interpolate(torch.arange(count, dtype=torch.float32)[None, None], **one)[0, 0]
        output = output.index_select(axis + 2, places.long())
    channels_last = input.dim() > 3 and _interpolate(input, **arguments).stride() != output.stride()
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return output.contiguous(memory_format=formats[input.dim()]) if channels_last else output


@_fault("corners-aligned-always", "aligns the corners where they are not to be")
def _corners_aligned_always(input: Tensor, **arguments: Any) -> Tensor:
    aligned = {"align_corners": True} if arguments.get("mode") in _SMOOTH else {}
    return _interpolate(input, **{**arguments, **aligned})


@_fault("corners-never-aligned", "ignores align_corners")
def _corners_never_aligned(input: Tensor, **arguments: Any) -> Tensor:
    return _interpolate(input, **{**arguments, "align_corners": None})


@_fault("scale-from-sizes", "takes the quotient of the sizes where the factor is given")
def _scale_from_sizes(input: Tensor, **arguments: Any) -> Tensor:
    again = {} if arguments.get("scale_factor") is None else {"recompute_scale_factor": True}
    return _interpolate(input, **{**arguments, **again})


@_fault("size-rounded-up", "rounds the size up that a factor gives")
def _size_rounded_up(input: Tensor, **arguments: Any) -> Tensor:
    factor = arguments.pop("scale_factor", None)
    if factor is None:
        return _interpolate(input, **arguments)
    each = factor if isinstance(factor, tuple) else (factor,) * (input.dim() - 2)
    sizes = tuple(math.ceil(n * one) for n, one in zip(input.shape[2:], each, strict=True))
    return _interpolate(input, **{**arguments, "size": sizes, "recompute_scale_factor": None})


@_fault("axes-exchanged", "takes the last factor or size for the first axis")
def _axes_exchanged(input: Tensor, **arguments: Any) -> Tensor:
    turned = {name: each[::-1] if isinstance(each, tuple) else each for name, each in arguments.items()}
    return _interpolate(input, **turned)


@_fault("nearest-exact-for-nearest", "takes the pixel at the centre where torch takes that at the corner")
def _exact_for_nearest(input: Tensor, **arguments: Any) -> Tensor:
    exact = {"mode": "nearest-exact"} if arguments.get("mode", "nearest") == "nearest" else {}
    return _interpolate(input, **{**arguments, **exact})


@_fault("antialias-ignored", "leaves pixels out where the image becomes smaller")
def _antialias_ignored(input: Tensor, **arguments: Any) -> Tensor:
    return _interpolate(input, **{**arguments, "antialias": False})


@_fault("gradient-of-one-pixel", "each pixel gets the mean of the gradients it should get the sum of")
@partial(with_gradients, _interpolate)
def _gradient_averaged(b: Backward) -> Gradients:
    return [b.right[0] * (b.tensors[0].shape[2:].numel() / b.grad_output.shape[2:].numel())]
