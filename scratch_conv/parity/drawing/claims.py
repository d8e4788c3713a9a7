"""What a candidate claims to do; what it does not claim is never drawn."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

FLOATS = ("float32", "float64", "float16", "bfloat16")
COMPLEX = ("complex64", "complex128")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
DTYPES = (*FLOATS, *COMPLEX, *INTEGERS, "bool")
PAIRS = ("kernel_size", "stride", "padding", "dilation", "output_padding")
"""The arguments that may differ between height and width."""

ACCURACIES = ("elementwise", "norm")


@dataclass(frozen=True)
class Supports:
    """The claims of a candidate.

    Attributes:
        dtypes: names of the dtypes it takes; those that torch's operator lacks are never drawn.
        layouts: takes channels_last, transposed, sliced and expanded tensors; False: contiguous ones only.
        unbatched: takes an input without its batch axis.
        further_axes: takes more axes than (N, C), where the operator is not one of images.
        class_probabilities: a loss takes them as its target, besides the classes' indices.
        byte_targets: a loss takes indices of uint8, besides those of int64.
        broadcast_targets: a loss takes targets of another shape than the input's, if both broadcast.
        batches: takes a batch of several samples.
        empty: takes a batch of zero.
        remainders: takes rows and columns at the end that no window reaches; False: whole windows only.
        running_statistics: updates them in training.
        special_values: NaN, infinities, -0.0, subnormals and the largest numbers.
        rectangular: kernel_size, stride, padding and dilation may differ between height and width.
        string_padding: padding='same' and 'valid'.
        gradients: has a backward pass.
        second_derivatives: the backward pass can be differentiated again.
        memory_format: the output has the strides of torch's.
        errors: refuses what torch refuses, with the same exception type.
        functional: takes calls that no layer of torch.nn makes, such as a linear map's weight of one axis.
        without: names of torch's arguments that it lacks; they keep torch's default.
        constants: names of the tensors whose gradients it does not return.
        square: names of the arguments that it takes as one number, where others may be pairs.
        fixed: names of arguments, or of a layer's sizes, and the value that each has in every call.
        skip_on: names of the exceptions by which it says that it does not claim a call.
        accuracy: "elementwise", or "norm" for an algorithm whose errors are small beside the largest result
            of a call, not beside each one: FFT, Winograd.
    """

    dtypes: tuple[str, ...] = ("float32", "float64")
    layouts: bool = True
    unbatched: bool = True
    further_axes: bool = True
    class_probabilities: bool = True
    byte_targets: bool = True
    broadcast_targets: bool = True
    batches: bool = True
    empty: bool = True
    remainders: bool = True
    running_statistics: bool = True
    special_values: bool = True
    rectangular: bool = True
    string_padding: bool = True
    gradients: bool = True
    second_derivatives: bool = False
    memory_format: bool = False
    errors: bool = False
    functional: bool = True
    without: frozenset[str] = field(default_factory=frozenset)
    constants: frozenset[str] = field(default_factory=frozenset)
    square: frozenset[str] = field(default_factory=frozenset)
    fixed: tuple[tuple[str, Any], ...] = ()
    skip_on: tuple[str, ...] = ("NotImplementedError",)
    accuracy: str = "elementwise"

    def __post_init__(self) -> None:
        unknown = [name for name in self.dtypes if name not in DTYPES]
        if unknown or not self.dtypes:
            raise ValueError(f"supports: dtypes must be some of {', '.join(DTYPES)}, got {self.dtypes}")
        if self.accuracy not in ACCURACIES:
            raise ValueError(f"accuracy must be one of {', '.join(ACCURACIES)}, got {self.accuracy!r}")

    def fixed_at(self, argument: str, otherwise: Any = None) -> Any:
        """Return the value that an argument has in every call."""
        return dict(self.fixed).get(argument, otherwise)

    def takes(self, argument: str) -> bool:
        """Return whether the candidate has torch's argument of that name."""
        return argument not in self.without

    def left_out(self) -> list[str]:
        """Return the names of what is claimed by default and not here."""
        usual = Supports()
        flags = [name for name in FEATURES if getattr(usual, name) and not getattr(self, name)]
        pairs = [f"rectangular.{name}" for name in sorted(self.square)]
        pairs += [f"grad_{name}" for name in sorted(self.constants)]
        narrower = [name for name in usual.dtypes if name not in self.dtypes]
        return [*sorted(self.without), *flags, *pairs, *narrower]


FEATURES = tuple(each.name for each in fields(Supports) if isinstance(each.default, bool))
"""The claims that are made or not made."""

Claims: TypeAlias = Supports | Mapping[str, Any] | None


def parse_supports(
    claims: Claims, arguments: Iterable[str], sizes: Iterable[str] = (), tensors: Iterable[str] = ()
) -> Supports:
    """Turn the `supports=` of `check` into a `Supports`.

    Args:
        claims: a Supports, None for the default, or a mapping such as {"dilation": False, "dtypes":
            ["float64"]}, whose keys are attributes of Supports or names of the operator's arguments; its
            "without" lists either, and its "fix" is a mapping of values.
        arguments: the names of the operator's arguments.
        sizes: what else may be fixed: the names of a layer's sizes.
        tensors: the names of the operator's tensors, whose gradients may be left out.

    Raises:
        TypeError: `claims` is none of these, or a claim is neither True nor False.
        ValueError: for a name that is neither an attribute nor an argument, or an unknown dtype.
    """
    if isinstance(claims, Supports):
        _refuse_unknown(dict.fromkeys(claims.without, False), tuple(arguments), ())
        return claims
    if claims is not None and not isinstance(claims, Mapping):
        raise TypeError(f"supports must be a Supports or a mapping, got {type(claims).__name__}")
    made = dict(claims or {})
    arguments = tuple(arguments)
    dtypes = _listed(made.pop("dtypes", Supports().dtypes))
    fixed = parse_fixed(made.pop("fix", {}), (*arguments, *sizes))
    skip_on = _exceptions(made.pop("skip_on", ()))
    accuracy = made.pop("accuracy", Supports().accuracy)
    made |= dict.fromkeys(_listed(made.pop("without", ())), False)
    square = {name.partition(".")[2] for name in made if name.startswith("rectangular.") and not made[name]}
    gradients = [f"grad_{name}" for name in tensors]
    _refuse_unknown(made, arguments, gradients)
    return Supports(
        dtypes=tuple(name.removeprefix("torch.") for name in dtypes),
        without=frozenset(
            n for n, value in made.items() if n in arguments and n not in FEATURES and not value
        ),
        constants=frozenset(n.removeprefix("grad_") for n in gradients if made.get(n) is False),
        square=frozenset(square),
        fixed=tuple(fixed.items()),
        skip_on=(*Supports().skip_on, *skip_on),
        accuracy=accuracy,
        **{name: value for name, value in made.items() if name in FEATURES},
    )


def parse_fixed(fixed: str | Mapping[str, Any] | None, known: Iterable[str]) -> dict[str, Any]:
    """Return the arguments of one value, by name.

    Args:
        fixed: these, or words such as "eps=1e-7,padding=same".
        known: the names of the arguments that there are.

    Raises:
        ValueError: a word has no value, or its name is unknown.
    """
    if isinstance(fixed, str):
        words = [word.partition("=") for word in words_of(fixed)]
        if any(not value for _, _, value in words):
            raise ValueError(f"fix: written as name=value, separated by commas, got {fixed!r}")
        fixed = {name.strip(): _value(value.strip()) for name, _, value in words}
    unknown = [name for name in fixed or {} if name not in tuple(known)]
    if unknown:
        raise ValueError(f"fix: unknown {', '.join(map(repr, unknown))}; choose from {', '.join(known)}")
    return dict(fixed or {})


def _value(text: str) -> Any:
    """Return a value as it is written in Python, or a word."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _exceptions(given: Any) -> list[str]:
    """Return the names of exceptions, given as such, as classes, or as words parted by commas.

    Raises:
        ValueError: for what names no exception.
    """
    given = words_of(given) if isinstance(given, str) else [given] if isinstance(given, type) else list(given)
    names = [each.__name__ if isinstance(each, type) else str(each) for each in given]
    wrong = [name for name in names if not name.rpartition(".")[2].isidentifier()]
    if wrong:
        raise ValueError(
            f"skip_on: names of exceptions, separated by commas, got {', '.join(map(repr, wrong))}"
        )
    return [name.rpartition(".")[2] for name in names]


def words_of(text: str | None) -> list[str]:
    """Return the words between commas, but for the commas within brackets."""
    words, depth = [""], 0
    for letter in text or "":
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            words.append("")
        else:
            words[-1] += letter
    return [word.strip() for word in words if word.strip()]


def _listed(value: Any) -> list[str]:
    return words_of(value) if isinstance(value, str) else [str(each) for each in value]


def _refuse_unknown(made: dict[str, Any], arguments: tuple[str, ...], gradients: Iterable[str]) -> None:
    pairs = [f"rectangular.{name}" for name in PAIRS if name in (*arguments, "kernel_size")]
    pairs += gradients
    unknown = [name for name in made if name not in FEATURES and name not in (*arguments, *pairs)]
    if unknown:
        known = f"choose from {', '.join(FEATURES)}"
        known += f", and of the operator's arguments {', '.join(arguments)}" if arguments else ""
        known += f", {', '.join(pairs)}" if pairs else ""
        raise ValueError(f"supports: unknown {', '.join(map(repr, unknown))}; {known}")
    for name, value in made.items():
        if not isinstance(value, bool):
            raise TypeError(f"supports: {name} must be True or False, got {value!r}")
