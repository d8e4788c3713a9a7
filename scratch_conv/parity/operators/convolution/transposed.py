"""conv_transpose2d: how its cases are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, Supports
from scratch_conv.parity.drawing.strategies import Drawing, as_pair
from scratch_conv.parity.operators.convolution.convolution import Convolution

_DEFAULTS = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}


class ConvTranspose2d(Convolution):
    """torch.nn.functional.conv_transpose2d, judged as a sum of products."""

    name = "conv_transpose2d"
    module = torch.nn.ConvTranspose2d
    arguments = ("bias", *_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, *COMPLEX, "int64")
    channels = ("in_channels", "out_channels")
    more = 4
    configurations = (
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 4, "stride": 2, "padding": 1, "groups": 1},
        {"kernel_size": 5, "stride": 2, "padding": 2, "output_padding": 1},
    )
    invalid_arguments = (
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


OPERATORS = (ConvTranspose2d(),)
