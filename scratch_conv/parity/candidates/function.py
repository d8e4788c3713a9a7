"""A function with the signature of torch's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from scratch_conv.parity.candidates.arguments import function_arguments
from scratch_conv.parity.candidates.candidate import Candidate, Use, Wiring
from scratch_conv.parity.candidates.signatures import check_call, parameters_of, takes_any_keyword
from scratch_conv.parity.candidates.writing import copies_of, print_autograd, write_call
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.operators.calling import Values
from scratch_conv.parity.operators.operator import Operator


class Function(Candidate[Wiring]):
    """A function with the signature of the operator in torch.nn.functional."""

    @staticmethod
    def accepts(given: Any) -> bool:
        """Return whether it is anything that can be called, but for classes, which construct."""
        return callable(given) and not inspect.isclass(given)

    def start(self) -> Use:
        """Return the function, which keeps nothing from call to call that could be known."""
        return _FunctionInUse(self.given, self.operator)

    def lacking(self) -> set[str]:
        """Return the names of torch's arguments that the signature lacks, tensors included."""
        taken = parameters_of(self.given)
        if taken is None:
            return set()
        operator = self.operator
        others = set(operator.arguments) - set(operator.signature)
        named = {each.name for each in taken.values() if each.kind is not each.POSITIONAL_ONLY}
        lacking = set() if takes_any_keyword(taken) else others - named
        tensors = set(operator.arguments) & set(operator.signature)
        return lacking | {name for name in tensors if not _has_position(taken, operator, name)}

    def guess(self, case: Case) -> Wiring:
        return Wiring()

    def write(self, case: Case, values: Values, wiring: Wiring) -> list[str]:
        """Return the call of the function, without what it lacks and with what it requires, and prints."""
        taken = function_arguments(self.given, self.operator, case.keywords)
        called = replace(case, arguments=tuple(taken.items()))
        call = write_call(called, self.operator, copies_of(case))
        return [f"got = candidate({call})", *print_autograd(case, values)]


class _FunctionInUse(Use):
    """Calls a function, having seen that it takes the arguments."""

    def __init__(self, function: Callable[..., Any], operator: Operator) -> None:
        self.function = function
        self.operator = operator

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        arguments = function_arguments(self.function, self.operator, arguments)
        check_call(self.function, *tensors, **arguments)
        return self.function(*tensors, **arguments)


def _has_position(taken: dict[str, inspect.Parameter], operator: Operator, tensor: str) -> bool:
    """Return whether a function's signature takes a tensor at the position where torch's does."""
    if any(each.kind is each.VAR_POSITIONAL for each in taken.values()):
        return True
    names = [each.name for each in taken.values() if each.kind is not each.KEYWORD_ONLY]
    index = operator.signature.index(tensor)
    others = set(operator.arguments) - set(operator.signature)
    return index < len(names) and names[index] not in others
