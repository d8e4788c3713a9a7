"""Pooling of signals and of volumes: how its cases are drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import BATCHES, CHANNELS, LENGTHS, Sizes
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.pooling.adaptive_average import AdaptiveAvgPool2d
from scratch_conv.parity.operators.pooling.average import AvgPool2d, Pooling
from scratch_conv.parity.operators.pooling.maximum import MaxPool2d, with_lowest_windows


def for_each_axis(value: Any, axes: int) -> tuple[Any, ...]:
    """Return an argument's value for each axis."""
    values = value if isinstance(value, tuple) else (value,)
    return values * axes if len(values) == 1 else values


def image_sizes(axes: int) -> dict[int, Sizes]:
    """Return how large the axes of an input may be, with so many after its channels."""
    return {-axes - 2: BATCHES, -axes - 1: CHANNELS, **{-axis - 1: LENGTHS for axis in range(axes)}}


class _OfAxes(Pooling):
    """Draws windows of any number of axes."""

    def draw_windows(self, draw: Drawing) -> dict[str, Any]:
        kernel_size = self._draw_numbers(draw, "kernel_size", 1, (4,) * self.axes)
        taps = for_each_axis(kernel_size, self.axes)
        stride = None
        if draw.fixed("stride") is not None or "stride" in draw.supports.square or draw.boolean():
            stride = self._draw_numbers(draw, "stride", 1, (3,) * self.axes) if draw.takes("stride") else None
        padding = self._draw_numbers(draw, "padding", 0, tuple(each // 2 for each in taps))
        return {"kernel_size": kernel_size, "stride": stride, "padding": padding}

    def _draw_numbers(self, draw: Drawing, name: str, low: int, high: tuple[int, ...]) -> Any:
        """Draw one int for all axes, or a tuple with one for each; `low` where it is not claimed."""
        fixed = draw.fixed(name)
        if fixed is not None or not draw.takes(name):
            return low if fixed is None else fixed
        rectangular = draw.supports.rectangular and name not in draw.supports.square
        if len({*high}) > 1 and name not in draw.supports.square:
            return tuple(draw.integer(low, each) for each in high)
        if rectangular and draw.boolean():
            return tuple(draw.integer(low, each) for each in high)
        return draw.integer(low, min(high))

    def draw_images(self, draw: Drawing, arguments: dict[str, Any]) -> Case:
        batch, channels = draw.batch(), draw.integer(1, 3)
        more = [draw.integer(0, 12 // self.axes) for _ in range(self.axes)]
        layer = draw.configuration(self.configurations, self.defaults)
        arguments = {**self.defaults, **layer} if layer else arguments
        least = self.least_lengths(**arguments)
        shape = (*batch, channels, *(a + b for a, b in zip(least, more, strict=True)))
        sizes = image_sizes(self.axes)
        if not any(batch) or not draw.supports.batches:
            del sizes[-self.axes - 2]
        large = draw.enlarged(sizes)
        taps = math.prod(for_each_axis(arguments["kernel_size"], self.axes))
        return self.complete(draw, {"input": draw.lengthened(shape, large, least, taps)}, arguments)

    def least_lengths(self, kernel_size: Any, padding: Any, dilation: Any = 1, **others: Any) -> list[int]:
        given = (for_each_axis(each, self.axes) for each in (kernel_size, padding, dilation))
        # A window that steps over the whole input has no maximum; torch 2.14 then writes out of bounds.
        return [max(d * (k - 1) + 1 - 2 * p, d) for k, p, d in zip(*given, strict=True)]

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape = case.shapes["input"]
        bad = ((1, 1, *shape), shape[-self.axes :], (*shape[:-1], 0))
        return [case.reshaped("input", each) for each in bad]


class MaxPool3d(_OfAxes, MaxPool2d):
    """torch.nn.functional.max_pool3d."""

    name = "max_pool3d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.MaxPool3d
    axes = 3
    batched_axes = 5
    configurations: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": (1, 2, 2), "stride": (1, 2, 2)},
        {"kernel_size": (1, 3, 3), "stride": (1, 2, 2), "padding": (0, 1, 1)},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 1, "padding": 1},
    )
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 0},
        {"kernel_size": (2, 2)},
        {"kernel_size": 2, "padding": 2},
        {"kernel_size": 3, "padding": (1, 1, 2)},
        {"padding": -1},
        {"stride": 0},
        {"stride": (1, 0, 1)},
        {"stride": -1},
        {"dilation": 0},
        {"kernel_size": 99},
        {"kernel_size": 2.5},
    )

    def draw_case(self, draw: Drawing) -> Case:
        dilation = self._draw_numbers(draw, "dilation", 1, (2,) * self.axes)
        case = self.draw_images(draw, {**self.draw_windows(draw), "dilation": dilation})
        if len(case.shapes["input"]) == 4:
            case = _without_channels_last(case)
        return with_lowest_windows(draw, case)


class MaxPool1d(MaxPool3d):
    """torch.nn.functional.max_pool1d."""

    name = "max_pool1d"
    module = torch.nn.MaxPool1d
    axes = 1
    batched_axes = 3
    dtypes = FLOATS  # torch takes integers where the indices are returned, and only there
    configurations = ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1})
    invalid_arguments = (
        {"kernel_size": 0},
        {"kernel_size": (2, 2)},
        {"kernel_size": 2, "padding": 2},
        {"padding": -1},
        {"stride": 0},
        {"stride": (1, 1)},
        {"dilation": -1},
        {"kernel_size": 99},
        {"kernel_size": 2.5},
    )

    def draw_case(self, draw: Drawing) -> Case:
        case = super().draw_case(draw)
        # The strides of torch's output depend on whether it may be differentiated.
        return case.arranged("input", "contiguous") if case.wanted else case


class AvgPool3d(_OfAxes, AvgPool2d):
    """torch.nn.functional.avg_pool3d; it refuses kernels that are larger than the input."""

    name = "avg_pool3d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.AvgPool3d
    axes = 3
    batched_axes = 5
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64", "int64")
    configurations: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 2},
        {"kernel_size": (1, 2, 2), "stride": (1, 2, 2)},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (2, 7, 7), "stride": 1},
    )
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 0},
        {"kernel_size": (2, 2)},
        {"kernel_size": 2, "padding": 2},
        {"padding": -1},
        {"stride": 0},
        {"stride": -1},
        {"divisor_override": 0},
        {"kernel_size": 99},
        {"kernel_size": 2.5},
    )

    def least_lengths(self, kernel_size: Any, padding: Any, dilation: Any = 1, **others: Any) -> list[int]:
        return list(for_each_axis(kernel_size, self.axes))

    def greatest_divisor(self, result: str, case: Case) -> float:
        taps = for_each_axis(case.keywords["kernel_size"], self.axes)
        return float(case.keywords.get("divisor_override", math.prod(taps)))


class AvgPool1d(AvgPool3d):
    """torch.nn.functional.avg_pool1d, which has no divisor_override."""

    name = "avg_pool1d"
    module = torch.nn.AvgPool1d
    axes = 1
    batched_axes = 3
    arguments = tuple(each for each in AvgPool2d.arguments if each != "divisor_override")
    defaults = {name: AvgPool2d.defaults[name] for name in arguments}  # noqa: RUF012
    choices = {name: AvgPool2d.choices[name] for name in ("ceil_mode", "count_include_pad")}  # noqa: RUF012
    dtypes = (*FLOATS, "int64")
    configurations = ({"kernel_size": 2}, {"kernel_size": 3, "stride": 1, "padding": 1})
    invalid_arguments = (
        {"kernel_size": 0},
        {"kernel_size": (2, 2)},
        {"kernel_size": 2, "padding": 2},
        {"padding": -1},
        {"stride": 0},
        {"stride": (1, 1)},
        {"kernel_size": 99},
        {"kernel_size": 2.5},
    )

    def counting(self, case: Case) -> Case:
        return case

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return one less than the window's size, and two; so many windows meet an element at most."""
        return (count > 0) * (self.greatest_divisor(result, case) + 1)


class AdaptiveAvgPool3d(AdaptiveAvgPool2d):
    """torch.nn.functional.adaptive_avg_pool3d."""

    name = "adaptive_avg_pool3d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.AdaptiveAvgPool3d
    axes = 3
    batched_axes = 5
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"output_size": bad} for bad in (-1, (1, 1, -2), (1, 2), (2,), 2.5, "small")
    )

    def draw_case(self, draw: Drawing) -> Case:
        case = draw_bins(self, draw)
        # Torch 2.14 refuses to differentiate an empty output.
        return replace(case, wanted=(), order=1) if case.keywords["output_size"] == 0 else case

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        return invalid_bins(self, case)


class AdaptiveAvgPool1d(AdaptiveAvgPool3d):
    """torch.nn.functional.adaptive_avg_pool1d."""

    name = "adaptive_avg_pool1d"
    module = torch.nn.AdaptiveAvgPool1d
    axes = 1
    batched_axes = 3
    invalid_arguments = tuple({"output_size": bad} for bad in (-1, (-2,), (1, 2), (None,), 2.5, "small"))


class AdaptiveMaxPool2d(Pooling):
    """torch.nn.functional.adaptive_max_pool2d: its output is picked, hence exact; its gradient is a sum."""

    name = "adaptive_max_pool2d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.AdaptiveMaxPool2d
    arguments: ClassVar[tuple[str, ...]] = ("return_indices",)
    defaults = {"return_indices": False}  # noqa: RUF012
    choices = {"return_indices": (False, True)}  # noqa: RUF012
    dtypes: ClassVar[tuple[str, ...]] = FLOATS
    piecewise_linear = True
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"output_size": bad} for bad in (-1, (1, -2), (1, 2, 3), (2,), 2.5, "small")
    )

    def draw_case(self, draw: Drawing) -> Case:
        case = draw_bins(self, draw)
        return replace(case, wanted=(), order=1) if case.keywords["output_size"] == 0 else case

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        return invalid_bins(self, case)

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return one less than there are summands; the output and second derivatives pick."""
        return (count - 1).clamp(min=0) if result == "grad_input" else torch.zeros_like(count)


class AdaptiveMaxPool3d(AdaptiveMaxPool2d):
    """torch.nn.functional.adaptive_max_pool3d."""

    name = "adaptive_max_pool3d"
    module = torch.nn.AdaptiveMaxPool3d
    axes = 3
    batched_axes = 5
    invalid_arguments = AdaptiveAvgPool3d.invalid_arguments


class AdaptiveMaxPool1d(AdaptiveMaxPool2d):
    """torch.nn.functional.adaptive_max_pool1d."""

    name = "adaptive_max_pool1d"
    module = torch.nn.AdaptiveMaxPool1d
    axes = 1
    batched_axes = 3
    invalid_arguments = AdaptiveAvgPool1d.invalid_arguments


def _without_channels_last(case: Case) -> Case:
    """Return a call of one volume whose strides are not those of channels_last images: torch 2.14 fails on
    them, "Unsupported memory format".
    """
    arrays = [*case.tensors.items(), ("grad_output", case.grad_output)]
    *tensors, (_, grad_output) = (
        (name, replace(each, layout="contiguous") if each.layout == "channels_last" else each)
        for name, each in arrays
    )
    return replace(case, arrays=tuple(tensors), grad_output=grad_output)


def draw_bins(operator: Pooling, draw: Drawing) -> Case:
    """Draw a call that cuts the last axes of an input into bins."""
    axes = operator.axes
    shape = (*draw.batch(), draw.integer(1, 3), *(draw.integer(1, 8) for _ in range(axes)))
    shapes = {"input": draw.lengthen(shape, image_sizes(axes))}
    size: Any = draw.integer(0 if draw.supports.empty else 1, 6)
    if draw.fixed("output_size") is not None:
        size = draw.fixed("output_size")
    elif draw.supports.rectangular and draw.boolean():
        own = (None,) if axes > 1 else ()
        size = tuple(draw.choice((1, 2, 3, 5, *own)) for _ in range(axes))
    return operator.complete(draw, shapes, {"output_size": size})


def invalid_bins(operator: Pooling, case: Case) -> list[Case]:
    """Return a call that cuts axes into bins with one change each that torch refuses, most often."""
    shape = case.shapes["input"]
    bad = ((1, 1, *shape), shape[-operator.axes :], (*shape[:-1], 0))
    *same, empty = (case.reshaped("input", each) for each in bad)
    return [*same, empty.changed(output_size=2), case.retyped("input", "int64").changed(output_size=2)]


OPERATORS = (
    MaxPool1d(),
    MaxPool3d(),
    AvgPool1d(),
    AvgPool3d(),
    AdaptiveAvgPool1d(),
    AdaptiveAvgPool3d(),
    AdaptiveMaxPool1d(),
    AdaptiveMaxPool2d(),
    AdaptiveMaxPool3d(),
)
