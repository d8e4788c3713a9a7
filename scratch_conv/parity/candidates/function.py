"""A function of torch tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.arguments import (
    differing_defaults,
    function_call,
    in_torchs_order,
    opened,
    sources_of,
)
from scratch_conv.parity.candidates.candidate import Candidate, Use, Wiring
from scratch_conv.parity.candidates.names import taken_of
from scratch_conv.parity.candidates.returned import selected
from scratch_conv.parity.candidates.signatures import check_call, class_of, parameters_of, takes_any_keyword
from scratch_conv.parity.candidates.writing import copies_of, print_autograd, write_outputs, write_words
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.operators.calling import UPDATED, Values
from scratch_conv.parity.operators.operator import Operator


class Function(Candidate[Wiring]):
    """A function with the signature of the operator in torch.nn.functional, or another that names show."""

    @staticmethod
    def accepts(given: Any) -> bool:
        """Return whether it is anything that can be called, but for classes, which construct."""
        return callable(given) and class_of(given) is None

    def start(self) -> Use:
        """Return the function, which keeps nothing from call to call that could be known."""
        return self.adapted(FunctionInUse(self.given, self.operator, self.adapter))

    def remarks(self) -> list[str]:
        return differing_defaults(self.given, self.operator, self.adapter, constructs=False)

    def lacking(self) -> set[str]:
        """Return the names of torch's arguments that the signature lacks, tensors included."""
        taken = parameters_of(self.given)
        sources = sources_of(self.given, self.operator, self.adapter, constructs=False)
        if taken is None or sources is None:
            return set()
        operator = self.operator
        others = set(operator.arguments) - set(operator.signature)
        lacking = set() if takes_any_keyword(taken) else others - taken_of(sources)
        tensors = set(operator.arguments) & set(operator.signature)
        if not in_torchs_order(taken, sources, operator):
            return lacking | (tensors - taken_of(sources))
        return lacking | {name for name in tensors if not _has_position(taken, operator, name)}

    def guess(self, case: Case) -> Wiring:
        return Wiring()

    def write(self, case: Case, values: Values, wiring: Wiring) -> list[str]:
        """Return the call of the function, without what it lacks and with what it requires, and prints."""
        adapter, copies = self.adapter, copies_of(case)
        tensors = {name: adapter.layout.arrange(name, tensor) for name, tensor in values.tensors.items()}
        positional, others = function_call(self.given, self.operator, tensors, case.keywords, adapter)
        codes = {name: self.expression(name, copies.get(name, name)) for name in case.tensors}
        words = [*(None if each is None else codes.get(each.name, each.code) for each in positional)]
        call = ", ".join([*map(str, words), *write_words(others, codes)])
        lines = [f"got = candidate({call})", *write_outputs(adapter)]
        return [*lines, *print_autograd(case, values, self.restored("got"))]


class FunctionInUse(Use):
    """Calls a function, having seen that it takes the arguments."""

    def __init__(self, function: Callable[..., Any], operator: Operator, adapter: Adapter) -> None:
        self.function = function
        self.operator = operator
        self.adapter = adapter

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        named = zip(self.operator.signature, tensors, strict=False)
        present = {name: tensor for name, tensor in named if tensor is not None}
        given, others = function_call(self.function, self.operator, present, arguments, self.adapter)
        positional, keywords = list(map(opened, given)), {name: opened(each) for name, each in others.items()}
        check_call(self.function, *positional, **keywords)
        returned = self.function(*positional, **keywords)
        output = selected(returned, self.adapter.outputs)
        for name, value in zip(self.adapter.outputs, returned, strict=True) if self.adapter.outputs else ():
            if name in UPDATED and name in present:
                present[name].copy_(value.detach().reshape(present[name].shape))
        for holder in keywords.values():  # a dictionary's entry may have been replaced
            for name in UPDATED if isinstance(holder, dict) else ():
                if name in holder and name in present and holder[name] is not present[name]:
                    present[name].copy_(holder[name])
        return output


def _has_position(taken: dict[str, inspect.Parameter], operator: Operator, tensor: str) -> bool:
    """Return whether a function's signature takes a tensor at the position where torch's does."""
    if any(each.kind is each.VAR_POSITIONAL for each in taken.values()):
        return True
    names = [each.name for each in taken.values() if each.kind is not each.KEYWORD_ONLY]
    index = operator.signature.index(tensor)
    others = set(operator.arguments) - set(operator.signature)
    return index < len(names) and names[index] not in others
