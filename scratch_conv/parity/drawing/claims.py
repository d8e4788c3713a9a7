"""What a candidate claims to do; what it does not claim is never drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

FLOATS = ("float32", "float64", "float16", "bfloat16")
COMPLEX = ("complex64", "complex128")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
DTYPES = (*FLOATS, *COMPLEX, *INTEGERS, "bool")


@dataclass(frozen=True)
class Supports:
    """The claims of a candidate.

    Attributes:
        dtypes: names of the dtypes it takes; those that torch's operator lacks are never drawn.
        layouts: takes channels_last, transposed, sliced and expanded tensors; False: contiguous ones only.
        unbatched: takes an input without its batch axis.
        further_axes: takes more axes than (N, C), where the operator is not one of images.
        class_probabilities: a loss takes them as its target, besides the classes' indices.
        empty: takes a batch of zero.
        special_values: NaN, infinities, -0.0, subnormals and the largest numbers.
        rectangular: kernel_size, stride, padding and dilation may differ between height and width.
        string_padding: padding='same' and 'valid'.
        gradients: has a backward pass.
        second_derivatives: the backward pass can be differentiated again.
        memory_format: the output has the strides of torch's.
        errors: refuses what torch refuses, with the same exception type.
        functional: takes calls that no layer of torch.nn makes, such as a linear map's weight of one axis.
        without: names of torch's arguments that it lacks; they keep torch's default.
    """

    dtypes: tuple[str, ...] = ("float32", "float64")
    layouts: bool = True
    unbatched: bool = True
    further_axes: bool = True
    class_probabilities: bool = True
    empty: bool = True
    special_values: bool = True
    rectangular: bool = True
    string_padding: bool = True
    gradients: bool = True
    second_derivatives: bool = False
    memory_format: bool = False
    errors: bool = False
    functional: bool = True
    without: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        unknown = [name for name in self.dtypes if name not in DTYPES]
        if unknown or not self.dtypes:
            raise ValueError(f"supports: dtypes must be some of {', '.join(DTYPES)}, got {self.dtypes}")

    def takes(self, argument: str) -> bool:
        """Return whether the candidate has torch's argument of that name."""
        return argument not in self.without

    def left_out(self) -> list[str]:
        """Return the names of what is claimed by default and not here."""
        usual = Supports()
        flags = [name for name in FEATURES if getattr(usual, name) and not getattr(self, name)]
        return [*sorted(self.without), *flags, *(name for name in usual.dtypes if name not in self.dtypes)]


FEATURES = tuple(each.name for each in fields(Supports) if isinstance(each.default, bool))
"""The claims that are made or not made."""

Claims: TypeAlias = Supports | Mapping[str, Any] | None


def parse_supports(claims: Claims, arguments: Iterable[str]) -> Supports:
    """Turn the `supports=` of `check` into a `Supports`.

    Args:
        claims: a Supports, None for the default, or a mapping such as {"dilation": False, "dtypes":
            ["float64"]}, whose keys are attributes of Supports or names of the operator's arguments; its
            "without" lists either.
        arguments: the names of the operator's arguments.

    Raises:
        TypeError: `claims` is none of these, or a claim is neither True nor False.
        ValueError: for a name that is neither an attribute nor an argument, or an unknown dtype.
    """
    if isinstance(claims, Supports):
        claims = {each.name: getattr(claims, each.name) for each in fields(Supports)}
    if claims is not None and not isinstance(claims, Mapping):
        raise TypeError(f"supports must be a Supports or a mapping, got {type(claims).__name__}")
    made = dict(claims or {})
    dtypes = _listed(made.pop("dtypes", Supports().dtypes))
    made |= dict.fromkeys(_listed(made.pop("without", ())), False)
    _refuse_unknown(made, tuple(arguments))
    return Supports(
        dtypes=tuple(name.removeprefix("torch.") for name in dtypes),
        without=frozenset(name for name, value in made.items() if name not in FEATURES and not value),
        **{name: value for name, value in made.items() if name in FEATURES},
    )


def claims_of(without: str | None, added: str | None, dtypes: str | None) -> dict[str, Any]:
    """Return the claims that are written on a command line as names parted by commas."""
    claims: dict[str, Any] = dict.fromkeys(_words(added), True)
    claims["without"] = _words(without)
    return claims if dtypes is None else {**claims, "dtypes": _words(dtypes)}


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _refuse_unknown(made: dict[str, Any], arguments: tuple[str, ...]) -> None:
    unknown = [name for name in made if name not in FEATURES and name not in arguments]
    if unknown:
        known = f"choose from {', '.join(FEATURES)}"
        known += f", and of the operator's arguments {', '.join(arguments)}" if arguments else ""
        raise ValueError(f"supports: unknown {', '.join(map(repr, unknown))}; {known}")
    for name, value in made.items():
        if not isinstance(value, bool):
            raise TypeError(f"supports: {name} must be True or False, got {value!r}")
