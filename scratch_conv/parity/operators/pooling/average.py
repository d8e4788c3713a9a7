"""avg_pool2d: how its cases are drawn."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import KERNELS
from scratch_conv.parity.drawing.strategies import IMAGES, Drawing, as_pair, remainders
from scratch_conv.parity.operators.sums import SumOfProducts

_DEFAULTS = {
    "stride": None,
    "padding": 0,
    "ceil_mode": False,
    "count_include_pad": True,
    "divisor_override": None,
}
_CHOICES = {
    "ceil_mode": (False, True),
    "count_include_pad": (True, False),
    "divisor_override": (None, None, None, 1, 2, 3, 7),
}


_ROWS, _COLUMNS = 0, 1  # of the window; the image's axes are counted from the end


class Pooling(SumOfProducts):
    """What the kinds of pooling have in common.

    Attributes:
        axes: how many axes the windows have.
    """

    signature = ("input",)
    axes: ClassVar[int] = 2

    def draw_windows(self, draw: Drawing) -> dict[str, Any]:
        """Draw kernel_size, stride and padding."""
        kernel_size = draw.pair("kernel_size", 1, 5)
        height, width = as_pair(kernel_size)
        stride = draw.optional_pair("stride", 1, 4)
        padding = draw.pair("padding", 0, (height // 2, width // 2))
        return {"kernel_size": kernel_size, "stride": stride, "padding": padding}

    def least_lengths(self, kernel_size: Any, padding: Any, dilation: Any = 1, **others: Any) -> list[int]:
        """Return the height and width that an image has at least."""
        axes = zip(as_pair(kernel_size), as_pair(padding), as_pair(dilation), strict=True)
        # A window that steps over the whole input has no maximum; torch 2.14 then writes out of bounds.
        return [max(d * (k - 1) + 1 - 2 * p, d) for k, p, d in axes]

    def draw_images(self, draw: Drawing, arguments: dict[str, Any]) -> Case:
        """Draw what is pooled with these arguments, or with those of a layer of a known network."""
        batch, channels, more = draw.batch(), draw.integer(1, 3), [draw.integer(0, 7) for _ in range(2)]
        layer = draw.configuration(self.configurations, self.defaults)
        arguments = {**self.defaults, **layer} if layer else arguments
        sizes = {axis: each for axis, each in IMAGES.items() if draw.supports.batches or axis > -4}
        rectangular = draw.supports.rectangular and "kernel_size" not in draw.supports.square
        if draw.fixed("kernel_size") is None:
            sizes |= {_COLUMNS: KERNELS, **({_ROWS: KERNELS} if rectangular else {})}
        large = draw.enlarged(sizes)
        if not any(batch):
            large.pop(-4, None)
        windows = [large.pop(each, 0) for each in (_ROWS, _COLUMNS)]
        if any(windows) and not layer:
            pair = tuple(map(max, windows, as_pair(arguments["kernel_size"])))
            arguments["kernel_size"] = pair if rectangular else pair[_COLUMNS]
        least = self.least_lengths(**arguments)
        lengths = (a + b for a, b in zip(least, more, strict=True))
        taps = math.prod(as_pair(arguments["kernel_size"]))
        shape = draw.lengthened((*batch, channels, *lengths), large, least, taps)
        return self.complete(draw, {"input": shape}, arguments)

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape = case.shapes["input"]
        return [case.reshaped("input", bad) for bad in ((1, 1, *shape), shape[-2:], (*shape[:-1], 0))]


class AvgPool2d(Pooling):
    """torch.nn.functional.avg_pool2d: a sum divided once, or of terms times the reciprocal."""

    name = "avg_pool2d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.AvgPool2d
    arguments: ClassVar[tuple[str, ...]] = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    dtypes: ClassVar[tuple[str, ...]] = (*FLOATS, "int64")
    linear = frozenset({"input"})
    configurations: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 7},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 1, "padding": 1},
        {"kernel_size": 3, "stride": 2},
    )
    choices = _CHOICES
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = (
        {"kernel_size": 0},
        {"kernel_size": (2, 2, 2)},
        {"kernel_size": 2, "padding": 2},
        {"padding": -1},
        {"stride": 0},
        {"stride": -1},
        {"divisor_override": 0},
        {"kernel_size": 99},
        {"kernel_size": 2.5},
    )

    def draw_case(self, draw: Drawing) -> Case:
        return self.draw_images(draw, self.draw_windows(draw))

    def counting(self, case: Case) -> Case:
        """Return the call that sums without dividing."""
        return case.changed(divisor_override=1)

    def remainders(self, case: Case) -> tuple[int, ...]:
        given = {"dilation": 1, **self.defaults, **case.keywords}
        lengths = case.shapes["input"][-self.axes :]
        words = (given[name] for name in ("kernel_size", "stride", "padding", "dilation"))
        return remainders(lengths, *words)

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return n - 1 for the additions, and two: for the product and for the reciprocal itself."""
        return count + 1

    def greatest_divisor(self, result: str, case: Case) -> float:
        """Return the divisor of a window that lies inside."""
        height, width = as_pair(case.keywords["kernel_size"])
        return float(case.keywords.get("divisor_override", height * width))

    def divides(self, case: Case) -> bool:
        """Return whether some divisor is not a power of two."""
        arguments, area = case.keywords, int(self.greatest_divisor("output", case))
        clipped = arguments.get("ceil_mode", False) or not arguments.get("count_include_pad", True)
        return bool(area & (area - 1)) or (clipped and "divisor_override" not in arguments)


OPERATORS = (AvgPool2d(),)
