"""Check before any work that a folder can be written."""

import tempfile
from pathlib import Path

from scratch_conv.training.settings import InputError


def check_writable(folder: Path) -> None:
    """Raise InputError if a folder cannot be written or created; it is not created yet."""
    present = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not present.is_dir():
        raise InputError(f"--out {folder}: {present} is a file, not a folder")
    try:
        tempfile.TemporaryFile(dir=present).close()
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({error.strerror})") from error
