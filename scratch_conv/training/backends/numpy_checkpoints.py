"""The checkpoints of a run in NumPy alone: all that resuming needs, as plain arrays in an .npz file."""

import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scratch_conv.kernels.windows import Array
from scratch_conv.layers import SGD, Adam, Layer
from scratch_conv.layers.saving import is_no_larger_than_its_file, write_arrays
from scratch_conv.training.backends.job import PHASES, History, epochs


def save_checkpoint(path: Path, network: Layer, optimizer: SGD | Adam, history: History) -> None:
    """Write a checkpoint, completely or not at all."""
    parts = {"network": network.state, "optimizer": optimizer.state, "history": _as_arrays(history)}
    arrays = {f"{part}.{name}": np.asarray(a) for part, named in parts.items() for name, a in named.items()}
    write_arrays(path, arrays)


def load_checkpoint(folder: Path, network: Layer, optimizer: SGD | Adam) -> History | None:
    """Restore the state from the latest readable checkpoint and return its history; None if there is none."""
    for path in reversed(epochs(folder)):
        arrays = read_checkpoint(path)
        state = {f"network.{name}": array for name, array in network.state.items()}
        state |= {f"optimizer.{name}": array for name, array in optimizer.state.items()}
        if arrays is not None and _belongs(arrays, state):
            for name, array in state.items():
                array[...] = arrays[name]
            return _from_arrays(arrays, sorted(network.parameters))
    return None


def _as_arrays(history: History) -> dict[str, Any]:
    """Return the history with rows of arrays in place of what an array cannot hold."""
    return {
        **vars(history),
        "gradient_norms": [history.gradient_norms[name] for name in sorted(history.gradient_norms)],
        "trajectory": np.stack([weights.numpy() for weights in history.trajectory.values()]),
        "phases": [list(seconds.values()) for seconds in history.phases],
        "recorded": list(history.trajectory),
    }


def _from_arrays(arrays: dict[str, Array], names: list[str]) -> History:
    """Return the history that `_as_arrays` made rows of."""
    rows: dict[str, Any] = {each.name: arrays[f"history.{each.name}"].tolist() for each in fields(History)}
    weights = map(torch.from_numpy, arrays["history.trajectory"])
    rows["gradient_norms"] = dict(zip(names, rows["gradient_norms"], strict=True))
    rows["trajectory"] = dict(zip(arrays["history.recorded"].tolist(), weights, strict=True))
    rows["phases"] = [dict(zip(PHASES, seconds, strict=True)) for seconds in rows["phases"]]
    return History(**rows)


def _belongs(arrays: dict[str, Array], state: dict[str, Array]) -> bool:
    """Return whether a checkpoint is one of this network, and has a history."""
    history = {"history.recorded", *(f"history.{each.name}" for each in fields(History))}
    return arrays.keys() == {*state, *history} and all(
        arrays[name].shape == array.shape and arrays[name].dtype == array.dtype
        for name, array in state.items()
    )


def read_checkpoint(path: Path) -> dict[str, Array] | None:
    """Return the arrays of a checkpoint; None if the file is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if not is_no_larger_than_its_file(archive):
                return None
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except Exception:  # a damaged file can raise nearly anything
        return None
