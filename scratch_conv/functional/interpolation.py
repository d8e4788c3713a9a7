"""Interpolation: images made larger or smaller."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import Interpolate, call, suggests_channels_last
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, size_of
from scratch_conv.functional.pooling import adaptive_avg_pool2d
from scratch_conv.functional.pooling_of_signals import adaptive_avg_pool1d
from scratch_conv.functional.pooling_of_volumes import adaptive_avg_pool3d

__all__ = ["interpolate"]

_KERNELS = {"linear": "linear", "bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}
_AXES = {"linear": (1,), "bilinear": (2,), "trilinear": (3,), "bicubic": (2,)}
_NEAREST = ("nearest", "nearest-exact")
_WITHOUT_CORNERS = (*_NEAREST, "area")


def _stays_torchs(
    input: Any, size: Any = None, scale_factor: Any = None, mode: Any = "nearest", *rest: Any, **given: Any
) -> bool:
    """Return whether this package has no kernel for a call: torch computes it."""
    if not isinstance(input, Tensor):
        return False
    of_bytes = input.dtype == torch.uint8 and mode in ("bilinear", "bicubic")
    return mode == "lanczos" or of_bytes


@replaces(F.interpolate, left=_stays_torchs)
@overridable
def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Make images larger or smaller, as `torch.nn.functional.interpolate` does.

    Args:
        input: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating point; of the nearest modes also uint8,
            with antialias float32 or float64.
        size: the output's, one int or one for each axis; or
        scale_factor: how many times as large it is, one number or one for each axis. Its product with the
            input's size is rounded down.
        mode: nearest, nearest-exact, linear (of one axis), bilinear, bicubic (of two), trilinear (of three),
            or area: adaptive average pooling.
        align_corners: of the linear and cubic modes, whether the centres of the corner pixels lie at the same
            places in both, instead of their corners.
        recompute_scale_factor: whether pixels lie the quotient of the sizes apart, not 1 / scale_factor.
        antialias: of bilinear and bicubic, whether the kernel covers all of the input where the output is
            smaller.

    Returns:
        (N, C, *output size), of the input's dtype and memory format.

    Raises:
        AttributeError: the input is no tensor.
        TypeError: an argument has a type that torch does not take.
        ValueError: both or neither of size and scale_factor are given, or as many numbers as there are no
            axes; an option does not go with the mode.
        RuntimeError: the input has no pixels or channels, or the output has none; a tensor is not on the CPU.
        NotImplementedError: the mode does not go with the number of axes, or is not known; the input is of
            another dtype; lanczos, and uint8 in the linear and cubic modes, which `override()` and swapped
            layers leave to torch.
    """
    if mode in _WITHOUT_CORNERS and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: "
            "linear | bilinear | bicubic | trilinear"
        )
    axes = input.dim() - 2
    sizes, factors = _for_each_axis(input, axes, size, scale_factor, recompute_scale_factor, mode)
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and axes == 2):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D "
            "tensor as input"
        )
    if mode not in (*_AXES, *_WITHOUT_CORNERS) or axes not in _AXES.get(mode, (1, 2, 3)):
        raise NotImplementedError(
            f"interpolate: {mode=} is not implemented for an input of size {size_of(input)}"
        )
    if mode == "area":
        return _area(input, sizes)
    arguments.tensors("interpolate", input=input)
    align_corners = arguments.boolean(
        "interpolate", "align_corners", align_corners is not None and align_corners
    )
    if sizes is None:
        scales = [_factor(each) for each in factors]
        sizes = [_times(length, scale) for length, scale in zip(input.shape[2:], scales, strict=True)]
    else:
        scales, sizes = [0.0] * axes, list(arguments.integers("interpolate", "size", list(sizes), axes))
    _check(input, sizes, mode, bool(antialias))
    channels_last = suggests_channels_last(input)
    kernel, options = _KERNELS.get(mode, mode), (align_corners, bool(antialias), scales)
    in_float32 = channels_last and input.shape[1] > 3
    output: Tensor = call(Interpolate, input, sizes, channels_last, kernel, *options, in_float32)
    return output


def _for_each_axis(
    input: Tensor, axes: int, size: Any, scale_factor: Any, recompute: Any, mode: Any
) -> tuple[Any, Any]:
    """Return the output's size or the factors, not yet as numbers: one of the two is None.

    Raises:
        TypeError: among several sizes there is one that isn't an int.
        ValueError: both or neither are given, or as many as there are no axes.
    """
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    name, value = ("size", size) if scale_factor is None else ("scale_factor", scale_factor)
    several = isinstance(value, (tuple, list))
    if several and len(value) != axes:
        raise ValueError(
            f"interpolate: expected {name} to be one number or {axes}, but got {value} "
            f"for an input of size {size_of(input)}"
        )
    each = list(value) if several else [value] * axes
    if scale_factor is None:
        if (several or isinstance(value, Tensor)) and not all(map(_is_size, each)):
            raise TypeError(f"interpolate(): argument 'size' must be int or tuple of ints, not {value!r}")
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return each, None
    if recompute or mode == "area":
        pairs = zip(input.shape[2:], each, strict=True)
        return [torch.sym_int(length * factor) for length, factor in pairs], None
    return None, each


def _is_size(value: Any) -> bool:
    """Return whether torch takes one of several sizes for an int."""
    whole = isinstance(value, Tensor) and not (value.is_floating_point() or value.dtype == torch.bool)
    return whole or isinstance(value, (int, np.integer, torch.SymInt))


def _factor(value: Any) -> float:
    if isinstance(value, Tensor):
        raise TypeError("interpolate(): argument 'scale_factor' must be float, not Tensor")
    try:
        return arguments.number("interpolate", "scale_factor", value)
    except OverflowError as error:
        raise TypeError(str(error)) from None


def _times(length: int, scale: float) -> int:
    """Return the size of an axis that grows by a factor."""
    longer = length * scale
    if isinstance(longer, float) and not abs(longer) < 2**63:
        raise RuntimeError(f"interpolate: {longer} cannot be converted to an int without overflow")
    return torch.sym_int(longer)


def _check(input: Tensor, sizes: list[int], mode: str, antialias: bool) -> None:
    """Refuse sizes and dtypes that torch refuses."""
    if any(size <= 0 for size in (*input.shape[2:], *sizes)):
        raise RuntimeError(
            f"interpolate: Input and output sizes should be greater than 0, "
            f"but got input {size_of(input)[2:]} and output {sizes}"
        )
    if input.shape[1] == 0:
        raise RuntimeError(
            f"interpolate: Non-empty {input.dim()}D data tensor expected but got a tensor with sizes "
            f"{size_of(input)}"
        )
    arguments.output_size("interpolate", input.shape[0] or 1, input.shape[1], *sizes)
    wide = input.dtype in (torch.float32, torch.float64)
    whole = mode in _NEAREST and input.dtype == torch.uint8
    if not (wide or whole or (input.dtype.is_floating_point and not antialias)):
        raise NotImplementedError(f"interpolate, {mode=} is not implemented for {input.dtype}")


def _area(input: Tensor, sizes: Any) -> Tensor:
    """Average the pixels under each of the output."""
    pool = {3: adaptive_avg_pool1d, 4: adaptive_avg_pool2d, 5: adaptive_avg_pool3d}[input.dim()]
    return pool(input, sizes)
