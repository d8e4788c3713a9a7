"""Finding an implementation by its name on the command line."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratch_conv.parity.candidates.quiet import held_back


@dataclass(frozen=True)
class Target:
    """A candidate by its name, which is imported in the process where it is tested.

    Attributes:
        name: `package.module:Name`, looked for in the working directory too.
    """

    name: str

    def beside(self, name: str) -> "Target":
        """Return another one, in the same module where none is named."""
        return Target(name if ":" in name else f"{self.name.partition(':')[0]}:{name}")

    def load(self) -> Any:
        """Return the object.

        Raises:
            ValueError: says why there is none.
        """
        return load_target(self.name)


def load_target(target: str) -> Any:
    """Return the object named by `package.module:Name`, looked for in the working directory too.

    Raises:
        ValueError: says why there is none.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise ValueError(f"a target is written package.module:Name, got {target!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with held_back():
            found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # whatever their module raises on import
        raise ValueError(f"cannot load {target}: {type(error).__name__}: {error}") from error
    return found
