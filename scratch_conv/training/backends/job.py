"""The job of a training process, and its outcome."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratch_conv.layers.saving import replacing
from scratch_conv.training.settings import Settings


@dataclass(frozen=True)
class Job:
    """Everything that a process needs for one run."""

    title: str  # shown on the terminal
    backend: str
    settings: Settings
    images: Path  # written by ImageSet.save
    folder: Path  # for the checkpoints and the result
    steps: int | None = None  # stop after this many, without testing and without checkpoints
    threads: int | None = None  # torch's; None: as many as torch chooses
    onednn: bool = True

    @property
    def result(self) -> Path:
        """The file with the result; it exists once the run has finished."""
        return self.folder / "result.pt"

    def to_json(self) -> str:
        """Return the job as text, for a command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        fields["settings"] = Settings(**fields["settings"])
        return cls(**{**fields, "images": Path(fields["images"]), "folder": Path(fields["folder"])})


@dataclass
class History:
    """The figures of a run; losses and accuracies are means over an epoch, one number each."""

    train_loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)  # 0..1
    seconds_per_epoch: list[float] = field(default_factory=list)  # of training, without the test after it
    step_losses: list[float] = field(default_factory=list)  # one number a step
    peak_memory_bytes: int = 0


@dataclass(kw_only=True)
class Outcome(History):
    """The result of a run: its figures, and the trained network."""

    parameters: int
    predictions: Tensor  # (samples, classes): probabilities for ImageSet.samples()
    weights: dict[str, Tensor]

    def save(self, path: Path) -> None:
        """Write everything to one file."""
        with replacing(path) as file:
            torch.save(vars(self), file)

    @classmethod
    def load(cls, path: Path) -> "Outcome | None":
        """Read what `save` wrote; None if the file is missing or damaged."""
        saved = read_saved(path)
        return None if saved is None else cls(**saved)


def read_saved(path: Path) -> dict[str, Any] | None:
    """Read what torch saved at `path`; None if the file is missing or damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch.load has no error of its own: a damaged file can raise nearly anything
        return None


def epochs(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the earliest first, and no other files."""
    numbered = {path: re.fullmatch(r"epoch=(\d+)\.(ckpt|npz)", path.name) for path in folder.glob("epoch=*")}
    return sorted((path for path, match in numbered.items() if match), key=lambda path: int(path.stem[6:]))
