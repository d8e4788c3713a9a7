"""Named arrays in an .npz file, read without trust."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scratch_conv.kernels.geometry import Array


def write_arrays(path: str | Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays under their names; the file gets exactly the name that is given."""
    with Path(path).open("wb") as file:  # np.savez would add .npz to a mere name
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # keywords of np.savez itself


def read_arrays(path: str | Path, expected: Mapping[str, Array]) -> dict[str, Array]:
    """Read arrays of the same names and shapes as those that are expected.

    Nothing in the file is executed: pickled objects are refused.

    Raises:
        ValueError: the file is damaged, or holds other arrays; the message says which.
        OSError: it cannot be opened.
    """
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as saved:
                arrays = {name: saved[name] for name in saved.files}
        except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
            raise ValueError(f"{path}: damaged, or not written by save ({error})") from error
    for name in {**expected, **arrays}:
        if name not in arrays or name not in expected:
            has, lacks = ("the network", "the file") if name in expected else ("the file", "the network")
            raise ValueError(f"{path}: of another network: {has} has {name}, {lacks} has not")
        if arrays[name].shape != expected[name].shape:
            shapes = f"{arrays[name].shape} in the file, {expected[name].shape} in the network"
            raise ValueError(f"{path}: of another network: {name} has shape {shapes}")
    return arrays
