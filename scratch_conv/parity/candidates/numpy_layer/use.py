"""A layer in NumPy, constructed for a call and used on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.arguments import ABSENT, construct, constructor_arguments
from scratch_conv.parity.candidates.candidate import GradientError
from scratch_conv.parity.candidates.loss import chained, inputs_in_order, inputs_of_backward
from scratch_conv.parity.candidates.names import ARGUMENTS, SPELLINGS
from scratch_conv.parity.candidates.numpy_layer.descent import Descent, rate_of
from scratch_conv.parity.candidates.numpy_layer.places import (
    Place,
    find_gradient,
    find_parameter,
    holdings,
    is_merged,
)
from scratch_conv.parity.candidates.returned import selected, sorted_gradients
from scratch_conv.parity.candidates.signatures import check_call, parameters_of
from scratch_conv.parity.operators.calling import UPDATED, InterfaceError, MissingError, describe_returned
from scratch_conv.parity.operators.operator import Operator

_MAKERS = ("build", "initialize", "init_params", "init_weights", "initialize_parameters")


def returned_names(operator: Operator) -> list[str]:
    """Return the names of the tensors whose gradients backward returns, where it returns a tuple."""
    return [operator.inputs[0], *(name for name in ("weight", "bias") if name in operator.signature)]


class ConstructedLayer:
    """A layer constructed for one call, with the call's parameters in it.

    Attributes:
        layer: the instance.
        constructed: the arguments of its constructor.
        places: where it holds its parameters, by torch's names.
        absent: where it holds those that the call has not, which have no effect.
        mode: what forward takes besides the inputs.
        transposed: the names of the parameters that it holds transposed.
        switch: the code that set whether the layer trains; empty where forward takes it or nothing does.
        returned: the names of the gradients that backward has returned, where it returned several.
        rate: what backward has taken as its rate, 0 where it takes none.
        order: the names of the inputs, as forward takes them.
        instead: the names of the inputs that backward takes instead of the output's gradient, else None.

    Raises:
        InterfaceError: the constructor takes other arguments, or a parameter cannot be found.
    """

    def __init__(
        self,
        layer: Any,
        operator: Operator,
        tensors: dict[str, Tensor],
        arguments: dict[str, Any],
        adapter: Adapter,
    ) -> None:
        self.operator = operator
        self.adapter = adapter
        self.layer, self.constructed = self._construct(layer, tensors, arguments)
        self.places: dict[str, Place] = {}
        self._own_shapes: dict[str, tuple[int, ...]] = {}
        self.returned: tuple[str, ...] = ()
        self.rate = 0.0
        self.mode: dict[str, bool] = {}
        self._method = {
            word: adapter.names.method(self.layer, word) or "" for word in ("forward", "backward")
        }
        forward, backward = (getattr(self.layer, each, None) for each in self._method.values())
        self.order = inputs_in_order(forward, operator, adapter.names) if forward else operator.inputs
        self.instead = inputs_of_backward(backward, operator, adapter.names)
        self._inputs: tuple[NDArray[Any], ...] = ()
        self.made, self._unmade = self._make(self.layer, tensors)
        self.transposed = self._find_transposed(layer, tensors, arguments)
        arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
        self._forms = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        for name, array in arrays.items():
            if name not in operator.inputs:
                self._put(name, array)
        self.absent = self._fill_absent(tensors)
        self.switch = ""
        training = operator.trains(arguments)
        if training is not None:
            self.mode, self.switch = self._set_mode(training)

    def _construct(
        self, layer: Any, tensors: dict[str, Tensor], arguments: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        given = constructor_arguments(
            layer, self.operator, tensors, arguments, self.adapter, "{}.detach().numpy()"
        )
        return construct(layer, given, lambda tensor: tensor.detach().numpy().copy())

    def _find(self, name: str, layer: Any = None) -> Place | None:
        named = self.adapter.names.places.get(name)
        return find_parameter(self.layer if layer is None else layer, name, named)

    def _make(self, layer: Any, tensors: dict[str, Tensor]) -> tuple[str, str]:
        """Let a layer that makes its parameters later make them: by its own method, or in a first call.

        Returns:
            The code that made them, empty where nothing had to be, and why they could not be made.
        """
        named = "weight" not in tensors or "weight" in self.adapter.names.places
        if named or self._find("weight", layer) is not None:
            return "", ""
        inputs = [tensors[name].detach().numpy() for name in self.order]
        made = ""
        try:
            for maker in _MAKERS:
                method = getattr(layer, maker, None)
                taken = (parameters_of(method) or {}) if callable(method) else {}
                if callable(method) and len(taken) <= 1:
                    method(*[inputs[0].shape] * len(taken))
                    made = f"layer.{maker}({', '.join([str(inputs[0].shape)] * len(taken))})"
                    if self._find("weight", layer) is not None:
                        return made, ""
            getattr(layer, self._method["forward"])(*inputs)
        except Exception as error:  # the weight is then said to be missing, and why it was not made
            return made, f", and a first call raised {type(error).__name__}: {error}"
        return "forward", ""

    def _set_mode(self, training: bool) -> tuple[dict[str, bool], str]:
        """Set whether the layer trains; return what forward takes for it, or the code that set it."""
        layer = self.layer
        taken = parameters_of(getattr(layer, self._method["forward"])) or {}
        own = [name for name, source in self.adapter.names.sources.items() if source.name == "training"]
        for word in (*own, "training", *ARGUMENTS["training"].split()):
            if word in taken:
                return {word: training}, ""
        switch = "train" if training else "eval"
        if callable(getattr(layer, switch, None)):
            getattr(layer, switch)()
            return {}, f"layer.{switch}()"
        for word in (*own, "training", "is_training", "train"):
            if hasattr(layer, word):
                setattr(layer, word, training)
                return {}, f"layer.{word} = {training}"
        if "training" in self.adapter.builtin:
            return {}, ""
        known = "forward(x, training=...), train() and eval(), or attribute training"
        hint = "--fix training=True says that it always trains"
        raise InterfaceError(f"{type(layer).__name__} has no {known}; {hint}")

    def _find_transposed(
        self, layer: Any, tensors: dict[str, Tensor], arguments: dict[str, Any]
    ) -> frozenset[str]:
        """Return the names of the matrices that the layer keeps as (in, out), where torch has (out, in).

        A square one does not show it; there another layer is constructed, with one output more.
        """
        weight = tensors.get("weight")
        if weight is None or weight.ndim != 2:
            return frozenset()
        other, shape = self.layer, tuple(weight.shape)
        if shape[0] == shape[1]:
            shape = (shape[0] + 1, shape[1])
            wider = {**tensors, "weight": torch.zeros(shape, dtype=weight.dtype)}
            if "bias" in wider:
                wider["bias"] = torch.zeros(shape[:1], dtype=weight.dtype)
            other = self._construct(layer, wider, arguments)[0]
            self._make(other, tensors)
        place = self._find("weight", other)
        found = place is not None and np.shape(place.get(other)) == shape[::-1]
        return frozenset({"weight"}) if found else frozenset()

    def _put(self, name: str, value: NDArray[Any]) -> None:
        place = self._find(name)
        if place is None:
            kind = type(self.layer).__name__
            called = f"{kind} holds no array called {' or '.join(SPELLINGS[name])}"
            called += f"; it holds {holdings(self.layer)}{self._unmade}"
            raise MissingError(name, called, self.operator.writing)
        shape = np.shape(place.get(self.layer))
        if name in self.transposed:
            value = value.T
        if not is_merged(shape, value.shape):
            hint = (
                "; --weights says in which order its axes are" if sorted(shape) == sorted(value.shape) else ""
            )
            raise InterfaceError(f"{place} has shape {shape}, torch's {name} has {value.shape}{hint}")
        place.put(self.layer, value.reshape(shape).copy())
        self.places[name], self._own_shapes[name] = place, shape

    def _fill_absent(self, tensors: dict[str, Tensor]) -> dict[str, Place]:
        """Neutralise the parameters that the layer has and the call has not; return where they are."""
        absent = {}
        for name, value in ABSENT.items():
            place = self._find(name) if name not in UPDATED else None
            if name in self.operator.signature and name not in tensors and place is not None:
                dtype = tensors["input"].detach().numpy().dtype
                place.put(self.layer, np.full_like(place.get(self.layer), value, dtype))
                absent[name] = place
        return absent

    def reset(self, tensors: dict[str, Tensor]) -> None:
        """Make the layer ready for another call: give it the running statistics anew, clear gradients."""
        for name in UPDATED:
            if name in self.places:
                self._put(name, tensors[name].detach().numpy())
        if callable(getattr(self.layer, "zero_grad", None)):
            self.layer.zero_grad()

    def held(self) -> dict[str, Tensor]:
        """Return the parameters that stand in the layer, in torch's shapes where they have kept their own."""
        held = {}
        for name, place in self.places.items():
            if name not in UPDATED:
                array = np.asarray(place.get(self.layer))
                held[name] = as_tensor(self.as_torch_has_it(name, array))
        return held

    def forward(self, *inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the layer's output for inputs in torch's order."""
        self._inputs = inputs
        named = dict(zip(self.operator.inputs, inputs, strict=True))
        returned = selected(self._forward(*map(named.get, self.order)), self.adapter.outputs)
        if isinstance(returned, (tuple, list)):
            hint = "; --outputs output,cache names what is returned"
            raise InterfaceError(f"expected an array to be returned, got {describe_returned(returned)}{hint}")
        return np.asarray(returned)

    def _forward(self, *inputs: Any) -> Any:
        method = getattr(self.layer, self._method["forward"])
        check_call(method, *inputs, **self.mode)
        return method(*inputs, **self.mode)

    def backward(self, dy: NDArray[Any], wanted: list[str]) -> dict[str, NDArray[Any]]:
        """Return the gradients of the first input and of the parameters that are wanted.

        Raises:
            InterfaceError: there is no backward, or a gradient cannot be found.
        """
        if not self._method["backward"]:
            raise InterfaceError(f"{type(self.layer).__name__} has no backward")
        method = getattr(self.layer, self._method["backward"])
        word = rate_of(method, self.adapter.names)
        if word is not None:
            places = {name: place for name, place in self.places.items() if name not in UPDATED}
            descent = Descent(self.layer, self._method["backward"], word, places)
            returned, self.rate = descent.step(dy), descent.usual
            grads = self._sorted(returned)
            grads = {**{name: descent.gradient(name) for name in wanted}, **grads}
        elif self.instead is not None:
            named = dict(zip(self.operator.inputs, self._inputs, strict=True))
            grads = chained(self._sorted(method(*map(named.get, self.instead))), dy)
        else:
            check_call(method, dy)
            grads = self._sorted(method(dy))
        for name in wanted:
            if grads.get(name) is None:
                grads[name] = np.array(self.gradient_place(name).get(self.layer))  # it may be written anew
        input = returned_names(self.operator)[0]
        return {name: np.asarray(grads[name]) for name in (input, *wanted) if grads.get(name) is not None}

    def _sorted(self, returned: Any) -> dict[str, Any]:
        """Return the gradients that backward has returned, by the names of their tensors."""
        stated = self.adapter.gradients
        grads = sorted_gradients(returned, stated or tuple(returned_names(self.operator)), bool(stated))
        self.returned = tuple(grads) if isinstance(returned, tuple) else ()
        return grads

    def gradient_place(self, name: str) -> Place:
        """Return where the layer has left the gradient of a parameter."""
        named = self.adapter.names.places.get(f"grad_{name}")
        return find_gradient(self.layer, name, self.places.get(name), named)

    def check_gradients(self, grads: dict[str, NDArray[Any]]) -> None:
        """Check that gradients have the shapes and dtypes of their tensors, or of the layer's own parameters.

        Autograd would not say: it sums a gradient that can be expanded to its tensor's shape, even away to
        nothing, and converts its dtype.

        Raises:
            GradientError: says which have not.
        """
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        for name, grad in grads.items():
            shape, dtype = self._forms[name]
            own = self._own_shapes.get(name, shape)
            fitting = {own} if name in self.transposed else {own, shape}
            if grad.shape not in fitting:
                expected = [str(shape)] if shape in fitting else []
                expected += [f"{own} as {self.places[name]}"] if own != shape else []
                line = f"grad_{name} has shape {grad.shape}, expected {' or '.join(expected)}"
                found[f"grad_{name}"] = line, ()
            elif grad.dtype != dtype:
                line = f"grad_{name} has dtype {grad.dtype}, expected {dtype}"
                found[f"grad_{name}"] = line, (str(grad.dtype), str(dtype))
        if found:
            raise GradientError(found)

    def as_torch_has_it(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """Return a parameter or its gradient, or the gradient of the input, in torch's shape."""
        if array.shape != self._own_shapes.get(name):
            return array
        return array.T if name in self.transposed else array.reshape(self._forms[name][0])


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor that shares an array's memory, where torch knows its strides."""
    if array.dtype == object:
        raise InterfaceError("expected an array of numbers to be returned, got one of objects")
    return torch.from_numpy(array.copy() if any(step < 0 for step in array.strides) else array)
