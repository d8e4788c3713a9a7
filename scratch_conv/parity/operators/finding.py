"""Finding what the modules of a package define, so that a new module needs no entry in a list."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any


def collected(package: str, name: str) -> Iterator[Any]:
    """Return the elements of the tuples called `name` in the modules of a package and of those inside it."""
    paths = importlib.import_module(package).__path__
    for found in pkgutil.walk_packages(paths, f"{package}."):
        yield from getattr(importlib.import_module(found.name), name, ())
