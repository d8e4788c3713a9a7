"""What a candidate raised, and where in its own code."""

from __future__ import annotations

import sysconfig
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from scratch_conv.parity.candidates.candidate import GradientError
from scratch_conv.parity.operators.calling import InterfaceError

# Code of torch, NumPy, Python and this package stands in every traceback and is not what is looked for.
_FOREIGN = tuple(str(Path(file).parent) for file in (torch.__file__, np.__file__, __file__))
_PYTHON = sysconfig.get_path("stdlib")


@dataclass
class Raised:
    """An exception as plain data: its class may be the candidate's own.

    Attributes:
        kind: "interface", "gradient", "result" (it cannot be compared) or "exception".
        text: one line.
        types: the full names of its class and of those that it extends.
        found: what a `GradientError` has found.
    """

    kind: str
    text: str
    types: tuple[str, ...] = ()
    found: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)


def as_raised(error: BaseException) -> Raised:
    """Return what is to be known of an exception."""
    types = tuple(map(full_type, type(error).__mro__))
    if isinstance(error, InterfaceError):
        return Raised("interface", str(error), types)
    if isinstance(error, GradientError):
        return Raised("gradient", str(error), types, error.found)
    return Raised("exception", describe_raised(error), types)


def full_type(kind: type) -> str:
    """Return the name of a class with its module's."""
    return f"{kind.__module__}.{kind.__qualname__}"


def describe_raised(error: BaseException) -> str:
    """Return one line: the exception, and the innermost place of the candidate's own code."""
    text = " ".join(str(error).split())
    raised = f"raised {type(error).__name__}" + (f": {text}" if text else "")
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    if not own:
        return raised
    file = Path(own[-1].filename)
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    place = f"at {shown}:{own[-1].lineno}, in {own[-1].name}"
    return f"{raised} {place}" + (f" (`{own[-1].line}`)" if own[-1].line else "")


def _is_own(file: str) -> bool:
    if file.startswith(("<frozen", *_FOREIGN)) or file.endswith((".pyx", ".pxd")):  # Cython has no paths
        return False
    return not file.startswith(_PYTHON) or "-packages" in file
