"""Test whether an implementation equals PyTorch's, and if it does not, find where the bug is.

`check` draws whole configurations of an operator, compares output and gradients with torch without a
tolerance that anybody had to choose, and shrinks a failure to the smallest one. It needs
`pip install 'scratch-conv[parity]'`. Names are loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scratch_conv.parity.checking import assert_parity, cases, check
    from scratch_conv.parity.drawing.case import Case
    from scratch_conv.parity.drawing.claims import Supports
    from scratch_conv.parity.probing import probe
    from scratch_conv.parity.reporting.report import Report

__all__ = ["Case", "Report", "Supports", "assert_parity", "cases", "check", "probe"]

_MODULES = {
    "Case": "drawing.case",
    "Report": "reporting.report",
    "Supports": "drawing.claims",
    "assert_parity": "checking",
    "cases": "checking",
    "check": "checking",
    "probe": "probing",
}


if not TYPE_CHECKING:  # so that a misspelt name is an error for type checkers

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        except ModuleNotFoundError as error:
            if error.name != "hypothesis":
                raise
            needed = "scratch_conv.parity needs Hypothesis: pip install 'scratch-conv[parity]'"
            raise ModuleNotFoundError(needed, name="hypothesis") from None
        return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
