"""What a process of its own is told to do, and what it hands back."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratch_conv.layers.saving import replacing
from scratch_conv.training.settings import Settings


@dataclass(frozen=True)
class Job:
    """All that a process needs to know for one run."""

    title: str  # on the screen
    backend: str
    settings: Settings
    pictures: Path  # written by Pictures.save
    folder: Path  # for the checkpoints and the result
    steps: int | None = None  # stop after so many, without testing and without checkpoints
    threads: int | None = None  # torch's; None: as many as torch chooses
    onednn: bool = True

    @property
    def result(self) -> Path:
        """Where the run leaves its result; the file is there once the run has finished."""
        return self.folder / "result.pt"

    def to_json(self) -> str:
        """As text, for a command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        fields["settings"] = Settings(**fields["settings"])
        return cls(**{**fields, "pictures": Path(fields["pictures"]), "folder": Path(fields["folder"])})


@dataclass(frozen=True)
class Outcome:
    """What came of a run. Lists of losses, accuracies and seconds have one number an epoch."""

    train_loss: list[float]
    test_loss: list[float]
    test_accuracy: list[float]  # 0..1
    seconds_per_epoch: list[float]  # of training, without the test after it
    step_losses: list[float]  # one number a step
    peak_memory_bytes: int
    parameters: int
    predictions: Tensor  # (samples, classes), probabilities for Pictures.samples()
    weights: dict[str, Tensor]

    def save(self, path: Path) -> None:
        """Write everything into one file."""
        with replacing(path) as file:
            torch.save(vars(self), file)

    @classmethod
    def load(cls, path: Path) -> "Outcome | None":
        """Read what `save` wrote, or None where nothing readable lies."""
        saved = read_saved(path)
        return None if saved is None else cls(**saved)


def read_saved(path: Path) -> dict[str, Any] | None:
    """Read what torch saved at `path`, or None where nothing readable lies."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch.load has no error of its own: a torn file can raise nearly anything
        return None


def epochs(folder: Path) -> list[Path]:
    """List the checkpoints that a run left in a folder, the earliest first, and no other files."""
    numbered = {path: re.fullmatch(r"epoch=(\d+)\.(ckpt|npz)", path.name) for path in folder.glob("epoch=*")}
    return sorted((path for path, match in numbered.items() if match), key=lambda path: int(path.stem[6:]))
