"""Named arrays in an .npz file, written completely or not at all, and checked when read."""

import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from scratch_conv.kernels.windows import Array

__all__ = ["is_no_larger_than_its_file", "read_arrays", "replacing", "write_arrays"]

_Headers = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""The shape and dtype of each array of a file."""


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
            headers = _headers(file)
        except Exception as error:  # a damaged file can raise nearly anything
            raise ValueError(f"{path}: damaged, or not written by save ({error})") from error
        _refuse_others(path, headers, expected)
        try:
            file.seek(0)
            with np.load(file, allow_pickle=False) as saved:
                return {name: saved[name] for name in saved.files}
        except Exception as error:
            raise ValueError(f"{path}: damaged, or not written by save ({error})") from error


def _refuse_others(path: str | Path, headers: _Headers, expected: Mapping[str, Array]) -> None:
    """Raise ValueError unless a file has the arrays that a network has."""
    for name in {**expected, **headers}:
        if name not in headers or name not in expected:
            has, lacks = ("the network", "the file") if name in expected else ("the file", "the network")
            raise ValueError(f"{path}: of another network: {has} has {name}, {lacks} has not")
        shape, dtype = headers[name]
        if dtype.kind != expected[name].dtype.kind:
            kinds = f"{dtype} in the file, {expected[name].dtype} in the network"
            raise ValueError(f"{path}: of another network: {name} is {kinds}")
        if shape != expected[name].shape:
            shapes = f"{shape} in the file, {expected[name].shape} in the network"
            raise ValueError(f"{path}: of another network: {name} has shape {shapes}")


def _headers(file: BinaryIO) -> _Headers:
    """Return what a file says of its arrays: a small file may hold arrays that fill all memory."""
    headers = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            with archive.open(member) as array:
                old = np.lib.format.read_magic(array) == (1, 0)
                read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(array)
                size = array.tell() + math.prod(shape) * dtype.itemsize
                if dtype.hasobject or archive.getinfo(member).file_size != size:
                    raise ValueError(f"{member} is of another size than it says, or holds Python objects")
                headers[member.removesuffix(".npy")] = shape, dtype
    return headers


def is_no_larger_than_its_file(archive: zipfile.ZipFile) -> bool:
    """Return whether an archive is not compressed: a small one can fill all memory, then."""
    assert archive.filename is not None
    return sum(member.file_size for member in archive.infolist()) <= Path(archive.filename).stat().st_size


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
