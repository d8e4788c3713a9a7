"""relu: how its cases are drawn."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.case import Case
from scratch_conv.parity.drawing import Draw, draw_arrays, draw_dtype, draw_kind, draw_wanted
from scratch_conv.parity.operators.sums import SumOfProducts
from scratch_conv.parity.supports import FLOATS, INTEGERS, Supports


class Rectifier(SumOfProducts):
    """torch.nn.functional.relu: every result is picked, hence exact."""

    name = "relu"
    signature = ("input",)
    arguments = ()
    dtypes = (*FLOATS, *INTEGERS)
    linear = frozenset[str]()

    def cases(self, supports: Supports) -> st.SearchStrategy[Case]:
        """Draw calls that torch accepts."""
        return _cases(supports)

    def invalid_cases(self, supports: Supports) -> st.SearchStrategy[Case]:
        """Draw calls of a complex tensor, which torch refuses."""
        return _cases(supports).map(lambda case: case.retyped("input", "complex64")).filter(_finite)

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.ReLU: none."""
        return {}

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return 0: nothing is summed."""
        return torch.zeros_like(count)


def _finite(case: Case) -> bool:
    return "special" not in case.kinds()


@st.composite
def _cases(draw: Draw, supports: Supports) -> Case:
    dtype = draw_dtype(draw, supports, Rectifier.dtypes)
    shape = tuple(draw(st.lists(st.integers(0 if supports.empty else 1, 5), max_size=4)))
    assume(supports.unbatched or len(shape) > 1)
    arrays, grad_output = draw_arrays(draw, supports, {"input": shape}, draw_kind(draw, supports, dtype))
    wanted, order = draw_wanted(draw, supports, ("input",), dtype)
    return Case("relu", arrays, (), dtype, wanted, grad_output, order)
