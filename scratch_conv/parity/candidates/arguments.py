"""The arguments that a candidate is called or constructed with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.names import ARGUMENTS, IMAGE, MODE, Source, Sources, match, taken_of
from scratch_conv.parity.candidates.signatures import (
    check_call,
    name_of,
    parameters_of,
    short,
    takes_any_keyword,
)
from scratch_conv.parity.operators.calling import UPDATED, InterfaceError
from scratch_conv.parity.operators.operator import Operator

# Arguments that only say which parameters there are: a layer that has them always need not take these.
_FLAGS = {"bias": True, "affine": True, "elementwise_affine": True, "track_running_stats": True}

ABSENT = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
"""What a parameter holds to be as good as absent."""


@dataclass(frozen=True)
class GivenTensor:
    """A tensor among a constructor's arguments.

    Attributes:
        name: torch's name.
        value: the tensor.
        code: the expression that is written for it.
    """

    name: str
    value: Tensor
    code: str

    def __repr__(self) -> str:
        return self.code


def sources_of(
    candidate: Callable[..., Any], operator: Operator, adapter: Adapter, constructs: bool
) -> Sources | None:
    """Return what each argument of a function, or of what constructs a layer, is given; None if unknown."""
    taken = parameters_of(candidate)
    if taken is None:
        return None
    sizes = (*operator.sizes[:-1], *_FLAGS, *IMAGE) if constructs else ()
    offered = (*operator.required, *operator.arguments, *sizes, "training", *operator.signature)
    return match(taken, offered, adapter.names, inspect.unwrap(candidate))


def is_one_number(candidate: Callable[..., Any], sources: Sources, argument: str) -> bool:
    """Return whether a candidate takes a number for torch's shape, as its name or annotation shows."""
    taken = parameters_of(candidate) or {}
    own = [name for name, source in sources.items() if source == Source(argument)]
    return any(not name.endswith("shape") or taken[name].annotation in (int, "int") for name in own)


def differing_defaults(
    candidate: Callable[..., Any], operator: Operator, adapter: Adapter, constructs: bool
) -> list[str]:
    """Return a line for each argument whose default is not torch's."""
    taken = parameters_of(candidate) or {}
    sources = sources_of(candidate, operator, adapter, constructs) or {}
    left = adapter.builtin | adapter.unclaimed
    lines = []
    for name, source in sources.items():
        if isinstance(source, dict) or source.name not in operator.defaults or source.name in left:
            continue
        own, torchs = taken[name].default, source.of(operator.defaults[source.name])
        if own is not inspect.Parameter.empty and not _same_default(own, torchs):
            said = f"{name}: its own default is {own!r}, torch's is {torchs!r}"
            lines.append(f"{said}: it is given torch's, where a call has no other")
    return lines


def constructor_arguments(
    layer: Callable[..., Any],
    operator: Operator,
    tensors: Mapping[str, Any],
    arguments: dict[str, Any],
    adapter: Adapter,
    code: str = "{}",
) -> dict[str, Any]:
    """Return the keyword arguments that construct a layer for a call.

    They are those of the namesake in torch.nn by its own names for them; a square kernel_size is one number.
    Tensors are given as `GivenTensor`.

    Args:
        layer: a class, or what else constructs a layer.
        operator: what it is compared with.
        tensors: the tensors of the call, in the candidate's layout.
        arguments: the other arguments.
        adapter: how it is called.
        code: the expression of a tensor, given its name.
    """
    torchs = {name: adapter.layout.restore(name, tensor) for name, tensor in tensors.items()}
    constructed = dict(operator.constructor(dict(torchs), arguments))
    held = {n: GivenTensor(n, t, code.format(n)) for n, t in tensors.items() if n not in operator.inputs}
    for name in ABSENT:
        if name in operator.signature and name not in held:
            held[name] = GivenTensor(name, *_neutral(operator, name, torchs, arguments))
    weight = {"weight": held["weight"]} if "weight" in constructed else {}
    extras = {**held, **_image(operator, torchs, adapter)}
    return _fitted(layer, operator, {**constructed, **weight}, _FLAGS, extras, adapter)


def _neutral(
    operator: Operator, name: str, tensors: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[Tensor, str]:
    """Return what a tensor that a call has not is to be as good as absent, and its expression."""
    weight, input = tensors.get("weight"), tensors["input"]
    count = input.shape[1] if len(input.shape) > 1 else 1
    if name == "bias" and weight is not None and "out_channels" in operator.sizes:
        count = operator.constructor(dict(tensors), dict(arguments))["out_channels"]
    elif name == "bias" and weight is not None and not operator.updates:
        count = weight.shape[0] if len(weight.shape) > 1 else 1
    dtype = getattr(input, "dtype", None)
    dtype = dtype if isinstance(dtype, torch.dtype) else torch.float32
    shape = arguments.get("normalized_shape", (count,))
    code = f"torch.full({shape}, {ABSENT[name]}, dtype={dtype})"
    return torch.full(shape, ABSENT[name], dtype=dtype), code


def _image(operator: Operator, tensors: Mapping[str, Any], adapter: Adapter) -> dict[str, Any]:
    """Return what a constructor may be given of the sizes of its input, in the order of its own axes."""
    shape = tuple(tensors["input"].shape)
    letters = adapter.layout.letters("input")
    torchs, own = letters or ("", "")
    if not letters:
        inner: tuple[int, ...] = shape[1:] if len(shape) >= operator.batched_axes else shape
    else:
        inner = tuple(shape[torchs.index(each)] for each in own if each != "n")
    sizes = {"input_shape": inner, "batch_size": shape[0] if shape else 1}
    return {**sizes, **dict(zip(("input_height", "input_width"), shape[-2:], strict=False))}


def function_call(
    function: Callable[..., Any],
    operator: Operator,
    tensors: Mapping[str, Tensor],
    arguments: dict[str, Any],
    adapter: Adapter,
    code: str = "{}",
) -> tuple[list[GivenTensor | None], dict[str, Any]]:
    """Return the positional and the keyword arguments that a function is called with.

    Its tensors, as `GivenTensor`, are given by position, in torch's order, unless its names show another.

    Args:
        function: the function.
        operator: what it is compared with.
        tensors: the tensors of the call, in the candidate's layout.
        arguments: the other arguments.
        adapter: how it is called.
        code: the expression of a tensor, given its name.
    """
    taken = parameters_of(function) or {}
    sources = sources_of(function, operator, adapter, constructs=False) or {}
    given = {name: GivenTensor(name, tensor, code.format(name)) for name, tensor in tensors.items()}
    ordered = in_torchs_order(taken, sources, operator)
    for name in ABSENT:  # running statistics are None in torch's order
        required = any(_asks(taken, sources, name)) and not (ordered and name in UPDATED)
        if name in operator.signature and name not in given and required:
            torchs = {each: adapter.layout.restore(each, tensor) for each, tensor in tensors.items()}
            given[name] = GivenTensor(name, *_neutral(operator, name, torchs, arguments))
    others = _fitted(function, operator, arguments, {}, given, adapter)
    if not ordered:
        return [], others
    names = list(operator.signature)
    while names and names[-1] not in given and names[-1] not in UPDATED:
        names.pop()
    placed = {name for name, source in sources.items() if isinstance(source, Source) and source.name in names}
    return [given.get(name) for name in names], {n: each for n, each in others.items() if n not in placed}


def in_torchs_order(taken: Mapping[str, inspect.Parameter], sources: Sources, operator: Operator) -> bool:
    """Return whether a function takes its tensors by position in torch's order, as far as its names show."""
    names = [name for name, each in taken.items() if each.kind is not each.KEYWORD_ONLY]
    if not names or any(each.kind is each.VAR_POSITIONAL for each in taken.values()):
        return True
    shown = [sources[name] for name in names[: len(operator.signature)] if name in sources]
    if operator.parted:
        return False
    tensors = [each.name for each in shown if isinstance(each, Source) and each.name in operator.signature]
    return tensors == list(operator.signature[: len(tensors)]) or operator.inputs[0] not in tensors


def _fitted(
    candidate: Callable[..., Any],
    operator: Operator,
    given: dict[str, Any],
    flags: dict[str, bool],
    extras: dict[str, Any],
    adapter: Adapter,
) -> dict[str, Any]:
    """Return a candidate's arguments by its own names: what is given, what it requires, and torch's defaults.

    Torch's default is given where the candidate's own is another or none. What is given and it lacks is given
    by torch's name, so that the call fails, unless it need not be taken.

    Args:
        candidate: a function or a class.
        operator: what it is compared with.
        given: the arguments by torch's names.
        flags: torch's defaults of those that say which parameters there are.
        extras: what else it may ask for: tensors, sizes of the input.
        adapter: how it is called.
    """
    taken = parameters_of(candidate)
    if taken is None:
        return given
    sources = sources_of(candidate, operator, adapter, constructs=bool(flags)) or {}
    defaults = {**operator.defaults, **flags}
    if defaults.get("stride", ...) is None and "kernel_size" in given:
        size = given["kernel_size"]
        defaults["stride"] = size[0] if isinstance(size, tuple) and len({*size}) == 1 else size
    values = {**extras, **defaults, **given}
    arrays = bool(flags) and "weight" in taken_of(sources)
    if arrays and "bias" in extras and any(_asks(taken, sources, "bias")):
        values["bias"] = extras["bias"]
    if "training" in operator.arguments:
        values[MODE] = "train" if values.get("training") else "test"
    fitted: dict[str, Any] = {}
    for name, source in sources.items():
        if isinstance(source, dict):
            fitted[name] = {
                key: each.of(values[each.name]) for key, each in source.items() if each.name in values
            }
        elif source.name in values:
            value, own = source.of(values[source.name]), taken[name].default
            if flags and source.name in ("kernel_size", "normalized_shape"):
                value = _window(name, value)
            if flags and source in _PAIRED and _takes_pairs(taken[name]) and isinstance(value, int):
                value = (value, value)
            optional = isinstance(value, GivenTensor) and source.name not in given and bool(flags)
            optional = optional and not (source.name in UPDATED and own is None)
            optional = optional or (source.name in adapter.unclaimed and source.name not in given)
            if not _same_default(own, value) and not (optional and own is not inspect.Parameter.empty):
                fitted[name] = value
    implied = {*operator.implied, *flags, *adapter.builtin, *(operator.sizes if arrays else ())}
    if taken_of(sources) & {"out_channels", "out_features"}:  # it sees its input's size in a first call
        implied |= {"in_channels", "in_features"}
    return fitted | _untaken(taken, sources, given, implied, flags)


_PAIRED = tuple(map(Source, ("kernel_size", "stride", "padding", "dilation")))


def _takes_pairs(parameter: inspect.Parameter) -> bool:
    """Return whether an argument is a pair, as its default or its annotation shows."""
    shown = str(parameter.annotation).lower()
    return (isinstance(parameter.default, (tuple, list)) and len(parameter.default) == 2) or (
        shown.startswith(("tuple[", "typing.tuple[", "<class 'tuple'>")) and "|" not in shown
    )


def _window(name: str, size: Any) -> Any:
    """Return a size as a layer is given it: equal numbers as one, but for a `..._shape`."""
    if name.endswith("shape"):
        return size if isinstance(size, tuple) else (size, size)
    return size[0] if isinstance(size, tuple) and len({*size}) == 1 else size


def _asks(taken: Mapping[str, inspect.Parameter], sources: Sources, tensor: str) -> Iterator[bool]:
    """Return for each argument that is given a tensor whether it has no default."""
    return (
        taken[name].default is taken[name].empty for name, each in sources.items() if each == Source(tensor)
    )


def _same_default(own: Any, value: Any) -> bool:
    """Return whether a candidate's own default is a value; (1, 1) is 1, no padding is "valid"."""
    if own is inspect.Parameter.empty:
        return False
    if isinstance(own, (tuple, list)) and not isinstance(value, (tuple, list)) and len({*own}) == 1:
        own = own[0]
    if type(value).__module__ != "builtins":  # a tensor
        return False
    return bool(own == value) or (own == "valid" and value == 0)


def _untaken(
    taken: Mapping[str, inspect.Parameter],
    sources: Sources,
    given: dict[str, Any],
    optional: set[str],
    flags: dict[str, bool],
) -> dict[str, Any]:
    """Return what is given and has no place in the signature, by torch's names."""
    left = {name: value for name, value in given.items() if name not in taken_of(sources)}
    if flags and "kernel_size" in left:
        left["kernel_size"] = _window("kernel_size", left["kernel_size"])
    if takes_any_keyword(dict(taken)):
        return {name: value for name, value in left.items() if value is not flags.get(name, ...)}
    return {name: value for name, value in left.items() if name not in optional}


def construct(
    layer: Callable[..., Any], arguments: dict[str, Any], as_array: Callable[[Tensor], Any] | None = None
) -> tuple[Any, dict[str, Any]]:
    """Return a layer of a class, and the arguments that it took.

    Args:
        layer: what constructs it.
        arguments: its keyword arguments.
        as_array: makes of a tensor what the layer takes; None where it takes tensors.

    Raises:
        InterfaceError: the constructor, or one that it hands its **kwargs to, does not take the arguments.
    """
    given = {name: opened(value, as_array) for name, value in arguments.items()}
    check_call(layer, **given)
    try:
        return layer(**given), arguments
    except TypeError as error:
        if _unpacks(error) and (pairs := _as_pairs(arguments)) != arguments:
            return construct(layer, pairs, as_array)
        if "unexpected keyword argument" not in str(error):
            raise
        fewer = {name: value for name, value in arguments.items() if name not in _FLAGS}
        if len(fewer) < len(arguments):
            return construct(layer, fewer, as_array)
        words = ", ".join(f"{name}={short(value)}" for name, value in given.items())
        raise InterfaceError(f"{name_of(layer)}({words}): {error}") from None


def _unpacks(error: TypeError) -> bool:
    """Return whether a pair was expected and a number given."""
    return "non-iterable int" in str(error) or "'int' object is not" in str(error)


def _as_pairs(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a constructor with windows and strides as pairs."""
    paired = {spelled for name in ("kernel_size", "stride") for spelled in (name, *ARGUMENTS[name].split())}
    return {
        name: (value, value) if name in paired and type(value) is int else value
        for name, value in arguments.items()
    }


def opened(value: Any, as_array: Callable[[Tensor], Any] | None = None) -> Any:
    """Return a tensor for a `GivenTensor`, within a dictionary too."""
    if isinstance(value, dict):
        return {key: opened(each, as_array) for key, each in value.items()}
    if not isinstance(value, GivenTensor):
        return value
    return value.value if as_array is None else as_array(value.value)
