"""avg_pool2d: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS, Supports
from scratch_conv.parity.drawing.strategies import (
    Draw,
    as_pair,
    draw_arrays,
    draw_batch,
    draw_dtype,
    draw_kind,
    draw_length,
    draw_pair,
    draw_pool_padding,
    draw_wanted,
    given_arguments,
)
from scratch_conv.parity.operators.sums import SumOfProducts

_DEFAULTS = {
    "stride": None,
    "padding": 0,
    "ceil_mode": False,
    "count_include_pad": True,
    "divisor_override": None,
}


class AvgPool2d(SumOfProducts):
    """torch.nn.functional.avg_pool2d: a sum divided once, or of terms times the reciprocal."""

    name = "avg_pool2d"
    module = torch.nn.AvgPool2d
    signature = ("input",)
    arguments = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, "int64")
    linear = frozenset(signature)

    def draw_case(self, draw: Draw, supports: Supports) -> Case:
        dtype = draw_dtype(draw, supports, self.dtypes)
        kernel_size = draw_pair(draw, supports, 1, 5)
        padding = draw_pool_padding(draw, supports, as_pair(kernel_size))
        stride = draw_pair(draw, supports, 1, 4) if supports.takes("stride") and draw(st.booleans()) else None
        sizes = zip(as_pair(kernel_size), as_pair(padding), strict=True)
        lengths = tuple(draw_length(draw, k - 2 * p) for k, p in sizes)
        shapes = {"input": (*draw_batch(draw, supports), draw(st.integers(1, 3)), *lengths)}
        arrays, grad_output = draw_arrays(draw, supports, shapes, draw_kind(draw, supports, dtype))
        wanted, order = draw_wanted(draw, supports, ("input",), dtype)
        arguments: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        arguments["ceil_mode"] = supports.takes("ceil_mode") and draw(st.booleans())
        arguments["count_include_pad"] = not supports.takes("count_include_pad") or draw(st.booleans())
        divisors = st.sampled_from((None, None, None, 1, 2, 3, 7))
        arguments["divisor_override"] = draw(divisors) if supports.takes("divisor_override") else None
        return Case(
            "avg_pool2d", arrays, given_arguments(arguments, _DEFAULTS), dtype, wanted, grad_output, order
        )

    def draw_invalid_case(self, draw: Draw, supports: Supports) -> Case:
        """Draw a call that differs from an accepted one in one argument."""
        case = self.draw_case(draw, supports)
        shape = case.tensors["input"].shape
        changes = [case.changed(**bad) for bad in _BAD_ARGUMENTS]
        changes += [case.reshaped("input", (1, 1, *shape)), case.reshaped("input", shape[-2:])]
        changes += [case.reshaped("input", (*shape[:-1], 0))]
        return draw(st.sampled_from(changes))

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.AvgPool2d."""
        return arguments

    def counting(self, case: Case) -> Case:
        """Return the call that sums without dividing."""
        return case.changed(divisor_override=1)

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


_BAD_ARGUMENTS: tuple[dict[str, Any], ...] = (
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


OPERATORS = (AvgPool2d(),)
