"""What classes of layers have in common: their constructor and what their parameters may be called."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from torch import Tensor

from scratch_conv.parity.candidates.arguments import differing_defaults, is_one_number, sources_of
from scratch_conv.parity.candidates.candidate import Candidate, W
from scratch_conv.parity.candidates.names import taken_of
from scratch_conv.parity.candidates.signatures import parameters_of, takes_any_keyword
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.operators.calling import MissingError, Values
from scratch_conv.parity.operators.operator import Operator


class LayerClass(Candidate[W]):
    """A class of layers."""

    def lacking(self) -> set[str]:
        """Return the names of the arguments of torch's constructor that this one lacks.

        Whether a layer trains is not among them: its constructor does not show that.
        """
        taken = parameters_of(self.given)
        sources = sources_of(self.given, self.operator, self.adapter, constructs=True)
        if taken is None or sources is None or takes_any_keyword(taken):
            return set()
        others = set(self.operator.arguments) - set(self.operator.signature)
        return (others | self.operator.constructed) - taken_of(sources) - {"training", "use_input_stats"}

    def remarks(self) -> list[str]:
        return differing_defaults(self.given, self.operator, self.adapter, constructs=True)

    def narrow(self, claims: Supports) -> tuple[Supports, list[str]]:
        """Leave out what the constructor's signature shows, and what no layer of torch.nn does."""
        claims, reasons = super().narrow(claims)
        sources = sources_of(self.given, self.operator, self.adapter, constructs=True) or {}
        if claims.takes("normalized_shape") and is_one_number(self.given, sources, "normalized_shape"):
            reasons.append("normalized_shape: the last axis in every call, since it is one number")
            claims = replace(claims, without=claims.without | {"normalized_shape"})
        return replace(claims, functional=False), reasons

    def holds(self, name: str, case: Case, values: Values) -> bool | None:
        """Return whether a layer for a case has a place for a tensor; None where it refuses the case."""
        try:
            self.place(case, values)
        except MissingError as missing:
            return missing.name != name
        except Exception:  # it is found out and said when the layer is compared
            return None
        return True

    @abstractmethod
    def place(self, case: Case, values: Values) -> None:
        """Construct a layer for a case and look for the places of its tensors; may raise what it raises."""

    def wire(self, case: Case, values: Values) -> W:
        """Return the wiring found by using the layer, as far as that gets."""
        wiring = self.guess(case)
        try:
            self.find(case, values, wiring)
        except Exception:  # the code then shows the exception itself
            return wiring
        return wiring

    @abstractmethod
    def find(self, case: Case, values: Values, wiring: W) -> None:
        """Use the layer on a case and correct the guessed wiring; may raise what the layer raises."""


def present_tensors(operator: Operator, tensors: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    """Return the tensors of a call by torch's names."""
    named = zip(operator.signature, tensors, strict=False)
    return {name: tensor for name, tensor in named if tensor is not None}
