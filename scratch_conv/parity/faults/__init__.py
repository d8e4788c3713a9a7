"""Classic faults."""

from typing import Any

FAULTS: tuple[Any, ...] = ()
