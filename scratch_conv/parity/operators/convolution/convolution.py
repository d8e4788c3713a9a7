"""conv2d: how its cases are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, INTEGERS, Supports
from scratch_conv.parity.drawing.strategies import (
    Draw,
    as_pair,
    draw_arrays,
    draw_batch,
    draw_dtype,
    draw_kind,
    draw_length,
    draw_pair,
    draw_wanted,
    given_arguments,
    some_tap_meets,
)
from scratch_conv.parity.operators.calling import Call
from scratch_conv.parity.operators.rounding import accumulator_of
from scratch_conv.parity.operators.sums import SumOfProducts

T = TypeVar("T")

_DEFAULTS = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}


class Conv2d(SumOfProducts):
    """torch.nn.functional.conv2d, judged as a sum of products."""

    name = "conv2d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.Conv2d
    signature = ("input", "weight", "bias")
    arguments = ("bias", "stride", "padding", "dilation", "groups")
    defaults = _DEFAULTS
    dtypes = (*FLOATS, *COMPLEX, *INTEGERS)
    linear = frozenset(signature)

    def draw_case(self, draw: Draw, supports: Supports) -> Case:
        dtype = draw_dtype(draw, supports, self.dtypes)
        groups = draw(st.integers(1, 3)) if supports.takes("groups") else 1
        in_channels, out_channels = (groups * draw(st.integers(1, 3)) for _ in range(2))
        kernel_size = as_pair(draw_pair(draw, supports, 1, 5))
        dilation = draw_pair(draw, supports, 1, 3) if supports.takes("dilation") else 1
        padding = draw_padding(draw, supports, lambda: draw_pair(draw, supports, 0, 4))
        stride = draw_pair(draw, supports, 1, 4) if supports.takes("stride") and padding != "same" else 1
        windows = [d * (k - 1) + 1 for k, d in zip(kernel_size, as_pair(dilation), strict=True)]
        margins = windows if padding == "same" else as_pair(0 if isinstance(padding, str) else padding)
        lengths = tuple(draw_length(draw, w - 2 * p) for w, p in zip(windows, margins, strict=True))
        # Where no tap at any position meets the image, torch 2.14 crashes (channels_last, with a bias).
        axes = zip(lengths, as_pair(stride), margins, as_pair(dilation), kernel_size, strict=True)
        assume(all(some_tap_meets(*axis) for axis in axes))
        shapes: dict[str, tuple[int, ...]] = {"input": (*draw_batch(draw, supports), in_channels, *lengths)}
        shapes["weight"] = (out_channels, in_channels // groups, *kernel_size)
        arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return draw_call(draw, supports, "conv2d", dtype, shapes, out_channels, arguments)

    def draw_invalid_case(self, draw: Draw, supports: Supports) -> Case:
        """Draw a call that differs from an accepted one in one argument."""
        case = self.draw_case(draw, supports)
        shapes = {name: array.shape for name, array in case.arrays}
        changes: list[Case] = [case.changed(**bad) for bad in _BAD_ARGUMENTS]
        tall = (*shapes["weight"][:2], 99, shapes["weight"][3])
        changes += [
            case.reshaped("input", (1, 1, *shapes["input"])),
            case.reshaped("input", shapes["input"][-2:]),
            case.reshaped("input", (*shapes["input"][:-3], shapes["input"][-3] + 1, *shapes["input"][-2:])),
            case.reshaped("input", (*shapes["input"][:-1], 0)),
            case.reshaped("weight", shapes["weight"][1:]),
            case.reshaped("weight", tall),
            case.retyped("weight", "float64" if case.dtype == "float32" else "float32"),
        ]
        if "bias" in shapes:
            changes += [
                case.reshaped("bias", (shapes["bias"][0] + 1,)),
                case.reshaped("bias", (1, *shapes["bias"])),
            ]
        invalid: Case = draw(st.sampled_from(changes))
        # Where the batch is empty, and there only, torch 2.14 takes a dilation of zero or less.
        assume(0 not in shapes["input"][:-3] or invalid.keywords.get("dilation") not in (0, -2))
        return invalid

    @property
    def other_ways(self) -> tuple[Call, ...]:
        """Leave the padding out, as torch's own paths do or not do, depending on the shapes."""
        return (convolve_inside,)

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.Conv2d."""
        out_channels, in_channels, *kernel_size = tensors["weight"].shape
        sizes = {"in_channels": in_channels * arguments.get("groups", 1), "out_channels": out_channels}
        bias = {} if "bias" in tensors else {"bias": False}
        return {**sizes, "kernel_size": tuple(kernel_size), **arguments, **bias}


def convolve_inside(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve by the definition, without the products whose pixel is padding: 0 · inf is none of them."""
    if weight.ndim == 3:
        numbers = ((0, as_int(padding)) if not isinstance(padding, str) else padding, (1, as_int(dilation)))
        rows = input.unsqueeze(-2), weight.unsqueeze(-2), bias
        return convolve_inside(*rows, (1, as_int(stride)), *numbers, groups).squeeze(-2)
    if input.ndim == 3:
        return convolve_inside(input[None], weight, bias, stride, padding, dilation, groups)[0]
    down, across = (_sides(padding, axis, weight.shape[2 + axis], as_pair(dilation)[axis]) for axis in (0, 1))
    wide = accumulator_of(input.dtype)
    pixels = _windows(pad(input.to(wide), (*across, *down)), weight, stride, dilation)
    inside = _windows(pad(torch.ones_like(input[:1, :1]), (*across, *down)), weight, stride, dilation) != 0
    batch, channels, *rest = pixels.shape
    outs = weight.shape[0] // groups
    taps = weight.to(wide).reshape(groups, outs, channels // groups, 1, 1, *weight.shape[2:])
    products = pixels.reshape(batch, groups, 1, channels // groups, *rest) * taps
    sums = torch.where(inside[:, None, None], products, 0).sum((3, 6, 7)).flatten(1, 2)
    return (sums if bias is None else sums + bias.to(wide)[:, None, None]).to(input.dtype)


def as_int(number: int | tuple[int]) -> int:
    """Return an argument for the one axis, given as an int or a tuple of one, as an int."""
    return number[0] if isinstance(number, tuple) else number


def _sides(padding: Any, axis: int, taps: int, dilation: int) -> tuple[int, int]:
    """Return the padding before and after one axis; of an uneven 'same', torch pads one more after it."""
    if padding == "same":
        total = dilation * (taps - 1)
        return total // 2, total - total // 2
    number = 0 if padding == "valid" else as_pair(padding)[axis]
    return number, number


def _windows(padded: Tensor, weight: Tensor, stride: Any, dilation: Any) -> Tensor:
    """View (N, C, H, W) as (N, C, OH, OW, KH, KW)."""
    windows = padded
    for axis in (0, 1):
        step, taps = as_pair(dilation)[axis], weight.shape[2 + axis]
        windows = windows.unfold(2 + axis, step * (taps - 1) + 1, as_pair(stride)[axis])
    return windows[..., :: as_pair(dilation)[0], :: as_pair(dilation)[1]]


def draw_call(
    draw: Draw,
    supports: Supports,
    name: str,
    dtype: str,
    shapes: dict[str, tuple[int, ...]],
    out_channels: int,
    arguments: dict[str, Any],
) -> Case:
    """Draw a bias for an input and a weight of these shapes, what the tensors hold, and what is wanted."""
    if supports.takes("bias") and draw(st.booleans()):
        shapes["bias"] = (out_channels,)
    arrays, grad_output = draw_arrays(draw, supports, shapes, draw_kind(draw, supports, dtype))
    wanted, order = draw_wanted(draw, supports, tuple(shapes), dtype)
    return Case(name, arrays, given_arguments(arguments, _DEFAULTS), dtype, wanted, grad_output, order)


def draw_padding(draw: Draw, supports: Supports, numbers: Callable[[], T]) -> T | int | str:
    """Draw the padding as torch's words, or as what `numbers` draws; none where it is not claimed."""
    if not supports.takes("padding"):
        return 0
    words = ["number", "number", "same", "number", "valid"] if supports.string_padding else ["number"]
    word: str = draw(st.sampled_from(words))
    return numbers() if word == "number" else word


_BAD_ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"stride": 0},
    {"stride": -1},
    {"stride": (1, 0)},
    {"stride": (1, 1, 1)},
    {"padding": -1},
    {"padding": (1, 2, 3)},
    {"padding": "sames"},
    {"padding": "same", "stride": 2},
    {"dilation": 0},
    {"dilation": -2},
    {"groups": 0},
    {"groups": -1},
    {"groups": 7},
    {"stride": 1.5},
    {"padding": 0.5},
)


OPERATORS = (Conv2d(),)
