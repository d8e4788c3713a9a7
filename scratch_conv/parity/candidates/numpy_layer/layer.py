"""The class of a layer in NumPy as a candidate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.arguments import ABSENT, constructor_arguments
from scratch_conv.parity.candidates.candidate import Use, Wiring
from scratch_conv.parity.candidates.layer import LayerClass, present_tensors
from scratch_conv.parity.candidates.loss import without_target
from scratch_conv.parity.candidates.names import NO_NAMES
from scratch_conv.parity.candidates.numpy_layer.use import ConstructedLayer, as_tensor
from scratch_conv.parity.candidates.signatures import class_of
from scratch_conv.parity.candidates.writing import (
    print_updated,
    write_constructor,
    write_full,
    write_incoming,
    write_outputs,
)
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.operators.calling import UPDATED, InterfaceError, Values
from scratch_conv.parity.operators.operator import Operator

_UNKNOWN_TO_NUMPY = "bfloat16"


@dataclass
class NumpyWiring(Wiring):
    """How a layer in NumPy is called on a case.

    Attributes:
        transposed: the parameters that it holds transposed.
        forward: what its forward takes besides the inputs, as code.
        gradients: where it leaves the gradients of its parameters.
        returned: the names of the gradients that its backward returns, where it returns several.
        made: the code that makes its parameters, where its constructor does not.
        rate: the rate at which its backward takes a step, 0 where it takes none.
        order: the names of the inputs, as its forward takes them.
        instead: the names of the inputs that its backward takes instead of the output's gradient, else None.
    """

    transposed: set[str] = field(default_factory=set)
    forward: str = ""
    gradients: dict[str, str] = field(default_factory=dict)
    returned: tuple[str, ...] = ()
    made: str = ""
    rate: float = 0.0
    order: tuple[str, ...] = ()
    instead: tuple[str, ...] | None = None


class NumpyLayerClass(LayerClass[NumpyWiring]):
    """The class of a layer in NumPy; `candidates.numpy_layer` describes what it has to have."""

    prints = "numpy"

    @staticmethod
    def accepts(given: Any) -> bool:
        """Return whether it is a class with a `forward` that is none of torch's."""
        constructed = class_of(given)
        if constructed is None or issubclass(constructed, (torch.nn.Module, torch.autograd.Function)):
            return False
        return NO_NAMES.method(constructed, "forward") is not None

    def start(self) -> Use:
        return self.adapted(_NumpyLayerInUse(self.given, self.operator, self.adapter))

    def _method(self, word: str) -> str | None:
        return self.adapter.names.method(class_of(self.given), word)

    def narrow(self, claims: Supports) -> tuple[Supports, list[str]]:
        """Leave out what the signature shows, and what no NumPy layer, or none without a backward, does."""
        claims, reasons = super().narrow(claims)
        if claims.gradients and self._method("backward") is None:
            reasons.append(f"gradients: {self.name} has no backward")
            claims = replace(claims, gradients=False)
        claims, asked = without_target(claims, self.operator, self.adapter.gradients)
        reasons += asked
        if claims.second_derivatives:
            reasons.append("second_derivatives: a backward in NumPy cannot be differentiated")
            claims = replace(claims, second_derivatives=False)
        if _UNKNOWN_TO_NUMPY in claims.dtypes:
            reasons.append(f"{_UNKNOWN_TO_NUMPY}: NumPy has no such dtype")
            dtypes = tuple(each for each in claims.dtypes if each != _UNKNOWN_TO_NUMPY)
            claims = replace(claims, dtypes=dtypes)
        return claims, reasons

    def guess(self, case: Case) -> NumpyWiring:
        """Return the wiring of a layer whose attributes have torch's names."""
        made = {name: array.make(case.torch_dtype) for name, array in case.arrays}
        tensors = {name: self.adapter.layout.arrange(name, tensor) for name, tensor in made.items()}
        held = [name for name in tensors if name not in self.operator.inputs]
        return NumpyWiring(
            constructor_arguments(
                self.given, self.operator, tensors, case.keywords, self.adapter, "{}.detach().numpy()"
            ),
            {name: f"layer.{name}" for name in held},
            gradients={name: f"layer.grad_{name}" for name in held},
        )

    def place(self, case: Case, values: Values) -> None:
        tensors = {name: self.adapter.layout.arrange(name, tensor) for name, tensor in values.tensors.items()}
        ConstructedLayer(self.given, self.operator, tensors, case.keywords, self.adapter)

    def find(self, case: Case, values: Values, wiring: NumpyWiring) -> None:
        """Use the layer and see where its parameters and gradients are."""
        tensors = {name: self.adapter.layout.arrange(name, tensor) for name, tensor in values.tensors.items()}
        used = ConstructedLayer(self.given, self.operator, tensors, case.keywords, self.adapter)
        wiring.constructed, wiring.switch, wiring.made = used.constructed, used.switch, used.made
        wiring.order, wiring.instead = used.order, used.instead
        wiring.forward = "".join(f", {name}={value}" for name, value in used.mode.items())
        for name, place in used.absent.items():
            wiring.absent[str(place)] = (place.get(used.layer).shape, ABSENT[name])
        for name, place in used.places.items():
            wiring.places[name] = str(place)
            shape = place.get(used.layer).shape
            if name in used.transposed:
                wiring.transposed.add(name)
            elif shape != tuple(tensors[name].shape):
                wiring.shapes[name] = shape
        output = used.forward(*(tensors[name].numpy() for name in self.operator.inputs))
        if values.grad_output is None:
            return
        wanted = [name for name in case.wanted if name not in self.operator.inputs]
        incoming = self.adapter.layout.arrange("output", values.grad_output)
        used.backward(incoming.numpy().reshape(output.shape), wanted)
        wiring.returned, wiring.rate = used.returned, used.rate
        left = [name for name in wanted if name not in used.returned and not used.rate]
        wiring.gradients = {name: str(used.gradient_place(name)) for name in left}

    def write(self, case: Case, values: Values, wiring: NumpyWiring) -> list[str]:
        """Return the construction of the layer, the calls of its forward and backward, and prints."""
        layout, forward = self.adapter.layout, self._method("forward") or "forward"
        inputs = self._write_inputs(wiring.order or self.operator.inputs)
        lines = write_constructor(case, wiring)
        if wiring.made:
            lines.append(wiring.made if wiring.made != "forward" else f"layer.{forward}({inputs})")
        for name, place in wiring.places.items():
            shape = f".reshape({wiring.shapes[name]})" if name in wiring.shapes else ""
            transposed = ".T" if name in wiring.transposed else ""
            lines.append(f"{place} = {self.expression(name, f'{name}.detach()')}.numpy(){transposed}{shape}")
        lines += [f"{place} = {write_full(case, *filled)}.numpy()" for place, filled in wiring.absent.items()]
        lines.append(f"got = layer.{forward}({inputs}{wiring.forward})")
        lines += write_outputs(self.adapter)
        got = layout.code("output", "torch.from_numpy(got)", back=True) if layout.letters("output") else "got"
        lines.append(f"print('output', expected.detach().numpy(), {got}, sep='\\n')")
        return [*lines, *print_updated(case, wiring.places), *self._write_backward(case, values, wiring)]

    def _write_inputs(self, names: tuple[str, ...]) -> str:
        """Return the code of inputs as arrays."""
        return ", ".join(f"{self.expression(name, f'{name}.detach()')}.numpy()" for name in names)

    def _write_backward(self, case: Case, values: Values, wiring: NumpyWiring) -> list[str]:
        incoming = write_incoming(case, values)
        if incoming is None:
            return []
        names = [f"grad_{name}" for name in wiring.returned or (self.operator.inputs[0],)]
        given = f"{self.adapter.layout.code('output', 'grad_output')}.numpy()"
        lines = [
            f"grad_output = {incoming}",
            f"expected_grads = torch.autograd.grad(expected, [{', '.join(case.wanted)}], grad_output)",
        ]
        if wiring.rate:
            stepped = {name: wiring.places[name] for name in case.wanted if name in wiring.places}
            lines += [f"before_{name} = {place}.copy()" for name, place in stepped.items()]
            given += f", {wiring.rate!r}"
            wiring.gradients |= {
                n: f"(before_{n} - {place}) / {wiring.rate!r}" for n, place in stepped.items()
            }
        given = given if wiring.instead is None else self._write_inputs(wiring.instead)
        lines.append(f"{', '.join(names)} = layer.{self._method('backward')}({given})")
        if wiring.instead is not None:
            lines += [f"{name} = {name} * grad_output.numpy()" for name in names]
        for index, name in enumerate(case.wanted):
            at = wiring.gradients.get(name, f"layer.grad_{name}")
            got = f"grad_{name}" if f"grad_{name}" in names else at
            transposed = ".T" if name in wiring.transposed else ""
            expected = self.adapter.layout.code(name, f"expected_grads[{index}]")
            lines.append(f"print('grad_{name}', {expected}.numpy(){transposed}, {got}, sep='\\n')")
        return lines


class _NumpyLayerInUse(Use):
    """A layer in NumPy whose backward is joined to autograd."""

    def __init__(self, layer: Any, operator: Operator, adapter: Adapter) -> None:
        self.layer = layer
        self.operator = operator
        self.adapter = adapter
        self._used: ConstructedLayer | None = None

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        present = present_tensors(self.operator, tensors)
        if self._used is None or self.operator.averages_its_batches(arguments):
            self._used = ConstructedLayer(self.layer, self.operator, present, arguments, self.adapter)
        else:
            self._used.reset(present)
        used = self._used
        output = _Joined.apply(used, tuple(present), *present.values())
        for name in UPDATED:
            if name in used.places:
                statistic = np.asarray(used.places[name].get(used.layer))
                present[name].copy_(as_tensor(statistic.reshape(present[name].shape)))
        return output

    def held(self) -> dict[str, Tensor]:
        return {} if self._used is None else self._used.held()

    def notes(self) -> list[str]:
        """Return lines that say which parameters are given and taken transposed."""
        if self._used is None:
            return []
        places = [self._used.places[name] for name in sorted(self._used.transposed)]
        return [f"{place} is torch's transposed: given so, and so is its gradient taken" for place in places]


class _Joined(torch.autograd.Function):
    """Joins a layer's own backward to autograd."""

    @staticmethod
    def forward(ctx: Any, used: ConstructedLayer, names: tuple[str, ...], *tensors: Tensor) -> Tensor:
        ctx.used, ctx.names = used, names
        named = dict(zip(names, tensors, strict=True))
        return as_tensor(used.forward(*(named[name].detach().numpy() for name in used.operator.inputs)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        needed = dict(zip(ctx.names, ctx.needs_input_grad[2:], strict=True))
        wanted = [name for name in ctx.names if needed[name] and name not in ctx.used.operator.inputs]
        grads = ctx.used.backward(grad_output.numpy(), wanted)
        asked = {name: grad for name, grad in grads.items() if needed[name]}
        if len(asked) < sum(needed.values()):
            missing = ", ".join(name for name in ctx.names if needed[name] and name not in asked)
            raise InterfaceError(
                f"backward returned no gradient of {missing}; --without grad_{missing} goes on"
            )
        ctx.used.check_gradients(asked)
        given = {name: as_tensor(ctx.used.as_torch_has_it(name, grad)) for name, grad in asked.items()}
        return None, None, *map(given.get, ctx.names)
