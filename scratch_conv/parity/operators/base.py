"""What is known of an operator: how its cases are drawn and how far a result may lie from torch's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.arrays import INTEGER_KINDS
from scratch_conv.parity.case import Case
from scratch_conv.parity.rounding import exactly_summable, sum_bound
from scratch_conv.parity.running import Call, Values, run
from scratch_conv.parity.supports import Supports


@dataclass
class Bound:
    """How far one result may lie from the reference.

    Attributes:
        allowed: the greatest distance, elementwise, float64.
        overflow: where partial sums can overflow in one order of summation and not in another.
    """

    allowed: Tensor
    overflow: Tensor


class Operator(ABC):
    """An operator of torch.nn.functional.

    As it stands, the class judges results that are sums of products, linear in each of the tensors named in
    `linear`: convolutions, pooling, linear layers, and their gradients. Σ|x||w| is the same operator on
    absolute values, and the number of products is the same operator on ones.

    Attributes:
        name: its name in torch.nn.functional.
        signature: the names of its tensors, in torch's order.
        arguments: the names of its other arguments.
        linear: the names of the tensors in which it is linear.
        inputs: the names of the tensors that a layer is called with; it holds the others.
        may_alias: whether torch itself may return the memory it was given.
    """

    name: ClassVar[str]
    signature: ClassVar[tuple[str, ...]]
    arguments: ClassVar[tuple[str, ...]]
    linear: ClassVar[frozenset[str]]
    inputs: ClassVar[tuple[str, ...]] = ("input",)
    may_alias: ClassVar[bool] = False

    @property
    def reference(self) -> Call:
        """Torch's own implementation."""
        function: Call = getattr(torch.nn.functional, self.name)
        return function

    @abstractmethod
    def cases(self, supports: Supports) -> st.SearchStrategy[Case]:
        """Draw calls that torch accepts."""

    @abstractmethod
    def invalid_cases(self, supports: Supports) -> st.SearchStrategy[Case]:
        """Draw calls most of which torch refuses."""

    @abstractmethod
    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments that construct the layer of torch.nn for a call with these."""

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return how many roundings a product goes through, given how many are summed."""
        return count

    def divides(self, case: Case) -> bool:
        """Tell whether a result is divided on the way by what is not a power of two."""
        return False

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        """Return how far each of a candidate's results may lie from the reference's.

        Arguments:
            case: the call.
            values: its tensors in float64 or complex128.
            results: the reference's results in that precision.
        """
        nonlinear = frozenset(values.tensors) - self.linear
        absolute = values.map(lambda t: t.abs().nan_to_num(0.0, 0.0), nonlinear)
        ones = values.map(lambda t: torch.ones_like(t.abs()), nonlinear)
        magnitudes = run(self.reference, case, absolute, self.signature)
        counts = run(self.reference, case, ones, self.signature)
        integers = case.kinds() <= INTEGER_KINDS and not self.divides(case)
        bounds = {}
        for name, value in results.items():
            magnitude = magnitudes[name]
            if name == "indices":
                bounds[name] = exact(value)
                continue
            count = self.roundings(name, counts[name], case)
            if integers and exactly_summable(magnitude, case.torch_dtype):
                bounds[name] = exact(value)
                continue
            stored = 3 if name.startswith("second_") else 1
            allowed = sum_bound(value, magnitude, count, case.torch_dtype, stored)
            bounds[name] = Bound(allowed, (magnitude > torch.finfo(case.torch_dtype).max) & (count > 0))
        return bounds


def exact(value: Tensor) -> Bound:
    """Return the bound of a result that has to be equal."""
    return Bound(torch.zeros(value.shape, dtype=torch.float64), torch.zeros(value.shape, dtype=torch.bool))
