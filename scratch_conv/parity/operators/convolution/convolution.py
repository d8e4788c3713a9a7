"""conv2d: how its cases are drawn."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import torch
from hypothesis import assume
from torch import Tensor
from torch.nn.functional import pad

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, INTEGERS
from scratch_conv.parity.drawing.sizes import (
    BATCHES,
    CHANNELS,
    FEW,
    GROUPS,
    KERNELS,
    LENGTHS,
    MUCH,
    Sizes,
    fitted,
)
from scratch_conv.parity.drawing.strategies import Drawing, as_pair, remainders, some_tap_meets
from scratch_conv.parity.operators.calling import Call, Values
from scratch_conv.parity.operators.convolution.normwise import normwise
from scratch_conv.parity.operators.operator import Bound
from scratch_conv.parity.operators.rounding import accumulator_of
from scratch_conv.parity.operators.sums import SumOfProducts

T = TypeVar("T")

_CHANNELS = ("in_channels", "out_channels")
_KERNEL = ("kernel planes", "kernel rows", "kernel columns")
_LENGTHS = ("planes", "rows", "columns")
_STORING = 32  # products that storing one result takes as long as, about
_DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


class Convolution(SumOfProducts):
    """What convolutions have in common, whatever their direction and the number of their axes.

    Attributes:
        channels: what the first two axes of the weight are; the second is that of one group.
        more: how many pixels an axis of the input has at most beyond the least, where it is not large.
        configurations: the arguments of layers of known networks. `groups` is there the number of outputs for
            each of as many groups as there are channels.
    """

    signature = ("input", "weight", "bias")
    linear = frozenset(signature)
    normwise = True
    channels: ClassVar[tuple[str, str]] = _CHANNELS[::-1]
    more: ClassVar[int] = 7

    @abstractmethod
    def draw_geometry(self, draw: Drawing) -> tuple[tuple[int, ...], dict[str, Any]]:
        """Draw the kernel_size and the arguments but for the groups."""

    @abstractmethod
    def least_length(self, taps: int, **arguments: Any) -> int:
        """Return how long an axis of the input has to be, given its kernel_size and its arguments."""

    @abstractmethod
    def positions(self, length: int, taps: int, **arguments: Any) -> int:
        """Return how many positions of an axis each tap is multiplied at."""

    def accepts(self, length: int, taps: int, **arguments: Any) -> bool:
        """Return whether torch computes an axis of such sizes."""
        return True

    def draw_case(self, draw: Drawing) -> Case:
        groups = draw.size("groups", 1, 3) if draw.takes("groups") else draw.fixed("groups") or 1
        sizes = {"groups": groups}
        for name in _CHANNELS:  # those of one group
            sizes[name] = (
                draw.integer(1, 3) if draw.fixed(name) is None else max(1, draw.fixed(name) // groups)
            )
        kernel_size, arguments = self.draw_geometry(draw)
        batch, more = draw.batch(), [draw.integer(0, self.more) for _ in kernel_size]
        sizes["batch"] = math.prod(batch)
        layer = dict(draw.configuration(self.configurations, self.defaults))
        large = draw.enlarged(self._ranges(draw))
        for name in (*(_KERNEL if layer else ()), *(() if any(batch) else ("batch",))):
            large.pop(name, None)
        if layer:
            kernel_size = (layer.pop("kernel_size"),) * len(kernel_size)
            if "groups" in layer:
                channels = [large.pop(name) for name in _CHANNELS if name in large]
                groups = [*channels, max(2, groups * sizes["in_channels"])][0]
                sizes |= {"groups": groups, "in_channels": 1, "out_channels": layer["groups"]}
            arguments = {**self.defaults, **layer}
        if large.keys() & {*_CHANNELS} and draw.takes("groups") and sizes["groups"] == 3:
            sizes["groups"] = 1
        for name in large.keys() & {*_CHANNELS}:
            large[name] = max(1, large[name] // sizes["groups"])
        kernel_size = tuple(_enlarged_kernel(draw, kernel_size, large))
        sizes = self._fit(sizes | large, kernel_size, arguments, more, large)
        lengths = [sizes[name] for name in _LENGTHS[-len(kernel_size) :]]
        axes = zip(lengths, kernel_size, _by_axis(arguments, len(lengths)), strict=True)
        assume(all(self.accepts(length, taps, **own) for length, taps, own in axes))
        groups = sizes["groups"]
        first, second = (groups * sizes[name] for name in self.channels)
        shapes = {"input": (*batch, groups * sizes["in_channels"], *lengths)}
        if batch:
            shapes["input"] = (sizes["batch"], *shapes["input"][1:])
        shapes["weight"] = (first, second // groups, *kernel_size)
        if draw.present("bias"):
            shapes["bias"] = (groups * sizes["out_channels"],)
        return self.complete(draw, shapes, {**arguments, "groups": groups})

    def _ranges(self, draw: Drawing) -> dict[str, Sizes]:
        """Return how large the sizes of a call may be, by name; channels are those of all groups."""
        axes = self.batched_axes - 2
        ranges = {**dict.fromkeys(_CHANNELS, CHANNELS), **dict.fromkeys(_LENGTHS[-axes:], LENGTHS)}
        if draw.takes("groups"):
            ranges["groups"] = GROUPS
        if draw.supports.batches:
            ranges["batch"] = BATCHES
        if draw.fixed("kernel_size") is None:
            ranges |= dict.fromkeys(_KERNEL[-axes:] if _rectangular(draw) else _KERNEL[-1:], KERNELS)
        return ranges

    def _fit(
        self,
        sizes: dict[str, int],
        kernel_size: tuple[int, ...],
        arguments: dict[str, Any],
        more: list[int],
        large: dict[str, int],
    ) -> dict[str, int]:
        """Make the small sizes smaller beside a large one; add those of the input's axes."""
        names = _LENGTHS[-len(kernel_size) :]
        axes = list(zip(kernel_size, _by_axis(arguments, len(names)), strict=True))
        least = [self.least_length(taps, **own) for taps, own in axes]
        own_lengths = {n: max(a, large.get(n, a + b)) for n, a, b in zip(names, least, more, strict=True)}
        floor = {n: a + min(2, b) for n, a, b in zip(names, least, more, strict=True)}

        def work(each: dict[str, int]) -> int:
            places = (self.positions(each[n], k, **own) for n, (k, own) in zip(names, axes, strict=True))
            results = max(1, each["batch"]) * each["groups"] * each["out_channels"] * math.prod(places)
            return results * (each["in_channels"] * math.prod(kernel_size) + _STORING)

        several, sizes = len(large) > 1, {**sizes, **own_lengths}
        kept = floor if several else floor | {name: sizes[name] for name in large if name in sizes}
        return fitted(sizes, kept, work, MUCH if several else FEW)

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shapes, axes = case.shapes, self.batched_axes - 2
        *batch, channels = shapes["input"][:-axes]
        changes = [
            case.reshaped("input", (1, 1, *shapes["input"])),
            case.reshaped("input", shapes["input"][-axes:]),
            case.reshaped("input", (*batch, channels + 1, *shapes["input"][-axes:])),
            case.reshaped("weight", shapes["weight"][1:]),
        ]
        if "bias" in shapes:
            changes.append(case.reshaped("bias", (shapes["bias"][0] + 1,)))
        return changes

    def norm_bounds(
        self, case: Case, values: Values, results: dict[str, Tensor], bounds: dict[str, Bound]
    ) -> dict[str, Bound]:
        by_norm = normwise(self.reference, self.signature, case, values)
        for name, value in results.items():
            if name in by_norm and not name.endswith("_bias"):
                wider = bounds[name].allowed + by_norm[name].expand_as(value)
                overflow = bounds[name].overflow | (value.abs() + wider > torch.finfo(case.torch_dtype).max)
                bounds[name] = Bound(wider, overflow)
        return bounds

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        first, second, *kernel_size = tensors["weight"].shape
        channels = dict(zip(self.channels, (first, second * arguments.get("groups", 1)), strict=True))
        sizes = {name: channels[name] for name in _CHANNELS}
        bias = {} if "bias" in tensors else {"bias": False}
        return {**sizes, "kernel_size": tuple(kernel_size), **arguments, **bias}


class Conv2d(Convolution):
    """torch.nn.functional.conv2d, judged as a sum of products."""

    name = "conv2d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.Conv2d
    arguments = ("bias", *_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, *COMPLEX, *INTEGERS)
    configurations: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "padding": 1, "groups": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 1},
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 7, "stride": 2, "padding": 3},
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
    )
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
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

    def draw_geometry(self, draw: Drawing) -> tuple[tuple[int, ...], dict[str, Any]]:
        kernel_size, dilation = as_pair(draw.pair("kernel_size", 1, 5)), draw.pair("dilation", 1, 3)
        padding = draw_padding(draw, lambda: draw.pair("padding", 0, 4))
        stride = 1 if padding == "same" else draw.pair("stride", 1, 4)
        return kernel_size, {"stride": stride, "padding": padding, "dilation": dilation}

    def least_length(self, taps: int, **arguments: Any) -> int:
        window, margin = _window(taps, **arguments)
        return max(1, window - 2 * margin)

    def positions(self, length: int, taps: int, **arguments: Any) -> int:
        if arguments["padding"] == "same":
            return length
        window, margin = _window(taps, **arguments)
        return (length + 2 * margin - window) // int(arguments["stride"]) + 1

    def accepts(self, length: int, taps: int, **arguments: Any) -> bool:
        """Return whether some tap meets the image; else torch 2.14 crashes (channels_last, with a bias)."""
        _, margin = _window(taps, **arguments)
        return some_tap_meets(length, arguments["stride"], margin, arguments["dilation"], taps)

    def draw_invalid_case(self, draw: Drawing) -> Case:
        invalid = super().draw_invalid_case(draw)
        # Where the batch is empty, and there only, torch 2.14 takes a dilation of zero or less.
        assume(0 not in invalid.shapes["input"][:1] or invalid.keywords.get("dilation") not in (0, -2))
        return invalid

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shapes = case.shapes
        changes = [
            *super().invalid_changes(draw, case),
            case.reshaped("input", (*shapes["input"][:-1], 0)),
            case.reshaped("weight", (*shapes["weight"][:2], 99, *shapes["weight"][3:])),
            case.retyped("weight", "float64" if case.dtype == "float32" else "float32"),
        ]
        return [*changes, case.reshaped("bias", (1, *shapes["bias"]))] if "bias" in shapes else changes

    def remainders(self, case: Case) -> tuple[int, ...]:
        kernel_size, given = case.shapes["weight"][2:], {**self.defaults, **case.keywords}
        lengths = case.shapes["input"][-len(kernel_size) :]
        return remainders(lengths, kernel_size, given["stride"], given["padding"], given["dilation"])

    @property
    def other_ways(self) -> tuple[Call, ...]:
        """Leave the padding out, as torch's own paths do or not do, depending on the shapes."""
        return (convolve_inside,)


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
    axes = weight.ndim - 2
    if input.ndim == axes + 1:
        return convolve_inside(input[None], weight, bias, stride, padding, dilation, groups)[0]
    each_dilation = enumerate(numbers(dilation, axes))
    around = [_sides(padding, axis, axes, weight.shape[2 + axis], own) for axis, own in each_dilation]
    widths = [size for sides in reversed(around) for size in sides]
    wide = accumulator_of(input.dtype)
    pixels = _windows(pad(input.to(wide), widths), weight, stride, dilation)
    inside = _windows(pad(torch.ones_like(input[:1, :1]), widths), weight, stride, dilation) != 0
    batch, channels, *rest = pixels.shape
    outs = weight.shape[0] // groups
    taps = weight.to(wide).reshape(groups, outs, channels // groups, *[1] * axes, *weight.shape[2:])
    products = pixels.reshape(batch, groups, 1, channels // groups, *rest) * taps
    of_window = (3, *range(-axes, 0))
    sums = torch.where(inside[:, None, None], products, 0).sum(of_window).flatten(1, 2)
    return (sums if bias is None else sums + bias.to(wide).reshape(-1, *[1] * axes)).to(input.dtype)


def _window(taps: int, stride: int, padding: int | str, dilation: int) -> tuple[int, int]:
    """Return the pixels from the first to the last tap of an axis, and the padding; no less for 'same'."""
    window = dilation * (taps - 1) + 1
    return window, padding if isinstance(padding, int) else {"same": window, "valid": 0}[padding]


def _by_axis(arguments: dict[str, Any], axes: int) -> list[dict[str, Any]]:
    """Return the arguments but for the groups for each axis."""
    spread = {
        name: value if isinstance(value, tuple) else (value,) * axes
        for name, value in arguments.items()
        if name != "groups"
    }
    return [{name: value[axis] for name, value in spread.items()} for axis in range(axes)]


def _enlarged_kernel(draw: Drawing, kernel_size: tuple[int, ...], large: dict[str, int]) -> Iterator[int]:
    """Return the kernel_size with the large axes; on all of them, where it has to be square."""
    for taps, name in zip(kernel_size, _KERNEL[-len(kernel_size) :], strict=True):
        yield max(taps, large.get(name if _rectangular(draw) else _KERNEL[-1], 1))


def _rectangular(draw: Drawing) -> bool:
    """Return whether kernels may have more rows than columns."""
    return draw.supports.rectangular and "kernel_size" not in draw.supports.square


def numbers(value: Any, axes: int) -> tuple[int, ...]:
    """Return an argument's value for each axis: one value is that of all."""
    values = value if isinstance(value, tuple) else (value,)
    return values * axes if len(values) == 1 else values


def _sides(padding: Any, axis: int, axes: int, taps: int, dilation: int) -> tuple[int, int]:
    """Return the padding before and after one axis; of an uneven 'same', torch pads one more after it."""
    if padding == "same":
        total = dilation * (taps - 1)
        return total // 2, total - total // 2
    number = 0 if padding == "valid" else numbers(padding, axes)[axis]
    return number, number


def _windows(padded: Tensor, weight: Tensor, stride: Any, dilation: Any) -> Tensor:
    """View (N, C, H, W) as (N, C, OH, OW, KH, KW)."""
    windows, axes = padded, weight.ndim - 2
    for axis, (each, step) in enumerate(zip(numbers(stride, axes), numbers(dilation, axes), strict=True)):
        windows = windows.unfold(2 + axis, step * (weight.shape[2 + axis] - 1) + 1, each)
    taps: Any = (..., *[slice(None, None, step) for step in numbers(dilation, axes)])
    return windows[taps]


def draw_numbers(
    draw: Drawing, name: str, low: int, high: int | tuple[int, ...], axes: int
) -> int | tuple[int, ...]:
    """Draw an argument for each axis: one int for all of them or a tuple; `low` where it is not claimed.

    Args:
        draw: draws it.
        name: the argument.
        low: the least value, torch's default.
        high: the greatest value, or that for each axis.
        axes: their number.
    """
    fixed = draw.fixed(name)
    if fixed is not None or not draw.takes(name):
        return low if fixed is None else fixed
    highs = numbers(high, axes)
    whole = name in draw.supports.square
    value = draw.integer(low, min(highs) if whole else highs[0])
    if not whole and (len({*highs}) > 1 or (draw.supports.rectangular and draw.boolean())):
        return value, *(draw.integer(low, each) for each in highs[1:])
    return value


def draw_padding(draw: Drawing, number: Callable[[], T]) -> T | int | str:
    """Draw the padding as torch's words, or as what `number` draws; none where it is not claimed."""
    if not draw.takes("padding") or draw.fixed("padding") is not None:
        return draw.fixed("padding") or 0
    words = ("number", "number", "same", "number", "valid") if draw.supports.string_padding else ("number",)
    word = draw.choice(words)
    return number() if word == "number" else word


OPERATORS = (Conv2d(),)
