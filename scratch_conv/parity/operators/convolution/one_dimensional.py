"""conv1d: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch

from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.convolution.convolution import Conv2d, draw_padding


class Conv1d(Conv2d):
    """torch.nn.functional.conv1d, judged as a sum of products."""

    name = "conv1d"
    module = torch.nn.Conv1d
    batched_axes = 3
    configurations = (
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "padding": 1, "groups": 1},
        {"kernel_size": 7, "padding": 3},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 10, "stride": 5},
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
        kernel_size, dilation = draw.size("kernel_size", 1, 5), _draw_number(draw, "dilation", 1, 3)
        padding = draw_padding(draw, lambda: _draw_number(draw, "padding", 0, 4))
        stride = 1 if padding == "same" else _draw_number(draw, "stride", 1, 4)
        return (kernel_size,), {"stride": stride, "padding": padding, "dilation": dilation}


def _draw_number(draw: Drawing, name: str, low: int, high: int) -> int | tuple[int]:
    """Draw an argument for the one axis: an int or a tuple of one; `low` where it is not claimed."""
    if not draw.takes(name) or draw.fixed(name) is not None:
        return low if draw.fixed(name) is None else draw.fixed(name)
    value = draw.integer(low, high)
    tupled = draw.supports.rectangular and name not in draw.supports.square
    return (value,) if tupled and draw.integer(0, 3) == 3 else value


OPERATORS = (Conv1d(),)
