"""conv_transpose2d and its kin: how their cases are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, Supports
from scratch_conv.parity.drawing.strategies import Drawing, as_pair
from scratch_conv.parity.operators.convolution.convolution import Convolution, draw_numbers, numbers

_DEFAULTS = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}


class ConvTranspose2d(Convolution):
    """torch.nn.functional.conv_transpose2d, judged as a sum of products."""

    name = "conv_transpose2d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.ConvTranspose2d
    arguments = ("bias", *_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, *COMPLEX, "int64")
    channels = ("in_channels", "out_channels")
    more = 4
    configurations: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 4, "stride": 2, "padding": 1, "groups": 1},
        {"kernel_size": 5, "stride": 2, "padding": 2, "output_padding": 1},
    )
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
        {"stride": 0},
        {"stride": -1},
        {"padding": -1},
        {"padding": 99},
        {"output_padding": 4, "stride": 1, "dilation": 1},
        {"output_padding": -1},
        {"dilation": -1},
        {"groups": 0},
        {"groups": 7},
        {"stride": (1, 1, 1)},
        {"stride": 1.5},
    )

    def draw_geometry(self, draw: Drawing) -> tuple[tuple[int, ...], dict[str, Any]]:
        kernel_size, dilation = as_pair(draw.pair("kernel_size", 1, 4)), draw.pair("dilation", 1, 3)
        stride, padding = draw.pair("stride", 1, 4), draw.pair("padding", 0, 3)
        # Torch asks for less than the stride or the dilation.
        vertical, horizontal = (
            max(each) - 1 for each in zip(as_pair(stride), as_pair(dilation), strict=True)
        )
        extra = draw.pair("output_padding", 0, (vertical, horizontal))
        arguments = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}
        return kernel_size, arguments

    def least_length(self, taps: int, **arguments: Any) -> int:
        window = arguments["dilation"] * (taps - 1) + arguments["output_padding"] - 2 * arguments["padding"]
        return int(1 + max(0, -(window // arguments["stride"])))

    def positions(self, length: int, taps: int, **arguments: Any) -> int:
        return length

    def draw_invalid_case(self, draw: Drawing) -> Case:
        supports, dtypes = draw.supports, draw.supports.dtypes
        plain = Supports(dtypes=dtypes, empty=False, unbatched=supports.unbatched)
        return super().draw_invalid_case(replace(draw, supports=plain))


class ConvTranspose1d(ConvTranspose2d):
    """torch.nn.functional.conv_transpose1d, judged as a sum of products."""

    name = "conv_transpose1d"
    module = torch.nn.ConvTranspose1d
    batched_axes = 3
    configurations = (
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 16, "stride": 8, "padding": 4},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    )
    invalid_arguments = (
        {"stride": 0},
        {"padding": -1},
        {"padding": 99},
        {"output_padding": 4, "stride": 1, "dilation": 1},
        {"output_padding": -1},
        {"dilation": -1},
        {"groups": 0},
        {"groups": 7},
        {"stride": (1, 1)},
        {"stride": 1.5},
    )

    def draw_geometry(self, draw: Drawing) -> tuple[tuple[int, ...], dict[str, Any]]:
        return _draw_geometry(draw, 1, 4)


class ConvTranspose3d(ConvTranspose2d):
    """torch.nn.functional.conv_transpose3d, judged as a sum of products."""

    name = "conv_transpose3d"
    module = torch.nn.ConvTranspose3d
    batched_axes = 5
    more = 2
    configurations = (
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        {"kernel_size": 3, "padding": 1, "groups": 1},
    )
    invalid_arguments = (
        {"stride": 0},
        {"padding": -1},
        {"padding": 99},
        {"output_padding": 4, "stride": 1, "dilation": 1},
        {"output_padding": -1},
        {"dilation": -1},
        {"groups": 0},
        {"groups": 7},
        {"stride": (1, 1)},
        {"stride": 1.5},
    )

    def draw_geometry(self, draw: Drawing) -> tuple[tuple[int, ...], dict[str, Any]]:
        return _draw_geometry(draw, 3, 3)


def _draw_geometry(draw: Drawing, axes: int, most: int) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Draw the kernel_size and the arguments but for the groups; both sizes and steps are `most` at most."""
    kernel_size = numbers(draw_numbers(draw, "kernel_size", 1, most, axes), axes)
    dilation, stride = (draw_numbers(draw, name, 1, most, axes) for name in ("dilation", "stride"))
    padding = draw_numbers(draw, "padding", 0, most - 1, axes)
    each = zip(numbers(stride, axes), numbers(dilation, axes), strict=True)
    extra = draw_numbers(draw, "output_padding", 0, tuple(max(both) - 1 for both in each), axes)
    return kernel_size, {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}


OPERATORS = (ConvTranspose1d(), ConvTranspose2d(), ConvTranspose3d())
