"""Layers in plain NumPy, the form in which most people write them first.

The protocol: a class that is constructed like its namesake in torch.nn, by torch's keyword names (arguments
at torch's default are passed only where the constructor requires them, a square kernel_size is one number),
with `forward(x)`, which returns an array, and `backward(dy)`, which returns the gradient of x, or a tuple of
it and the gradients of weight and bias. Without a `backward`, only results are compared. A layer is called
twice in the same way; gradients that it adds up over calls are cleared in between by its `zero_grad()`.

Its parameters are arrays among its attributes or in a dictionary `parameters` or `params`, and so are their
gradients after `backward` (in `gradients` or `grads`). `interface.SPELLINGS` lists what a parameter may be
called: weight, W, kernel, gamma, ..., bias, b, beta, ...; the gradient of W may be called grad_W, dW, W_grad
or d_W. A gradient has the shape of the parameter, in the layer or in torch, and its dtype; a matrix of shape
(in, out), which is torch's transposed, is given and taken as such. Batch normalisation is told whether it
trains by `forward(x, training=...)`, by `train()` and `eval()`, or by an attribute `training`, and holds its
running_mean and running_var.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scratch_conv.parity.candidates.interface import (
    ABSENT,
    SPELLINGS,
    check_call,
    construct,
    constructor_arguments,
    counts_its_calls,
    parameters_of,
)
from scratch_conv.parity.operators.calling import (
    UPDATED,
    GradientError,
    InterfaceError,
    KeptLayer,
    LayerCall,
    describe_returned,
)
from scratch_conv.parity.operators.operator import Operator

_GRADIENTS = ("grad_{}", "d{}", "{}_grad", "d_{}")
_STORES = ("", "parameters", "params")
_GRADIENT_STORES = ("gradients", "grads")


def is_numpy_layer(candidate: object) -> bool:
    """Return whether a candidate is a class with a `forward` that is none of torch's."""
    if not inspect.isclass(candidate) or issubclass(candidate, (torch.nn.Module, torch.autograd.Function)):
        return False
    return callable(getattr(candidate, "forward", None))


@dataclass(frozen=True)
class Place:
    """Where a layer keeps an array: an attribute, or an entry of a dictionary among its attributes.

    Attributes:
        name: the attribute's name, or the key.
        store: the name of the dictionary; empty for an attribute.
    """

    name: str
    store: str = ""

    def get(self, layer: Any) -> Any:
        """Return what stands there, None where nothing does."""
        if not self.store:
            return getattr(layer, self.name, None)
        held = getattr(layer, self.store, None)
        return held.get(self.name) if isinstance(held, dict) else None

    def put(self, layer: Any, value: NDArray[Any]) -> None:
        """Let an array stand there."""
        if self.store:
            getattr(layer, self.store)[self.name] = value
        else:
            setattr(layer, self.name, value)

    def __str__(self) -> str:
        return f"layer.{self.store}[{self.name!r}]" if self.store else f"layer.{self.name}"


def find_parameter(layer: Any, name: str) -> Place | None:
    """Return where a layer holds the parameter that torch calls `name`, None where it holds none."""
    places = [Place(spelling, store) for store in _STORES for spelling in SPELLINGS[name]]
    return next((place for place in places if isinstance(place.get(layer), np.ndarray)), None)


def find_gradient(layer: Any, name: str) -> Place:
    """Return where a layer has left the gradient of a parameter.

    Raises:
        InterfaceError: it holds none under the names that are known.
    """
    for spelling in SPELLINGS[name]:
        forms = [form.format(spelling) for form in _GRADIENTS]
        stored = [Place(each, store) for store in _GRADIENT_STORES for each in (spelling, *forms)]
        for place in (*stored, *map(Place, forms)):
            if isinstance(place.get(layer), np.ndarray):
                return place
    held = ", ".join(sorted(getattr(layer, "__dict__", {}))) or "nothing"
    raise InterfaceError(
        f"after backward there is no gradient of {name}, such as grad_{name} or d{SPELLINGS[name][2]}; "
        f"the layer holds {held}"
    )


def returned_names(operator: Operator) -> list[str]:
    """Return what the arrays are gradients of that backward returns in a tuple."""
    return [operator.inputs[0], *(name for name in ABSENT if name in operator.signature)]


class LayerInUse:
    """A layer constructed for one call, with the call's parameters in it.

    Attributes:
        layer: the instance.
        constructed: the arguments of its constructor.
        places: where it holds its parameters, by torch's names.
        absent: where it holds those that the call has not, which have no effect.
        mode: what forward takes besides the inputs.
        transposed: the names of the parameters that it holds transposed.
        switch: the code that told the layer whether it trains; empty where nothing did.
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
        if "training" in operator.arguments:
            self.mode, self.switch = _tell_mode(self.layer, bool(arguments.get("training", operator.trains)))

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
        if not _is_merged(shape, value.shape):
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
                held[name] = _as_tensor(self.as_torch_has_it(name, array))
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
        """See that gradients have the shapes and dtypes of their tensors, or of the layer's own parameters.

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


def _is_merged(shape: tuple[int, ...], parts: tuple[int, ...]) -> bool:
    """Return whether a shape is another one with neighbouring axes merged, but for axes of one."""
    if 0 in parts:
        return 0 in shape
    left = [size for size in parts if size != 1]
    for size in shape:
        while size > 1 and left and size % left[0] == 0:
            size //= left.pop(0)
        if size != 1:
            return False
    return not left


def _tell_mode(layer: Any, training: bool) -> tuple[dict[str, bool], str]:
    """Tell a layer whether it trains; return what forward takes to know it, or the code that told it."""
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


class NumpyCall(LayerCall):
    """Calls a class of layers in NumPy."""

    def __init__(self, layer: Any, operator: Operator) -> None:
        self.layer = layer
        self.operator = operator

    def kept(self) -> KeptLayer:
        """Return a layer for several equal calls."""
        return _KeptNumpyLayer(self.layer, self.operator)


class _KeptNumpyLayer(KeptLayer):
    """A layer in NumPy whose backward is joined to autograd."""

    def __init__(self, layer: Any, operator: Operator) -> None:
        self.layer = layer
        self.operator = operator
        self._used: LayerInUse | None = None

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        named = dict(zip(self.operator.signature, tensors, strict=False))
        present = {name: tensor for name, tensor in named.items() if tensor is not None}
        if self._used is None or counts_its_calls(self.operator, present, arguments):
            self._used = LayerInUse(self.layer, self.operator, present, arguments)
        else:
            self._used.reset(present)
        used = self._used
        output = _Joined.apply(used, tuple(present), *present.values())
        for name in UPDATED:
            if name in used.places:
                statistic = np.asarray(used.places[name].get(used.layer))
                present[name].copy_(_as_tensor(statistic.reshape(present[name].shape)))
        return output

    def held(self) -> dict[str, Tensor]:
        """Return the parameters that stand in the layer."""
        return {} if self._used is None else self._used.held()

    def notes(self) -> list[str]:
        """Say which parameters are given and taken transposed."""
        if self._used is None:
            return []
        places = [self._used.places[name] for name in sorted(self._used.transposed)]
        return [f"{place} is torch's transposed: given so, and so is its gradient taken" for place in places]


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, used: LayerInUse, names: tuple[str, ...], *tensors: Tensor) -> Tensor:
        ctx.used, ctx.names = used, names
        named = dict(zip(names, tensors, strict=True))
        return _as_tensor(used.forward(*(named[name].detach().numpy() for name in used.operator.inputs)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        needed = dict(zip(ctx.names, ctx.needs_input_grad[2:], strict=True))
        wanted = [name for name in ctx.names if needed[name] and name not in ctx.used.operator.inputs]
        grads = ctx.used.backward(grad_output.numpy(), wanted)
        asked = {name: grad for name, grad in grads.items() if needed[name]}
        ctx.used.check_gradients(asked)
        given = {name: _as_tensor(ctx.used.as_torch_has_it(name, grad)) for name, grad in asked.items()}
        return None, None, *map(given.get, ctx.names)


def _as_tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor that shares an array's memory, where torch knows its strides."""
    if array.dtype == object:
        raise InterfaceError("expected an array of numbers to be returned, got one of objects")
    return torch.from_numpy(array.copy() if any(step < 0 for step in array.strides) else array)
