"""The base of all layers: a forward pass, a backward pass, and named parameters with their gradients."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeVar

import numpy as np

from scratch_conv.kernels.windows import Array, Window

__all__ = ["Layer"]

_L = TypeVar("_L", bound="Layer")


class Layer(ABC):
    """One step of a network.

    `forward` computes y from x and keeps what the backward pass needs. That may be x or y itself: do not
    overwrite them before it. `backward` takes dy, the gradient of the loss with respect to y; it stores the
    gradient of each parameter in an attribute (that of `weight` in `grad_weight`) and returns dx, the
    gradient of the loss with respect to x. Gradients are replaced, not added to those of an earlier pass:
    there is nothing to set to zero between steps.

    Both first check their argument (`expecting.py`): a TypeError if x or dy is not a NumPy array of floats, a
    ValueError if dy does not have y's shape, a RuntimeError for a backward pass before any forward pass.

    Attributes:
        training: whether the layer is in training mode; dropout and batch normalization behave differently.
        output_shape: the shape of the last y, which dy must have; None before, and in layers made of layers.
        parameter_names: the attributes that are learned; None where a layer does without one.
        statistic_names: the attributes that are part of a trained network's state, but not learned.
    """

    training: bool = True
    output_shape: tuple[int, ...] | None = None
    parameter_names: ClassVar[tuple[str, ...]] = ()
    statistic_names: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """Compute the output y."""

    @abstractmethod
    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x, and store those of the parameters."""

    def __call__(self, x: Array) -> Array:
        """Compute the output y: the same as `forward`."""
        return self.forward(x)

    @property
    def children(self) -> dict[str, Layer]:
        """The layers inside this one, by name."""
        return {}

    @property
    def parameters(self) -> dict[str, Array]:
        """The learned arrays, by name: "weight", or "3.weight" for the weight of the child called 3."""
        return self._own(self.parameter_names) | self._of_children("parameters")

    @property
    def gradients(self) -> dict[str, Array]:
        """The gradient of each parameter from the last backward pass, by the parameter's name.

        Raises:
            RuntimeError: there was no backward pass, or it has not stored one of them.
        """
        names = self._own(self.parameter_names)
        missing = [f"grad_{name}" for name in names if not hasattr(self, f"grad_{name}")]
        if missing:
            raise RuntimeError(f"{self!r}: has no gradients before a backward pass: no {', '.join(missing)}")
        return {name: getattr(self, f"grad_{name}") for name in names} | self._of_children("gradients")

    @property
    def state(self) -> dict[str, Array]:
        """The state of a trained network, by name: its parameters and its statistics."""
        return self._own((*self.parameter_names, *self.statistic_names)) | self._of_children("state")

    def _own(self, names: tuple[str, ...]) -> dict[str, Array]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _of_children(self, what: str) -> dict[str, Array]:
        return {
            f"{child}.{name}": array
            for child, layer in self.children.items()
            for name, array in getattr(layer, what).items()
        }

    def branches(self) -> list[Array]:
        """Return which side of its kinks, where there is no derivative, the last forward pass was on."""
        return [branch for layer in self.children.values() for branch in layer.branches()]

    def windows(self) -> list[Window]:
        """Return the windows through which an output sees the input, one behind the other."""
        own: Window | None = getattr(self, "window", None)
        return [own] if own else [each for layer in self.children.values() for each in layer.windows()]

    def train(self: _L, training: bool = True) -> _L:
        """Set the layer, and all inside it, to training mode; return it."""
        self.training = training
        for layer in self.children.values():
            layer.train(training)
        return self

    def eval(self: _L) -> _L:
        """Set the layer, and all inside it, to evaluation mode; return it."""
        return self.train(False)

    def astype(self: _L, dtype: Any) -> _L:
        """Convert parameters and statistics, except counts, to another precision; return the layer."""
        for name, array in self._own((*self.parameter_names, *self.statistic_names)).items():
            if array.dtype.kind == "f":
                setattr(self, name, array.astype(dtype))
        for layer in self.children.values():
            layer.astype(dtype)
        return self

    @classmethod
    def arguments_of(cls, owner: Any) -> dict[str, Any]:
        """Return the constructor's arguments, by name, from the attributes of a similar layer.

        Without those for the initial values (init, rng, dtype).
        """
        taken = inspect.signature(cls).parameters.values()
        names = [each.name for each in taken if each.kind is each.POSITIONAL_OR_KEYWORD]
        values = {name: getattr(owner, name) for name in names}
        return {name: value is not None if name == "bias" else value for name, value in values.items()}

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments, by name."""
        return self.arguments_of(self)

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        try:
            given = self.arguments()
        except AttributeError:  # a layer of one's own that keeps its arguments under other names
            return f"{type(self).__name__}(...)"
        plain = {
            name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()
        }
        unsaid = {name: (defaults[name].default,) * 2 for name in plain}  # (1, 1) is 1 too
        arguments = [f"{n}={v!r}" for n, v in plain.items() if v != unsaid[n][0] and v != unsaid[n]]
        return f"{type(self).__name__}({', '.join(arguments)})"


def in_one_precision(*arrays: Array | None) -> list[Any]:
    """Return arrays in the dtype of their sum: float64 and float32 both become float64."""
    dtype = np.result_type(*(array for array in arrays if array is not None))
    return [None if array is None else np.asarray(array, dtype) for array in arrays]
