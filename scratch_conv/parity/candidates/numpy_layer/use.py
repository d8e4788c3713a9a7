"""A layer in NumPy, constructed for a call and used on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scratch_conv.parity.candidates.arguments import construct, constructor_arguments
from scratch_conv.parity.candidates.candidate import GradientError
from scratch_conv.parity.candidates.layer import ABSENT, SPELLINGS
from scratch_conv.parity.candidates.numpy_layer.places import Place, find_gradient, find_parameter, is_merged
from scratch_conv.parity.candidates.signatures import check_call, parameters_of
from scratch_conv.parity.operators.calling import UPDATED, InterfaceError, describe_returned
from scratch_conv.parity.operators.operator import Operator


def returned_names(operator: Operator) -> list[str]:
    """Return the names of the tensors whose gradients backward returns, where it returns a tuple."""
    return [operator.inputs[0], *(name for name in ABSENT if name in operator.signature)]


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
        returned: of how many arrays backward has returned a tuple; 0 for one array.

    Raises:
        InterfaceError: the constructor takes other arguments, or a parameter cannot be found.
    """

    def __init__(
        self, layer: Any, operator: Operator, tensors: dict[str, Tensor], arguments: dict[str, Any]
    ) -> None:
        self.operator = operator
        given = constructor_arguments(layer, operator, tensors, arguments)
        self.layer, self.constructed = construct(layer, given)
        self.places: dict[str, Place] = {}
        self._own_shapes: dict[str, tuple[int, ...]] = {}
        self.returned = 0
        self.transposed = self._find_transposed(layer, tensors, arguments)
        arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
        self._forms = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        for name, array in arrays.items():
            if name not in operator.inputs:
                self._put(name, array)
        self.absent = self._fill_absent(tensors)
        self.mode: dict[str, bool] = {}
        self.switch = ""
        training = operator.trains(arguments)
        if training is not None:
            self.mode, self.switch = _set_mode(self.layer, training)

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
            wider = {**tensors, "weight": torch.empty(shape)}
            other = construct(layer, constructor_arguments(layer, self.operator, wider, arguments))[0]
        place = find_parameter(other, "weight")
        found = place is not None and np.shape(place.get(other)) == shape[::-1]
        return frozenset({"weight"}) if found else frozenset()

    def _put(self, name: str, value: NDArray[Any]) -> None:
        place = find_parameter(self.layer, name)
        if place is None:
            kind = type(self.layer).__name__
            raise InterfaceError(f"{kind} holds no array called {' or '.join(SPELLINGS[name])}")
        shape = np.shape(place.get(self.layer))
        if name in self.transposed:
            value = value.T
        if not is_merged(shape, value.shape):
            raise InterfaceError(f"{place} has shape {shape}, torch's {name} has {value.shape}")
        place.put(self.layer, value.reshape(shape).copy())
        self.places[name], self._own_shapes[name] = place, shape

    def _fill_absent(self, tensors: dict[str, Tensor]) -> dict[str, Place]:
        """Neutralise the parameters that the layer has and the call has not; return where they are."""
        absent = {}
        for name, value in ABSENT.items():
            place = find_parameter(self.layer, name)
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
        """Return the layer's output."""
        check_call(self.layer.forward, *inputs, **self.mode)
        returned = self.layer.forward(*inputs, **self.mode)
        if isinstance(returned, (tuple, list)):
            raise InterfaceError(f"expected an array to be returned, got {describe_returned(returned)}")
        return np.asarray(returned)

    def backward(self, dy: NDArray[Any], wanted: list[str]) -> dict[str, NDArray[Any]]:
        """Return the gradients of the first input and of the parameters that are wanted.

        Raises:
            InterfaceError: there is no backward, or a gradient cannot be found.
        """
        if not callable(getattr(self.layer, "backward", None)):
            raise InterfaceError(f"{type(self.layer).__name__} has no backward")
        check_call(self.layer.backward, dy)
        result = self.layer.backward(dy)
        tupled = isinstance(result, tuple)
        self.returned = len(result) if tupled else 0
        names = returned_names(self.operator)
        grads = dict(zip(names, result if tupled else [result], strict=False))
        for name in wanted:
            if grads.get(name) is None:
                grads[name] = find_gradient(self.layer, name).get(self.layer)
        return {name: np.asarray(grads[name]) for name in (names[0], *wanted)}

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


def _set_mode(layer: Any, training: bool) -> tuple[dict[str, bool], str]:
    """Set whether a layer trains; return the keyword that forward takes for it, or the code that set it."""
    taken = parameters_of(layer.forward) or {}
    for word in ("training", "train", "is_training"):
        if word in taken:
            return {word: training}, ""
    switch = "train" if training else "eval"
    if callable(getattr(layer, switch, None)):
        getattr(layer, switch)()
        return {}, f"layer.{switch}()"
    if hasattr(layer, "training"):
        layer.training = training
        return {}, f"layer.training = {training}"
    name = type(layer).__name__
    raise InterfaceError(f"{name} has no forward(x, training=...), train() and eval(), or attribute training")


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor that shares an array's memory, where torch knows its strides."""
    if array.dtype == object:
        raise InterfaceError("expected an array of numbers to be returned, got one of objects")
    return torch.from_numpy(array.copy() if any(step < 0 for step in array.strides) else array)
