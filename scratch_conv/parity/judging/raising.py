"""What a candidate raised, and where in its own code."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import numpy as np
import torch

# Code of torch, NumPy, Python and this package stands in every traceback and is not what is looked for.
_FOREIGN = tuple(str(Path(file).parent) for file in (torch.__file__, np.__file__, __file__))
_PYTHON = sysconfig.get_path("stdlib")


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
    if file.startswith(("<frozen", *_FOREIGN)):
        return False
    return not file.startswith(_PYTHON) or "-packages" in file
