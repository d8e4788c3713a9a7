"""conv3d: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch

from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.convolution.convolution import Conv2d, draw_numbers, draw_padding, numbers

_AXES = 3


class Conv3d(Conv2d):
    """torch.nn.functional.conv3d, judged as a sum of products."""

    name = "conv3d"
    module = torch.nn.Conv3d
    batched_axes = 5
    more = 4
    configurations = (
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 3, "padding": 1, "groups": 1},
        {"kernel_size": 2, "stride": 2},
    )
    invalid_arguments = (
        {"stride": 0},
        {"stride": -1},
        {"stride": (1, 1)},
        {"padding": -1},
        {"padding": (1, 2)},
        {"padding": "sames"},
        {"padding": "same", "stride": 2},
        {"dilation": 0},
        {"groups": 0},
        {"groups": -1},
        {"groups": 7},
        {"stride": 1.5},
        {"padding": 0.5},
    )

    def draw_geometry(self, draw: Drawing) -> tuple[tuple[int, ...], dict[str, Any]]:
        whole = draw.supports.fixed or draw.supports.square or not draw.supports.rectangular
        if not whole and draw.integer(0, 4) == 4:
            return _draw_factor(draw)
        kernel_size = numbers(draw_numbers(draw, "kernel_size", 1, 3, _AXES), _AXES)
        dilation = draw_numbers(draw, "dilation", 1, 2, _AXES)
        padding = draw_padding(draw, lambda: draw_numbers(draw, "padding", 0, 3, _AXES))
        stride = 1 if padding == "same" else draw_numbers(draw, "stride", 1, 3, _AXES)
        return kernel_size, {"stride": stride, "padding": padding, "dilation": dilation}


def _draw_factor(draw: Drawing) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Draw a window that extends along the depth alone, or along all but that, as in R(2+1)D."""
    extends = draw.choice(((True, False, False), (False, True, True)))

    def along(name: str, low: int, high: int) -> int | tuple[int, ...]:
        if not draw.takes(name):
            return low
        value = draw.integer(low, high)
        return tuple(value if extended else low for extended in extends)

    steps = {"stride": along("stride", 1, 2), "padding": along("padding", 0, 2), "dilation": 1}
    return tuple(draw.integer(1, 4) if extended else 1 for extended in extends), steps


OPERATORS = (Conv3d(),)
