"""What is known of an operator: how its cases are drawn and how far a result may lie from torch's."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.drawing.arrays import Kind
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.drawing.strategies import Drawing, drawn
from scratch_conv.parity.operators.calling import UPDATED, Call, Values
from scratch_conv.parity.operators.rounding import accumulator_of, stored_bound


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

    Attributes:
        name: its name in torch.nn.functional.
        module: its module in torch.nn.
        signature: the names of its tensors, in torch's order.
        parted: whether other arguments stand between its tensors: those after the input go by name.
        arguments: the names of its other arguments.
        defaults: the values of the arguments that torch's function has defaults for; a stride of None is the
            kernel_size.
        implied: the names of arguments that a candidate may lack though torch's differ from call to call: it
            is called for one value of them.
        inputs: the names of the tensors that a layer is called with; it holds the others.
        constructed: the names of the tensors that a layer's constructor is given.
        batched_axes: how many axes an input has at least that is a batch.
        dtypes: the dtypes that torch takes on a CPU.
        configurations: the arguments of layers of known networks, which are drawn as they stand.
        choices: the values of the arguments that are drawn one by one, torch's default first.
        invalid_arguments: changes of the arguments that torch refuses, most often.
        linear: the names of the tensors in which it is linear.
        piecewise_linear: whether it is linear in the input between the points where its derivative jumps.
        random: whether it draws random numbers, in the order of the input's memory: values depend on strides.
        views: whether the output is a view of the input where the strides allow it.
        accurate_twice: whether torch's own second derivatives lie within the bounds.
        normwise: whether there is a bound by norm for its results.
        signed_zeros: whether the sign of a zero in the output is compared: where values are copied.
    """

    name: ClassVar[str]
    module: ClassVar[type[torch.nn.Module]]
    signature: ClassVar[tuple[str, ...]]
    parted: ClassVar[bool] = False
    arguments: ClassVar[tuple[str, ...]]
    defaults: ClassVar[dict[str, Any]] = {}
    implied: ClassVar[frozenset[str]] = frozenset()
    inputs: ClassVar[tuple[str, ...]] = ("input",)
    constructed: ClassVar[frozenset[str]] = frozenset()
    batched_axes: ClassVar[int] = 4
    dtypes: ClassVar[tuple[str, ...]]
    configurations: ClassVar[tuple[dict[str, Any], ...]] = ()
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {}
    invalid_arguments: ClassVar[tuple[dict[str, Any], ...]] = ()
    linear: ClassVar[frozenset[str]] = frozenset()
    piecewise_linear: ClassVar[bool] = False
    random: ClassVar[bool] = False
    views: ClassVar[bool] = False
    accurate_twice: ClassVar[bool] = True
    normwise: ClassVar[bool] = False
    signed_zeros: ClassVar[bool] = False

    def unbatched(self, case: Case) -> bool:
        """Return whether an input of a call is without its batch axis."""
        return len(case.shapes["input"]) < self.batched_axes

    def trains(self, arguments: dict[str, Any]) -> bool | None:
        """Return whether a call trains, None where training and evaluation are the same."""
        if "training" not in self.arguments:
            return None
        return bool(arguments.get("training", self.defaults.get("training", False)))

    @property
    def updates(self) -> tuple[str, ...]:
        """The names of the running statistics that a call updates in place."""
        return tuple(name for name in UPDATED if name in self.signature)

    @property
    def writing(self) -> frozenset[str]:
        """The names of the arguments by which a call writes into its tensors."""
        return frozenset({"training"} if self.updates else {"inplace"}) & {*self.arguments}

    def averages_its_batches(self, arguments: dict[str, Any]) -> bool:
        """Return whether the second call of a right layer gives another result: an average over batches."""
        return bool(self.updates) and arguments.get("momentum") == 1.0

    @property
    def reference(self) -> Call:
        """Torch's own implementation."""
        return self.tensors_first(getattr(torch.nn.functional, self.name))

    def tensors_first(self, function: Call) -> Call:
        """Return a function with torch's signature as one that takes all its tensors by position."""
        if not self.parted:
            return function

        def call(*tensors: Tensor | None, **arguments: Any) -> Any:
            named = dict(zip(self.signature, tensors, strict=False))
            return function(named.pop("input"), **named, **arguments)

        return call

    @property
    def definition(self) -> Call:
        """What is right: called with tensors of float64, complex128 or integers. Torch's own, mostly."""
        return self.reference

    @property
    def other_ways(self) -> tuple[Call, ...]:
        """What else is right where infinities and NaN are in play, besides each of torch's own paths."""
        return ()

    @property
    def code(self) -> str:
        """Torch's own implementation as code, where torch.nn.functional is F."""
        return f"F.{self.name}"

    def cases(self, supports: Supports, thresholds: tuple[int, ...] = ()) -> st.SearchStrategy[Case]:
        """Return a strategy of calls that torch accepts and the claims allow; thresholds as in `Drawing`."""
        cases = drawn(self.draw_case, supports, self.dtypes, thresholds)
        if not supports.remainders:
            cases = cases.map(self.without_remainders).filter(lambda case: 0 not in case.shapes["input"][2:])
        if supports.fixed:
            cases = cases.filter(lambda case: self.keeps(case, dict(supports.fixed)))
        return cases

    def without_remainders(self, case: Case) -> Case:
        """Return a call of windows without the rows and columns at the end that none reaches."""
        shape, cut = case.shapes["input"], self.remainders(case)
        inner = len(shape) - len(cut)
        shorter = (length - left for length, left in zip(shape[inner:], cut, strict=True))
        return case.reshaped("input", (*shape[:inner], *shorter)) if any(cut) else case

    def remainders(self, case: Case) -> tuple[int, ...]:
        """Return how many rows, columns, ... at the end no window reaches."""
        return ()

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """The names of a layer's sizes, which a call shows in the shapes of its tensors."""
        named = inspect.signature(self.module).parameters
        known = "in_channels out_channels kernel_size in_features out_features num_features num_channels"
        return (*(name for name in known.split() if name in named and name not in self.arguments), "axes")

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The names of the arguments that torch's function has no default for, besides its tensors."""
        if "weight" in self.signature:
            return ()
        taken = inspect.signature(self.module).parameters.values()
        return tuple(each.name for each in taken if each.default is each.empty)

    def keeps(self, case: Case, fixed: dict[str, Any]) -> bool:
        """Return whether a call has these values of arguments, or of its layer's sizes."""
        tensors: dict[str, Any] = case.tensors
        flags = {name: name in tensors for name in self.signature}
        given = {"axes": len(case.shapes["input"]), **flags, **self.defaults}
        given |= {**self.constructor(tensors, case.keywords), **case.keywords}
        alike = [(given[name], value) for name, value in fixed.items() if name in given]
        return all(one == other or (isinstance(one, tuple) and set(one) == {other}) for one, other in alike)

    def invalid_cases(self, supports: Supports) -> st.SearchStrategy[Case]:
        """Return a strategy of calls most of which torch refuses."""
        return drawn(self.draw_invalid_case, supports, self.dtypes)

    @abstractmethod
    def draw_case(self, draw: Drawing) -> Case:
        """Draw a call that torch accepts."""

    def draw_invalid_case(self, draw: Drawing) -> Case:
        """Draw a call that torch refuses, most often: one change in a call that it accepts."""
        case = self.draw_case(draw)
        arguments = [case.changed(**changed) for changed in self.invalid_arguments]
        return draw.choice([*arguments, *self.invalid_changes(draw, case)])

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        """Return an accepted call with one change each that torch refuses, most often."""
        return []

    def complete(
        self,
        draw: Drawing,
        shapes: dict[str, tuple[int, ...]],
        arguments: dict[str, Any] | None = None,
        kind: Kind | None = None,
        differentiable: tuple[str, ...] | None = None,
    ) -> Case:
        """Draw the rest of a case: what its tensors hold, their layouts, and the gradients that are wanted.

        Args:
            draw: draws it.
            shapes: the shapes of the tensors by name, in the order of torch's signature.
            arguments: the other arguments but for `choices`; those at torch's default are left out.
            kind: what the tensors hold, where that is not drawn.
            differentiable: the names of the tensors whose gradients may be wanted, where not of all.
        """
        arrays, grad_output = draw.arrays(shapes, kind or draw.kind())
        wanted, order = draw.wanted(shapes if differentiable is None else differentiable)
        chosen = {name: draw.argument(name, *values) for name, values in self.choices.items()}
        given = {n: v for n, v in {**(arguments or {}), **chosen}.items() if v != self.defaults.get(n, ...)}
        seed = draw.seed() if self.random else None
        tensors, others = tuple(arrays.items()), tuple(given.items())
        case = Case(self.name, tensors, others, draw.dtype, wanted, grad_output, order, seed)
        return draw.inplace(case) if "inplace" in self.arguments else case

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments that construct the layer of torch.nn for a call with these."""
        return arguments

    def norm_bounds(
        self, case: Case, values: Values, results: dict[str, Tensor], bounds: dict[str, Bound]
    ) -> dict[str, Bound]:
        """Return the bounds of a computation that is accurate by norm; by element where there are none."""
        return bounds

    @abstractmethod
    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        """Return how far each of a candidate's results may lie from the reference's.

        Args:
            case: the call.
            values: its tensors in float64 or complex128.
            results: the reference's results in that precision.
        """


class Picking(Operator):
    """An operator whose results are elements of its tensors or zero, hence exact."""

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        return {name: exact(value) for name, value in results.items()}


def exact(value: Tensor) -> Bound:
    """Return the bound of a result that has to be equal."""
    return Bound(torch.zeros(value.shape, dtype=torch.float64), torch.zeros(value.shape, dtype=torch.bool))


def greatest(tensor: Tensor | None) -> float:
    """Return the greatest finite absolute value; 0 where there is none."""
    if tensor is None or not tensor.numel():
        return 0.0
    return float(tensor.abs().nan_to_num(0.0, 0.0).max())


def unbound_derivatives(bounds: dict[str, Tensor]) -> None:
    """Make the bounds of gradients and of their derivatives infinite: partial products may overflow."""
    for name, bound in bounds.items():
        if name.startswith(("grad_", "second_")):
            bounds[name] = torch.full_like(bound, torch.inf)


def derived_bounds(
    results: dict[str, Tensor], dtype: torch.dtype, errors: Callable[[torch.dtype], dict[str, Tensor]]
) -> dict[str, Bound]:
    """Return the bounds of results whose errors are known as a function of the precision.

    Args:
        results: the reference's results, in float64.
        dtype: the precision of the computation that is judged.
        errors: returns the bound of each result's error, given the dtype of the computation.
    """
    own, reference = errors(accumulator_of(dtype)), errors(torch.float64)
    bounds = {}
    for name, value in results.items():
        stored = 3 if name.startswith("second_") else 1
        allowed = stored_bound(value, own[name], reference[name], dtype, stored)
        bounds[name] = Bound(allowed, value.isfinite() & (value.abs() + allowed > torch.finfo(dtype).max))
    return bounds
