"""Check before any work that a folder can be written."""

import tempfile
from pathlib import Path

from scratch_conv.training.settings import InputError


def check_writable(folder: Path) -> None:
    """Raise InputError if a folder cannot be written or created; it is not created yet."""
    try:
        present = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if present.is_dir():
            tempfile.TemporaryFile(dir=present).close()
    except OSError as error:  # also for a name that is too long
        raise InputError(f"--out {folder}: cannot be written ({error.strerror})") from error
    if not present.is_dir():
        raise InputError(f"--out {folder}: {present} is a file, not a folder")
