"""Checkpoints that survive a process killed at any moment, even while it writes one."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from scratch_conv.layers.saving import replacing
from scratch_conv.training.backends.job import epochs, read_saved


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file, then renames it; Lightning's own can be left half-written."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save `checkpoint` at `path`, completely or not at all."""
        with replacing(Path(path)) as file:
            torch.save(checkpoint, file)


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


def last_readable(folder: Path) -> Path | None:
    """Return the latest readable checkpoint, or None."""
    return next((path for path in reversed(epochs(folder)) if read_saved(path) is not None), None)
