"""Operators whose results are sums of products, and how far these may lie from torch's."""

from __future__ import annotations

import torch
from torch import Tensor

from scratch_conv.parity.drawing.arrays import INTEGER_KINDS
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import INTEGERS
from scratch_conv.parity.operators.calling import Values, run
from scratch_conv.parity.operators.operator import Bound, Operator, exact
from scratch_conv.parity.operators.rounding import exactly_summable, sum_bound


class SumOfProducts(Operator):
    """An operator whose results are sums of products: convolution, pooling, linear layers.

    Its gradients, and theirs, are sums of products too. Σ|x||w| is the same operator on absolute values, and
    the number of products is the same operator on ones.
    """

    def counting(self, case: Case) -> Case:
        """Return the call that, on ones, counts the products."""
        return case

    def roundings(self, result: str, count: Tensor, case: Case) -> Tensor:
        """Return how many roundings a product goes through, given how many are summed."""
        return count

    def greatest_divisor(self, result: str, case: Case) -> float:
        """Return what a sum is divided by at most: before that it may overflow, where the result does not."""
        return 1.0

    def divides(self, case: Case) -> bool:
        """Return whether a result is divided on the way by what is not a power of two."""
        return False

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        if case.dtype in (*INTEGERS, "bool"):
            return {name: exact(value) for name, value in results.items()}
        nonlinear = frozenset(values.tensors) - self.linear
        absolute = values.map(lambda t: t.abs().nan_to_num(0.0, 0.0), nonlinear)
        ones = values.map(lambda t: torch.ones_like(t.abs()), nonlinear)
        magnitudes = run(self.reference, case, absolute, self.signature).results
        counts = run(self.reference, self.counting(case), ones, self.signature).results
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
            summed = magnitude * self.greatest_divisor(name, case)
            bounds[name] = Bound(allowed, (summed > torch.finfo(case.torch_dtype).max) & (count > 0))
        return bounds
