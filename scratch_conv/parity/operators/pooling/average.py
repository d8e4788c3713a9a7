"""avg_pool2d: how its cases are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.strategies import Drawing, as_pair, remainders
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


class Pooling(SumOfProducts):
    """What the kinds of pooling have in common."""

    signature = ("input",)

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape = case.shapes["input"]
        return [case.reshaped("input", bad) for bad in ((1, 1, *shape), shape[-2:], (*shape[:-1], 0))]


class AvgPool2d(Pooling):
    """torch.nn.functional.avg_pool2d: a sum divided once, or of terms times the reciprocal."""

    name = "avg_pool2d"
    module = torch.nn.AvgPool2d
    arguments = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, "int64")
    linear = frozenset({"input"})
    choices = _CHOICES
    invalid_arguments = (
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
        kernel_size = draw.pair("kernel_size", 1, 5)
        height, width = as_pair(kernel_size)
        padding = draw.pair("padding", 0, (height // 2, width // 2))
        above, left = as_pair(padding)
        arguments = {
            "kernel_size": kernel_size,
            "stride": draw.optional_pair("stride", 1, 4),
            "padding": padding,
        }
        return self.complete(draw, {"input": draw.image((height - 2 * above, width - 2 * left))}, arguments)

    def counting(self, case: Case) -> Case:
        """Return the call that sums without dividing."""
        return case.changed(divisor_override=1)

    def remainders(self, case: Case) -> tuple[int, ...]:
        given = {"dilation": 1, **self.defaults, **case.keywords}
        lengths = case.shapes["input"][-2:]
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
