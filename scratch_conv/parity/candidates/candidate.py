"""A candidate: an implementation that is compared with torch's operator, whatever its form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.signatures import name_of, parameters_of
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import PAIRS, Supports
from scratch_conv.parity.operators.calling import UPDATED, Values
from scratch_conv.parity.operators.operator import Operator


class GradientError(Exception):
    """What a candidate's own backward returns is no gradient of the tensor it belongs to.

    Attributes:
        found: by the names of the results, one line that says how, and the names of the dtype that it has and
            of the one that is expected, where these differ.
    """

    def __init__(self, found: dict[str, tuple[str, tuple[str, ...]]]) -> None:
        super().__init__("; ".join(message for message, _ in found.values()))
        self.found = found


class Use(ABC):
    """A candidate in use, for several equal calls.

    A layer is constructed by the first call and used again by the others. What a call of torch's operator
    resets is reset before each call: running statistics, and by `zero_grad`, where a layer in NumPy has it,
    the gradients that it adds up.
    """

    @abstractmethod
    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        """Return what the candidate returns, called as `Call` says."""

    def held(self) -> dict[str, Tensor]:
        """Return the parameters that a layer now holds, by torch's names."""
        return {}

    def notes(self) -> list[str]:
        """Return lines that say how the candidate was called, where that is not plain."""
        return []

    @property
    def copies(self) -> bool:
        """Whether the candidate is given copies of the tensors, so that none can share their memory."""
        return False


class Adapted(Use):
    """A candidate that is given tensors in its own layout and on its device."""

    def __init__(self, use: Use, operator: Operator, adapter: Adapter) -> None:
        self.use = use
        self.operator = operator
        self.adapter = adapter
        self._given: dict[str, Tensor] = {}

    copies = True

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        layout, device = self.adapter.layout, self.adapter.device or "cpu"
        named = dict(zip(self.operator.signature, tensors, strict=False))
        self._given = {n: layout.arrange(n, t).to(device) for n, t in named.items() if t is not None}
        returned = self.use(*(self._given.get(name) for name in named), **arguments)
        for name in UPDATED:
            if name in self._given and self._given[name] is not named[name]:
                named[name].copy_(self._given[name])  # type: ignore[union-attr]
        if isinstance(returned, tuple):
            return tuple(self._restored(each) for each in returned)
        return self._restored(returned)

    def _restored(self, returned: Any) -> Any:
        return (
            self.adapter.layout.restore("output", returned.cpu())
            if isinstance(returned, Tensor)
            else returned
        )

    def held(self) -> dict[str, Tensor]:
        """Return what now stands in the tensors that were given, and in a layer."""
        held = {**self._given, **self.use.held()}
        kept = {name: tensor.detach().cpu() for name, tensor in held.items() if name not in UPDATED}
        return {name: self.adapter.layout.restore(name, tensor) for name, tensor in kept.items()}

    def notes(self) -> list[str]:
        return self.use.notes()


@dataclass
class Wiring:
    """How a candidate is called on a case.

    Attributes:
        constructed: the arguments of a layer's constructor.
        places: where a layer holds its parameters, by torch's names: an expression, or a key of its state.
        absent: what a layer holds and the call has not: the shape and the value that has no effect.
        switch: the statement that sets whether a layer trains.
        shapes: those in which a layer holds its parameters, where they are not torch's.
    """

    constructed: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    absent: dict[str, tuple[tuple[int, ...], float]] = field(default_factory=dict)
    switch: str = ""
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


W = TypeVar("W", bound=Wiring)


class Candidate(ABC, Generic[W]):
    """An implementation, the operator it is compared with, and all that depends on its form.

    Attributes:
        given: the function or class as `check` was given it.
        operator: what it is compared with.
        adapter: how it is called.
        prints: the module by which its results are printed, torch or numpy.
    """

    prints: ClassVar[str] = "torch"

    def __init__(self, given: Any, operator: Operator, adapter: Adapter | None = None) -> None:
        self.given = given
        self.operator = operator
        self.adapter = adapter or Adapter()

    @staticmethod
    @abstractmethod
    def accepts(given: Any) -> bool:
        """Return whether something that `check` was given is of this form."""

    @property
    def name(self) -> str:
        """The name under which it is reported."""
        return name_of(self.given)

    @abstractmethod
    def start(self) -> Use:
        """Return the candidate ready for several equal calls."""

    @abstractmethod
    def lacking(self) -> set[str]:
        """Return the names of torch's arguments that its signature lacks."""

    def narrow(self, claims: Supports) -> tuple[Supports, list[str]]:
        """Leave out of its claims what its signature shows that it cannot do.

        Args:
            claims: what is claimed for it.

        Returns:
            The claims that are left, and a line for each reason why something was left out. A signature with
            **kwargs, or none that can be read, shows nothing.

        Raises:
            ValueError: no dtype is left.
        """
        claims, reasons = self.adapter.narrow(claims, self.operator)
        if claims.accuracy == "norm" and claims.special_values:
            reasons.append("special_values: accurate by norm, an infinity is anywhere")
            claims = replace(claims, special_values=False)
        lacking = self.lacking() - claims.without
        claims = replace(claims, without=claims.without | lacking)
        fixed = dict(claims.fixed)
        stated = {name: value for name, value in fixed.items() if name in self.adapter.builtin}
        reasons += [f"{name}: {value!r} in every call" for name, value in stated.items()]
        lacking -= fixed.keys()
        for name in sorted(lacking & {"dim", "normalized_shape"}):
            reasons.append(f"{name}: the last axis in every call, no such argument of {self.name}")
        if others := lacking - {"dim", "normalized_shape"}:
            listed = ", ".join(sorted(others))
            reasons.append(f"{listed}: kept at torch's default, no such argument of {self.name}")
        whole = [each for each in self._annotated_int() if claims.takes(each)]
        if whole and claims.rectangular:
            reasons.append(f"rectangular: {', '.join(whole)} annotated as int")
            claims = self._squared(claims, whole)
        if "padding" in whole and claims.string_padding:
            reasons.append("string_padding: padding annotated as int")
            claims = replace(claims, string_padding=False)
        return claims, reasons

    def remarks(self) -> list[str]:
        """Return lines that say what in its signature is not torch's, though it is called all the same."""
        return []

    def adapted(self, use: Use) -> Use:
        """Return a use that is called with torch's tensors, as its adapter says."""
        return Adapted(use, self.operator, self.adapter) if self.adapter.rearranges else use

    def expression(self, name: str, tensor: str) -> str:
        """Return the code that makes of one of torch's tensors what the candidate is given."""
        code = self.adapter.layout.code(name, tensor)
        return f"{code}.to({self.adapter.device!r})" if self.adapter.device else code

    def restored(self, output: str) -> str:
        """Return the code that makes torch's tensor of the candidate's output."""
        code = f"{output}.cpu()" if self.adapter.device else output
        return self.adapter.layout.code("output", code, back=True)

    def _annotated_int(self) -> list[str]:
        taken = parameters_of(self.given) or {}
        return [name for name in PAIRS if name in taken and taken[name].annotation in (int, "int")]

    def _squared(self, claims: Supports, whole: list[str]) -> Supports:
        """Return the claims where some arguments are numbers, never pairs."""
        if {*whole} >= {name for name in PAIRS if name in (parameters_of(self.given) or {})}:
            return replace(claims, rectangular=False)
        return replace(claims, square=claims.square | {*whole})

    @abstractmethod
    def guess(self, case: Case) -> W:
        """Return the wiring with torch's names, without running any of the candidate's code."""

    def wire(self, case: Case, values: Values) -> W:
        """Return the wiring found by using it on a case. Never raises what the candidate raises."""
        return self.guess(case)

    @abstractmethod
    def write(self, case: Case, values: Values, wiring: W) -> list[str]:
        """Return code that calls `candidate` on a case and prints its results beside torch's, `expected`.

        Args:
            case: the call.
            values: its tensors, the incoming gradient included.
            wiring: how it is called, by `wire` or `guess`.
        """
