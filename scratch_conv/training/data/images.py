"""A data set in memory, whichever door it came through."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scratch_conv.layers.saving import replacing

# Images (N, C, H, W) of 0..255, and their labels (N,), which number the classes.
Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
# Mean and standard deviation of each channel, of pixels scaled to 0..1; all other data sets take CIFAR-10's.
STATISTICS = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "lines": ((0.35,), (0.16,)),
}


@dataclass(frozen=True)
class Pictures:
    """Square pictures and their labels, for training and for testing."""

    dataset: str  # the name that opens it
    source: str  # for people: what it is and where it came from
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...] = CIFAR10_MEAN  # one a channel, of pixels scaled to 0..1
    std: tuple[float, ...] = CIFAR10_STD
    flip: bool = True  # whether a mirrored picture is still of its class

    def describe(self) -> str:
        """One line for people: the source, and how many pictures are used."""
        train, test = (len(labels) for _, labels in (self.train, self.test))
        return f"{self.source}; {train:,} training and {test:,} test pictures of {len(self.classes)} classes"

    def digest(self) -> str:
        """Fingerprint every pixel and label."""
        whole = hashlib.sha256()
        for array in (*self.train, *self.test):
            whole.update(array.tobytes())
        return whole.hexdigest()

    def samples(self, count: int = 16) -> npt.NDArray[np.intp]:
        """Choose test pictures for a report: spread evenly, since a folder's come class by class."""
        tests = len(self.test[1])
        return np.linspace(0, tests - 1, min(count, tests)).astype(np.intp)

    def limited(self, limit: int | None, seed: int) -> "Pictures":
        """Keep so many training pictures, and as many in proportion to test: at random, but balanced."""
        available = len(self.train[1])
        if limit is None or limit >= available:
            return self
        tests = test_share(limit, available, len(self.test[1]), len(self.classes))
        return replace(self, train=_balanced(self.train, limit, seed), test=_balanced(self.test, tests, seed))

    def save(self, path: Path) -> None:
        """Write everything into one file."""
        fields = {**vars(self), "train": self.train[0], "test": self.test[0]}
        with replacing(path) as file:
            np.savez(file, **fields, train_labels=self.train[1], test_labels=self.test[1])

    @classmethod
    def load(cls, path: Path) -> "Pictures":
        """Read what `save` wrote."""
        with np.load(path) as saved:
            arrays = {name: saved[name] for name in saved.files}
        splits: dict[str, Any] = {
            name: (arrays.pop(name), arrays.pop(f"{name}_labels")) for name in ("train", "test")
        }
        fields: dict[str, Any] = {name: array.tolist() for name, array in arrays.items()}
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        return cls(**fields, **splits)


def test_share(train: int, train_available: int, test_available: int, classes: int) -> int:
    """As large a part of the test pictures as of the training pictures, but one for each class at least."""
    return min(test_available, max(classes, round(train * test_available / train_available)))


def _balanced(split: Split, count: int, seed: int) -> Split:
    """Draw `count` pictures at random, as many of one class as of any other, give or take one."""
    images, labels = split
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    place_in_class = np.arange(len(labels)) - np.searchsorted(labels[by_class], labels[by_class])
    chosen = np.sort(by_class[np.argsort(place_in_class, kind="stable")[:count]])
    return images[chosen], labels[chosen]
