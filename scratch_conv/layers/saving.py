"""Named arrays in an .npz file, written completely or not at all, and checked when read."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scratch_conv.kernels.windows import Array

__all__ = ["read_arrays", "replacing", "write_arrays"]


def write_arrays(path: str | Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays under their names, to a file of exactly the given name.

    Raises:
        OSError: it cannot be written; an existing file is kept.
    """
    with replacing(Path(path)) as file:  # np.savez would add .npz to a name
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # keywords of np.savez itself


def read_arrays(path: str | Path, expected: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays of the same names, shapes and kinds (floats, integers) as the expected ones.

    Pickled objects are refused, so nothing in the file is executed.

    Raises:
        ValueError: the file is damaged, or holds other arrays; the message says which.
        OSError: it cannot be opened.
    """
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as saved:
                arrays: dict[str, Array] = {name: saved[name] for name in saved.files}
        except Exception as error:  # a damaged file can raise nearly anything
            raise ValueError(f"{path}: damaged, or not written by save ({error})") from error
    for name in {**expected, **arrays}:
        if name not in arrays or name not in expected:
            has, lacks = ("the network", "the file") if name in expected else ("the file", "the network")
            raise ValueError(f"{path}: of another network: {has} has {name}, {lacks} has not")
        if not isinstance(arrays[name], np.ndarray):  # np.load returns the bytes of anything else
            raise ValueError(f"{path}: damaged, or not written by save ({name} is not an array)")
        if arrays[name].dtype.kind != expected[name].dtype.kind:
            kinds = f"{arrays[name].dtype} in the file, {expected[name].dtype} in the network"
            raise ValueError(f"{path}: of another network: {name} is {kinds}")
        if arrays[name].shape != expected[name].shape:
            shapes = f"{arrays[name].shape} in the file, {expected[name].shape} in the network"
            raise ValueError(f"{path}: of another network: {name} has shape {shapes}")
    return arrays


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` once the block ends without an error.

    A process killed in the block leaves `path` unchanged.
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
