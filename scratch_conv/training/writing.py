"""Files that are either the old version or the new one in full, never half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from scratch_conv.training.settings import InputError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` once the block ends without an error.

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


def check_writable(folder: Path) -> None:
    """Raise InputError if a folder cannot be written, or made; it is not made yet."""
    present = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not present.is_dir():
        raise InputError(f"--out {folder}: {present} is a file, not a folder")
    try:
        tempfile.TemporaryFile(dir=present).close()
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({error.strerror})") from error
