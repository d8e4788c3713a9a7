"""The job of a training process, and its outcome."""

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratch_conv.layers.saving import is_no_larger_than_its_file, replacing
from scratch_conv.training.settings import Settings

# What the time of an epoch's training is spent on; the harness is all that is none of the others: loading,
# augmenting and normalising images, recording, and Lightning itself.
PHASES = ("forward", "backward", "optimizer", "harness")
MOST_WEIGHTS = 100_000


@dataclass(frozen=True)
class Job:
    """Everything that a process needs for one run."""

    title: str  # shown on the terminal
    backend: str
    settings: Settings
    images: Path  # written by ImageSet.save
    folder: Path  # for the checkpoints and the result
    digest: str  # of the images
    steps: int | None = None  # stop after this many, without testing and without checkpoints
    threads: int | None = None  # torch's; None: as many as torch chooses
    onednn: bool = True
    reverse: bool = False  # the images of each batch in reverse order: other sums, and the same mathematics

    @property
    def result(self) -> Path:
        """The file with the result; it exists once the run has finished."""
        return self.folder / "result.pt"

    @property
    def identity(self) -> dict[str, Any]:
        """What the result must have been computed from: all that matters but the number of epochs."""
        varied = ("backend", "steps", "threads", "onednn", "reverse", "digest")
        return {**asdict(self.settings), "epochs": None, **{name: getattr(self, name) for name in varied}}

    def to_json(self) -> str:
        """Return the job as text, for a command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Read what `to_json` wrote."""
        named = json.loads(text)
        named["settings"] = Settings(**named["settings"])
        return cls(**{**named, "images": Path(named["images"]), "folder": Path(named["folder"])})


@dataclass
class History:
    """The figures of a run; losses and accuracies are means over an epoch, one number each."""

    train_loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)  # 0..1
    seconds_per_epoch: list[float] = field(default_factory=list)  # of training, without the test after it
    step_losses: list[float] = field(default_factory=list)  # one number a step
    peak_memory_bytes: int = 0
    # By the parameter's name: the norm of its gradient, one number a step.
    gradient_norms: dict[str, list[float]] = field(default_factory=dict)
    # By the number of steps taken: the weights then, see `sampled`.
    trajectory: dict[int, Tensor] = field(default_factory=dict)
    # Seconds of each epoch's training by what they were spent on, one of each of PHASES.
    phases: list[dict[str, float]] = field(default_factory=list)


@dataclass(kw_only=True)
class Outcome(History):
    """The result of a run: its figures, and the trained network."""

    parameters: int
    predictions: Tensor  # (tests, classes): probabilities for every test image
    weights: dict[str, Tensor]
    # Of each layer: its name, its type, and the seconds of one forward and one backward pass.
    layer_times: list[tuple[str, str, float, float]] = field(default_factory=list)

    def save(self, job: Job) -> None:
        """Write everything to the result of a job."""
        write_saved(job.result, {"job": job.identity, "outcome": vars(self)})

    @classmethod
    def load(cls, job: Job) -> "Outcome | None":
        """Read what `save` wrote; None if the file is missing, damaged, or the result of another job."""
        saved = read_saved(job.result)
        if saved is None or saved.get("job") != job.identity or not isinstance(saved.get("outcome"), dict):
            return None
        if saved["outcome"].keys() != {each.name for each in fields(cls)}:  # of another version
            return None
        return cls(**saved["outcome"])


def is_recorded(step: int) -> bool:
    """Return whether the weights are recorded after so many steps: 0, 1, 2, 5, 10, 20, 50, 100, ..."""
    return step == 0 or re.fullmatch("[125]0*", str(step)) is not None


def sampled(parameters: Mapping[str, Tensor]) -> Tensor:
    """Return a network's weights in one row, or the same 100,000 of them for all networks of one size."""
    flat = torch.cat([parameters[name].detach().flatten() for name in sorted(parameters)])
    if len(flat) > MOST_WEIGHTS:
        chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:MOST_WEIGHTS]
        return flat[chosen.sort().values]
    return flat.clone()


class DivergedError(RuntimeError):
    """A loss or a weight is not finite any more; the message says where it began."""


def write_saved(path: Path, saved: dict[str, Any]) -> None:
    """Write a file by torch, completely or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as file:
        try:
            torch.save(saved, file)
        except RuntimeError as error:  # torch's own, if a write failed
            raise OSError(f"{path} cannot be written: {error.__context__ or error}") from error


def read_saved(path: Path) -> dict[str, Any] | None:
    """Read what torch saved at `path`; None if the file is missing, damaged, or holds something else.

    torch.load does not look at the checksums that torch.save writes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if not is_no_larger_than_its_file(archive) or archive.testzip() is not None:
                return None
            if any(member.external_attr for member in archive.infolist()):
                return None  # torch writes none, and reads zeros where a bit says that it is a folder
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file can raise nearly anything
        return None
    return saved if isinstance(saved, dict) else None


def epochs(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the earliest first, and no other files."""
    numbered = {path: re.fullmatch(r"epoch=(\d+)\.(ckpt|npz)", path.name) for path in folder.glob("epoch=*")}
    files = [path for path, match in numbered.items() if match and path.is_file()]
    return sorted(files, key=lambda path: int(path.stem[6:]))
