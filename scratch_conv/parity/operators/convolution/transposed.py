"""conv_transpose2d: how its cases are drawn."""

from __future__ import annotations

from collections.abc import Sequence
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

    def draw_geometry(self, draw: Drawing) -> tuple[Sequence[int], Sequence[int], dict[str, Any]]:
        kernel_size, dilation = as_pair(draw.pair("kernel_size", 1, 4)), draw.pair("dilation", 1, 3)
        stride, padding = draw.pair("stride", 1, 4), draw.pair("padding", 0, 3)
        # Torch asks for less than the stride or the dilation.
        vertical, horizontal = (
            max(each) - 1 for each in zip(as_pair(stride), as_pair(dilation), strict=True)
        )
        extra = draw.pair("output_padding", 0, (vertical, horizontal))
        axes = zip(kernel_size, *map(as_pair, (dilation, stride, padding, extra)), strict=True)
        least = [1 + max(0, -((d * (k - 1) + e - 2 * p) // s)) for k, d, s, p, e in axes]
        arguments = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}
        return kernel_size, [draw.length(each, 4) for each in least], arguments

    def draw_invalid_case(self, draw: Drawing) -> Case:
        supports, dtypes = draw.supports, draw.supports.dtypes
        plain = Supports(dtypes=dtypes, empty=False, unbatched=supports.unbatched)
        return super().draw_invalid_case(replace(draw, supports=plain))


OPERATORS = (ConvTranspose2d(),)
