"""Checkpoints that survive a process killed at any moment, in the middle of writing one included."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from scratch_conv.layers.saving import replacing
from scratch_conv.training.backends.job import epochs, read_saved


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then renames it; Lightning's own may be stopped half-way."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save `checkpoint` at `path`, in full or not at all."""
        with replacing(Path(path)) as file:
            torch.save(checkpoint, file)


def each_epoch(folder: Path) -> ModelCheckpoint:
    """Keep a checkpoint of each of the last two epochs: should the last be unreadable, one epoch is lost."""
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
    """Find the checkpoint of the latest epoch that can be read, or None."""
    return next((path for path in reversed(epochs(folder)) if read_saved(path) is not None), None)
