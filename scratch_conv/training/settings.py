"""The settings of a run, and the checks that refuse wrong ones before any work."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

DATASETS = ("cifar10", "cifar100", "mnist", "fashion-mnist", "folder", "shapes", "lines")
DRAWN = ("shapes", "lines")
COMPARED = ("torch", "scratch")
BACKENDS = (*COMPARED, "numpy")
OPTIMIZERS = ("adam", "sgd")
MOMENTUM = 0.9  # of sgd
_DEEP = ("vgg", "resnet20")  # networks with batch norm: a rate of 0.1 that rises and falls suits them
PRECISIONS = ("32", "64-true")
SCHEDULES = ("constant", "one-cycle")


class InputError(ValueError):
    """The user's input is unusable; the message is one line that says what is wrong and why."""


@dataclass(frozen=True)
class Settings:
    """The settings that determine, together with the images, every number of a run."""

    dataset: str
    model: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    precision: str  # Lightning's name for it: "32" or "64-true"
    limit: int | None  # training images used; None: all
    optimizer: str = "adam"
    augment: bool = True  # whether training images are shifted, and mirrored where the class stays the same
    schedule: str = "constant"  # of the learning rate; one-cycle: torch's OneCycleLR over the whole run
    limit_test: int | None = None  # test images used; None: all
    seeds: int = 1  # runs, with seed, seed + 1, ...
    devices: int = 1  # processes on each machine, which share each batch out among them
    num_nodes: int = 1  # machines

    def check(self) -> None:
        """Raise InputError for the first invalid value."""
        choose("--dataset", self.dataset, DATASETS)
        choose("--precision", self.precision, PRECISIONS)
        choose("--schedule", self.schedule, SCHEDULES)
        _at_least("--epochs", self.epochs, 1)
        _at_least("--batch-size", self.batch_size, 1)
        _at_least("--devices", self.devices, 1)
        _at_least("--num-nodes", self.num_nodes, 1)
        if self.batch_size < self.processes:
            least = f"{self.processes}, an image for each process"
            raise InputError(f"--batch-size {self.batch_size}: must be at least {least}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed {self.seed}: must be at least 0 and less than 2**32")
        _at_least("--seeds", self.seeds, 1)
        if self.seed + self.seeds > 2**32:
            raise InputError(f"--seeds {self.seeds}: the last seed must be less than 2**32")
        for option, limit in (("--limit", self.limit), ("--limit-test", self.limit_test)):
            if limit is not None:
                _at_least(option, limit, 1)
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(f"--lr {self.lr}: must be a positive number")

    @property
    def processes(self) -> int:
        """How many share each batch out among them."""
        return self.devices * self.num_nodes

    def steps_per_epoch(self, images: int) -> int:
        """Return how many batches that many training images make."""
        return math.ceil(images / self.batch_size)

    def of_each_seed(self) -> "list[Settings]":
        """Return the settings of the run with each seed."""
        return [replace(self, seed=self.seed + more, seeds=1) for more in range(self.seeds)]

    def options(self) -> dict[str, Any]:
        """Return the settings by their names on the command line."""
        return as_options(asdict(self))


def as_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that have the names of settings by their names on the command line."""
    return {"--" + name.replace("_", "-"): value for name, value in settings.items()}


def default_model(dataset: str) -> str:
    """Return the default network for a data set."""
    return "mnist-cnn" if dataset in ("mnist", "fashion-mnist") else "simple-cnn"


def default_batch_size(dataset: str) -> int:
    """Return the default batch size for a data set."""
    return 64 if dataset in ("mnist", "fashion-mnist") else 128


def default_augment(dataset: str) -> bool:
    """Return whether training images are augmented by default; digits are not, as they are centred."""
    return dataset not in ("mnist", "fashion-mnist", "lines")


def default_optimizer(model: str) -> str:
    """Return the default optimiser for a network."""
    return "sgd" if model in ("mnist-cnn", "dense", *_DEEP) else "adam"


def default_lr(optimizer: str, schedule: str = "constant") -> float:
    """Return the default learning rate of an optimiser; one cycle starts and ends far below it."""
    return {"adam": 1e-3, "sgd": 1e-2}[optimizer] * (10 if schedule == "one-cycle" else 1)


def default_schedule(model: str) -> str:
    """Return the default schedule of the learning rate for a network."""
    return "one-cycle" if model in _DEEP else "constant"


def choose(option: str, value: str, choices: Iterable[str]) -> None:
    """Raise InputError unless a value is one of the choices."""
    if value not in choices:
        raise InputError(f"{option} {value}: unknown, choose from {', '.join(choices)}")


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{option} {value}: must be at least {least}")
