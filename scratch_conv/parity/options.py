"""The options of the tool: the same for the command, the pytest plugin and `check`. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from scratch_conv.parity.drawing.claims import ACCURACIES, DTYPES, FEATURES, words_of

if TYPE_CHECKING:
    from scratch_conv.parity.candidates.adapter import Adapter
    from scratch_conv.parity.drawing.claims import Claims, Supports
    from scratch_conv.parity.operators.operator import Operator

Words: TypeAlias = "str | list[str] | tuple[str, ...] | None"
"""Names, as one text with commas between them or one by one."""

_OFF = ("second_derivatives", "memory_format", "errors")
_ON = ", ".join(name for name in FEATURES if name not in _OFF)

CLAIMS = {
    "without": f"What the target does not claim and is not tested for, separated by commas: {_ON}, "
    "rectangular.stride and the like for one argument, and torch's arguments (groups, dilation, ceil_mode, "
    "...). What its signature lacks is left out by itself.",
    "with": f"What else it is tested for: {', '.join(_OFF)}.",
    "dtypes": f"Of {', '.join(DTYPES)}.",
    "fix": "Arguments, or a layer's sizes, that have one value in every call: eps=1e-7,padding=same. The "
    "target need not take them.",
    "skip_on": "Exceptions by which it says that it does not claim a call, besides NotImplementedError.",
    "accuracy": f"One of {', '.join(ACCURACIES)}: norm for FFT or Winograd, whose errors are small beside "
    "the largest result only.",
}
"""What is claimed: the options and what they say."""

CALLING = {
    "names": "What it calls torch's arguments, parameters and methods: num_filters=out_channels,"
    "weight=conv.W,forward=forward_pass. keep=1-p and kh=kernel_size[0] are understood, "
    "opts.pad=padding for a dictionary.",
    "layout": "The order of its images' axes, such as nhwc; chw for one image a call; hw:hwc where the "
    "output's is another.",
    "weights": "The order of its weight's axes, such as hwio.",
    "arrays": "What a function is called with, where its code does not show it: torch, numpy, jax or mlx.",
    "backward": "The function that returns the gradients, as module:Name or a name in the target's module. "
    "It is called with the gradient of the output, and with what the target returned beside its output.",
    "outputs": "The names of what it returns: output,cache.",
    "gradients": "The tensors whose gradients its backward returns, in order: weight,bias,input.",
    "device": "Where tensors are put for it: cuda, mps, ...; the results come back.",
}
"""How it is called."""


def stated(operator: Operator, supports: Claims, options: Mapping[str, Any]) -> tuple[Supports, Adapter]:
    """Return what is claimed for a candidate and how it is called.

    Args:
        operator: what it is compared with.
        supports: the claims as `Supports` or a mapping.
        options: the options that are given, by name.

    Raises:
        TypeError, ValueError: say which option is wrong.
    """
    from scratch_conv.parity.candidates.adapter import parse_adapter
    from scratch_conv.parity.drawing.claims import Supports, parse_supports

    given = {name: value for name, value in options.items() if value is not None}
    claims: dict[str, Any] = dict.fromkeys(listed(given.pop("with", ())), True)
    claims |= {name: given.pop(name) for name in CLAIMS if name in given}
    if isinstance(supports, Supports):
        if claims:
            raise TypeError(f"supports: give a mapping beside {', '.join(claims)}, or these in the Supports")
        claimed = parse_supports(supports, operator.arguments, operator.sizes, operator.signature)
    else:
        if supports is not None and not isinstance(supports, Mapping):
            raise TypeError(f"supports must be a Supports or a mapping, got {type(supports).__name__}")
        made = dict(supports or {})
        without = [*listed(made.pop("without", ())), *listed(claims.pop("without", ()))]
        claimed = parse_supports(
            {**made, **claims, "without": without}, operator.arguments, operator.sizes, operator.signature
        )
    if claimed.accuracy == "norm" and not operator.normwise:
        raise ValueError(f"accuracy: there is no bound by norm for {operator.name}, but for convolutions")
    adapter = parse_adapter(operator, claims=claimed, **given)
    return claimed, adapter


def listed(value: Any) -> list[str]:
    """Return names that are given as one text with commas between them, or one by one."""
    return words_of(value) if isinstance(value, str) else list(value)
