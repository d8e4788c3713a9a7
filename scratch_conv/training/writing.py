"""Files that are either the old version or the new one in full, never half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file, open for writing, that takes the place of `path` once the block ends without an error.

    A process killed in the block leaves `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside `path`, since a rename is atomic only within one file system.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
