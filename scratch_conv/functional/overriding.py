"""The mode within which NumPy computes what code calls of torch's."""

from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodWrapperType
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, has_torch_function

from scratch_conv.autograd import _torch_internals as internals

REPLACEMENTS: dict[Any, Any] = {}
"""What computes a call of torch's within `Override`: by torch's function or method."""

REAL: set[Any] = set()
"""The functions of torch's whose calls with complex numbers stay torch's."""

LEFT: dict[Any, Callable[..., bool]] = {}
"""What returns of the arguments of a call of torch's whether it stays torch's."""

PLACES: dict[str, Any] = {}
"""What computes the functions of torch.nn.functional: by their names there."""

_RUNS_BACKWARD = (Tensor.backward, torch.autograd.backward, torch.autograd.grad)


class Override(TorchFunctionMode):
    """Compute the calls that `REPLACEMENTS` names, beneath all other modes and tensor subclasses.

    These see torch's own functions with the arguments that the code gave; what they pass on is computed here.
    """

    ignores_operators = True

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if internals.in_function_mode():
            with internals.beneath(self):
                return func(*args, **given)
        if types not in ((), (Tensor,)) and _asks_subclasses((*args, *given.values())):
            return self._pass_on(func, types, args, given)
        if func in _RUNS_BACKWARD:
            with self:
                return _undispatched(func)(*args, **given)
        own = REPLACEMENTS.get(func) or _replacement_of_patched(func)
        if own is None:
            return func(*args, **given)
        tensors = [each for each in (*args, *given.values()) if isinstance(each, Tensor)]
        # Into `out` torch writes itself.
        if given.get("out") is not None or not all(map(_is_plain, tensors)):
            own = func
        if func in REAL and any(map(torch.is_complex, tensors)):
            own = func
        if func in LEFT and LEFT[func](*args, **given):
            own = func
        return own(*args, **given)

    def _pass_on(self, func: Any, types: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """Let tensor subclasses handle a call, in torch's order; what they call in turn is overridden too."""
        if func in REPLACEMENTS and any(issubclass(cls, torch.fx.Proxy) for cls in types):
            return REPLACEMENTS[func](*args, **given)  # for a graph that NumPy computes wherever it is run
        with self:
            for cls in types:
                handler = next((each for each in (*args, *given.values()) if type(each) is cls), cls)
                result = handler.__torch_function__(func, types, args, given)
                if result is not NotImplemented:
                    return result
        return func(*args, **given)  # which torch refuses


OVERRIDE = Override()


def _replacement_of_patched(func: Any) -> Any:
    """Return what computes a function that someone put in the place of one of torch.nn.functional's.

    It has been called already, and has called torch's, which names itself to modes by its place.
    """
    if isinstance(func, (BuiltinFunctionType, MethodDescriptorType, MethodWrapperType)):
        return None
    return next((own for name, own in PLACES.items() if vars(F)[name] is func), None)


def _asks_subclasses(arguments: tuple[Any, ...]) -> bool:
    """Return whether torch would ask a subclass among the arguments, while no mode is active.

    Where a mode may be, that is not known, and subclasses see our functions' own calls.
    """
    return internals.CAN_GO_BENEATH and has_torch_function(arguments)


def _is_plain(argument: Tensor) -> bool:
    """Return whether the numbers of a tensor lie in strided memory.

    Sparse, quantized and nested tensors, and subclasses that implement torch's operators, are torch's.
    """
    if argument.layout != torch.strided or argument.is_quantized or argument.is_nested:
        return False
    own_operators = type(argument).__torch_dispatch__ is not Tensor.__torch_dispatch__
    return not own_operators or internals.is_traced(argument)


def _undispatched(function: Any) -> Any:
    """Return a function of torch's that does not ask modes and subclasses, which have been asked."""
    names = {name for name in function.__code__.co_names if name.startswith("has_torch_function")}
    never = dict.fromkeys(names, lambda *_: False)
    copy = FunctionType(function.__code__, {**function.__globals__, **never}, function.__name__)
    copy.__defaults__, copy.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return copy
