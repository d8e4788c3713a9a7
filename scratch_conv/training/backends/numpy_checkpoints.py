"""The checkpoints of a run in NumPy alone: everything it needs to go on, as plain arrays in an .npz file."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from scratch_conv.kernels.windows import Array
from scratch_conv.layers import SGD, Adam, Layer
from scratch_conv.layers.saving import write_arrays
from scratch_conv.training.backends.job import epochs
from scratch_conv.training.backends.recording import History


def save_checkpoint(path: Path, network: Layer, optimizer: SGD | Adam, history: History) -> None:
    """Write a checkpoint, in full or not at all."""
    parts = {"network": network.state, "optimizer": optimizer.state, "history": vars(history)}
    arrays = {f"{part}.{name}": np.asarray(a) for part, named in parts.items() for name, a in named.items()}
    write_arrays(path, arrays)


def load_checkpoint(folder: Path, network: Layer, optimizer: SGD | Adam) -> History | None:
    """Go back to the checkpoint of the latest epoch that can be read; None where there is none."""
    for path in reversed(epochs(folder)):
        arrays = read_checkpoint(path)
        if arrays is not None:
            for part, state in (("network", network.state), ("optimizer", optimizer.state)):
                for name, array in state.items():
                    array[...] = arrays[f"{part}.{name}"]
            kept: dict[str, Any] = {
                each.name: arrays[f"history.{each.name}"].tolist() for each in fields(History)
            }
            return History(**kept)
    return None


def read_checkpoint(path: Path) -> dict[str, Array] | None:
    """Read the arrays of a checkpoint, or None where nothing readable lies."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except Exception:  # a torn file can raise nearly anything
        return None
