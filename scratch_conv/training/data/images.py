"""A data set in memory, wherever it came from."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scratch_conv.layers.saving import replacing

# Images (N, C, H, W) of 0..255, and labels (N,): indices of classes.
Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
# Mean and standard deviation of each channel, of pixels scaled to 0..1; other data sets use CIFAR-10's.
STATISTICS = {
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "lines": ((0.35,), (0.16,)),
}


@dataclass(frozen=True)
class ImageSet:
    """Square images and their labels, for training and for testing."""

    dataset: str  # its name on the command line
    source: str  # what it is and where it came from, for the user
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...] = CIFAR10_MEAN  # one a channel, of pixels scaled to 0..1
    std: tuple[float, ...] = CIFAR10_STD
    flip: bool = True  # whether a mirrored image is still of its class
    available: tuple[int, ...] = ()  # training and test images before any were left out; (): as now

    def describe(self) -> str:
        """Return one line for the user: the source, and how many images are used."""
        counts = [len(labels) for _, labels in (self.train, self.test)]
        train, test = (
            f"{count:,}" if count == available else f"{count:,} of {available:,}"
            for count, available in zip(counts, self.available or counts, strict=True)
        )
        return f"{self.source}; {train} training and {test} test images of {len(self.classes)} classes"

    def digest(self) -> str:
        """Return a digest of every pixel and label."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def samples(self, count: int = 16) -> npt.NDArray[np.intp]:
        """Return indices of test images for a report: spread evenly, since folders are sorted by class."""
        tests = len(self.test[1])
        return np.linspace(0, tests - 1, min(count, tests)).astype(np.intp)

    def limited(self, limit: int | None, limit_test: int | None, seed: int) -> "ImageSet":
        """Keep so many training and test images, or all: at random, classes balanced."""
        return replace(
            self,
            train=_balanced(self.train, limit, seed),
            test=_balanced(self.test, limit_test, seed),
            available=(len(self.train[1]), len(self.test[1])),
        )

    def save(self, path: Path) -> None:
        """Write everything to one file."""
        fields = {**vars(self), "train": self.train[0], "test": self.test[0]}
        with replacing(path) as file:
            np.savez(file, **fields, train_labels=self.train[1], test_labels=self.test[1])

    @classmethod
    def load(cls, path: Path) -> "ImageSet":
        """Read what `save` wrote."""
        with np.load(path) as saved:
            arrays = {name: saved[name] for name in saved.files}
        splits: dict[str, Any] = {
            name: (arrays.pop(name), arrays.pop(f"{name}_labels")) for name in ("train", "test")
        }
        fields: dict[str, Any] = {name: array.tolist() for name, array in arrays.items()}
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        return cls(**fields, **splits)


def _balanced(split: Split, count: int | None, seed: int) -> Split:
    """Return `count` images at random, balanced: the counts of the classes differ by at most one."""
    images, labels = split
    if count is None or count >= len(labels):
        return split
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rank_in_class = np.arange(len(labels)) - np.searchsorted(labels[by_class], labels[by_class])
    chosen = np.sort(by_class[np.argsort(rank_in_class, kind="stable")[:count]])
    return images[chosen], labels[chosen]
