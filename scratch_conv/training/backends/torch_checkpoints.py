"""Checkpoints that survive a process killed at any moment, even while it writes one."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from scratch_conv.training.backends.job import History, epochs, read_saved, write_saved
from scratch_conv.training.backends.ranks import ALONE, Ranks


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file, then renames it; Lightning's own can be left half-written.

    Args:
        ranks: the processes of the run: the first one alone needs the files.
    """

    def __init__(self, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self.ranks = ranks

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save `checkpoint` at `path`, completely or not at all."""
        write_saved(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Read a checkpoint on the first rank, for all."""
        read = super().load_checkpoint
        return self.ranks.from_first(read(path, *args, **kwargs) if self.ranks.rank == 0 else None)


def each_epoch(folder: Path) -> ModelCheckpoint:
    """Keep the checkpoints of the last two epochs: if the last is unreadable, only one epoch is lost."""
    return ModelCheckpoint(
        folder,
        filename="{epoch}",
        monitor="epoch",
        mode="max",
        save_top_k=2,
        save_on_train_epoch_end=True,
        enable_version_counter=False,  # an unreadable file is overwritten
    )


def last_readable(folder: Path, state: Mapping[str, Tensor]) -> Path | None:
    """Return the latest readable checkpoint of a network with this state, or None."""
    return next((path for path in reversed(epochs(folder)) if _belongs(read_saved(path), state)), None)


def _belongs(saved: dict[str, Any] | None, state: Mapping[str, Tensor]) -> bool:
    """Return whether a checkpoint is one of this network, and has a history."""
    kinds = {"state_dict": dict, "optimizer_states": list, "callbacks": dict, "loops": dict}
    if saved is None or not all(isinstance(saved.get(name), kind) for name, kind in kinds.items()):
        return False
    shapes = [
        {name: getattr(value, "shape", None) for name, value in each.items()}
        for each in (saved["state_dict"], state)
    ]
    history = saved["callbacks"].get("Record")
    return (
        shapes[0] == shapes[1]
        and isinstance(history, dict)
        and history.keys() == {each.name for each in fields(History)}
    )
