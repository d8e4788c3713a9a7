"""What a candidate claims to do; what it does not claim is never drawn."""

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
        """Tell whether the candidate has torch's argument of that name."""
        return argument not in self.without


Claims: TypeAlias = Supports | Mapping[str, Any] | None


def parse_supports(claims: Claims, arguments: Iterable[str]) -> Supports:
    """Turn the `supports=` of `check` into a `Supports`.

    Arguments:
        claims: a Supports, None for the default, or a mapping such as {"dilation": False, "dtypes":
            ["float64"]}, whose keys are attributes of Supports or names of the operator's arguments.
        arguments: the names of the operator's arguments.

    Raises:
        ValueError: for a key that is neither.
    """
    if isinstance(claims, Supports):
        return claims
    names, attributes = set(arguments), {each.name for each in fields(Supports)}
    chosen: dict[str, Any] = {}
    without: set[str] = set()
    for key, value in (claims or {}).items():
        if key in attributes:
            chosen[key] = value
        elif key in names:
            without |= set() if value else {key}
        else:
            raise ValueError(f"supports: {key!r} is none of {', '.join(sorted(attributes | names))}")
    if "dtypes" in chosen:
        listed = chosen["dtypes"]
        listed = [listed] if isinstance(listed, str) else listed
        chosen["dtypes"] = tuple(str(dtype).removeprefix("torch.") for dtype in listed)
    chosen["without"] = frozenset(without) | frozenset(chosen.get("without", ()))
    return Supports(**chosen)
