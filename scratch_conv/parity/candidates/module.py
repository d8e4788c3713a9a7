"""A class of torch modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.arguments import ABSENT, construct, constructor_arguments
from scratch_conv.parity.candidates.candidate import Use, Wiring
from scratch_conv.parity.candidates.layer import LayerClass, present_tensors
from scratch_conv.parity.candidates.names import SPELLINGS
from scratch_conv.parity.candidates.returned import selected
from scratch_conv.parity.candidates.signatures import check_call, class_of
from scratch_conv.parity.candidates.writing import (
    copies_of,
    print_autograd,
    write_constructor,
    write_full,
    write_outputs,
)
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.operators.calling import UPDATED, InterfaceError, MissingError, Values
from scratch_conv.parity.operators.operator import Operator


class ModuleClass(LayerClass[Wiring]):
    """An nn.Module class with the constructor of its namesake in torch.nn."""

    @staticmethod
    def accepts(given: Any) -> bool:
        constructed = class_of(given)
        return constructed is not None and issubclass(constructed, torch.nn.Module)

    def start(self) -> Use:
        return self.adapted(_ModuleInUse(self.given, self.operator, self.adapter))

    def guess(self, case: Case) -> Wiring:
        """Return the wiring of a module that holds torch's tensors under torch's names."""
        made = {name: array.make(case.torch_dtype) for name, array in case.arrays}
        tensors = {name: self.adapter.layout.arrange(name, tensor) for name, tensor in made.items()}
        training = self.operator.trains(case.keywords)
        return Wiring(
            constructor_arguments(self.given, self.operator, tensors, case.keywords, self.adapter),
            {name: name for name in tensors if name not in self.operator.inputs},
            switch="" if training is None else f"layer.train({training})",
        )

    def place(self, case: Case, values: Values) -> None:
        self.find(case, values, self.guess(case))

    def find(self, case: Case, values: Values, wiring: Wiring) -> None:
        """Construct the module and look for its parameters."""
        module, wiring.constructed = construct(self.given, wiring.constructed)
        wiring.places, wiring.absent = _find_state(module, self.operator, set(case.tensors), self.adapter)
        own = module.state_dict()
        for name, key in wiring.places.items():
            arranged = self.adapter.layout.arrange(name, values.tensors[name])
            if key in own and _fits(own[key].shape, arranged.shape):
                wiring.shapes[name] = tuple(own[key].shape)

    def write(self, case: Case, values: Values, wiring: Wiring) -> list[str]:
        """Return the construction and the call of the module, and prints."""
        shaped = {name: f".reshape({shape})" for name, shape in wiring.shapes.items()}
        held = [
            f"'{key}': {self.expression(name, name)}{shaped.get(name, '')}"
            for name, key in wiring.places.items()
        ]
        held += [f"'{key}': {write_full(case, *filled)}" for key, filled in wiring.absent.items()]
        state, copies = ", ".join(held), copies_of(case)
        inputs = ", ".join(self.expression(name, copies.get(name, name)) for name in self.operator.inputs)
        call = f"got = torch.func.functional_call(layer, {{{state}}}, ({inputs},))"
        lines = [*write_constructor(case, wiring), call, *write_outputs(self.adapter)]
        return [*lines, *print_autograd(case, values, self.restored("got"))]


class _ModuleInUse(Use):
    """A module, with the case's tensors as its parameters and buffers."""

    def __init__(self, kind: Any, operator: Operator, adapter: Adapter) -> None:
        self.kind = kind
        self.operator = operator
        self.adapter = adapter
        self._module: torch.nn.Module | None = None
        self._given: dict[str, Tensor] = {}

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        present = present_tensors(self.operator, tensors)
        if self._module is None or self.operator.averages_its_batches(arguments):
            self._module = self._construct(present, arguments)
        inputs = tuple(present[name] for name in self.operator.inputs)
        held, absent = _find_state(self._module, self.operator, set(present), self.adapter)
        self._given = {name: present[name] for name in held if name not in UPDATED}
        own = self._module.state_dict()
        state = {
            key: present[name].reshape(own[key].shape)
            if key in own and _fits(own[key].shape, present[name].shape)
            else present[name]
            for name, key in held.items()
        }
        for key, (shape, value) in absent.items():
            state[key] = torch.full(shape, value, dtype=inputs[0].dtype, device=inputs[0].device)
        check_call(self._module.forward, *inputs)
        return selected(torch.func.functional_call(self._module, state, inputs), self.adapter.outputs)

    def _construct(self, present: dict[str, Tensor], arguments: dict[str, Any]) -> torch.nn.Module:
        constructed = constructor_arguments(self.kind, self.operator, present, arguments, self.adapter)
        module: torch.nn.Module = construct(self.kind, constructed)[0]
        module = module.to(self.adapter.device) if self.adapter.device else module
        training = self.operator.trains(arguments)
        return module if training is None else module.train(training)

    def held(self) -> dict[str, Tensor]:
        """Return the parameters, which the call gave to the module."""
        return self._given


def _fits(shape: tuple[int, ...], given: tuple[int, ...]) -> bool:
    """Return whether a shape is another one with axes of size 1 before and after, as gamma may have them."""
    return shape != given and [size for size in shape if size != 1] == [size for size in given if size != 1]


def _find_state(
    module: torch.nn.Module, operator: Operator, present: set[str], adapter: Adapter
) -> tuple[dict[str, str], dict[str, tuple[tuple[int, ...], float]]]:
    """Return where a module, or a part of it, holds what torch's call has.

    Args:
        module: the module.
        operator: what it is compared with.
        present: the names of the tensors that the call has.
        adapter: says what they are called, where the user does.

    Returns:
        The key of each tensor in the module's state, by torch's name; and for each key that belongs to a
        tensor which the call has not, its shape and the value by which it has no effect.

    Raises:
        InterfaceError: a tensor has no place in the module, or more than one.
    """
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    held, absent = {}, {}
    for name in operator.signature:
        called = SPELLINGS.get(name, ())
        keys = [name] if name in state else [key for key in state if key.rpartition(".")[2] in called]
        if name in adapter.names.places:
            keys = [key for key in state if key == adapter.names.places[name]]
        if name in operator.inputs or (name not in present and (name not in ABSENT or not keys)):
            continue
        if len(keys) != 1:
            kind, count = type(module).__name__, "more than one" if keys else "no"
            what = f"parameter or buffer called {name}, at the top or inside"
            message = f"{kind} has {count} {what}: it has {', '.join(state) or 'none'}"
            raise InterfaceError(message) if keys else MissingError(name, message, operator.writing)
        if name in present:
            held[name] = keys[0]
        else:
            absent[keys[0]] = (tuple(state[keys[0]].shape), ABSENT[name])
    return held, absent
