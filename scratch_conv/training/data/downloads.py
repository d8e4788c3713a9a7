"""CIFAR-10, CIFAR-100, MNIST and FashionMNIST, read and, if needed, downloaded by torchvision."""

import contextlib
import io
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from scratch_conv.training.data.images import Split
from scratch_conv.training.settings import InputError

READERS: dict[str, Any] = {
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
    "mnist": datasets.MNIST,
    "fashion-mnist": datasets.FashionMNIST,
}
TIMEOUT = 5.0  # seconds until a silent server counts as out of reach


class DownloadError(InputError):
    """A data set has to be downloaded, and cannot be.

    Attributes:
        cause: the reason, without the advice that the message adds.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(f"{cause}; name a folder that holds it by --data-dir")
        self.cause = cause


def cache_folder() -> Path:
    """Return the folder for downloads and decoded images: scratch_conv in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scratch_conv"


def read_published(dataset: str, root: Path, *, download: bool) -> tuple[tuple[str, ...], Split, Split]:
    """Read a data set from `root` in torchvision's layout, or download it there first.

    Returns:
        The names of the classes, the training split and the test split.

    Raises:
        InputError: it is not there, or cannot be read.
        DownloadError: it is not there, and cannot be downloaded.
    """
    reader = READERS[dataset]
    try:
        return _read(reader, root)
    except RuntimeError as error:  # torchvision's, for a file that is missing or not as expected
        if not download:
            raise InputError(
                f"--data-dir {root}: holds neither train/ and test/ folders nor a complete {dataset}"
                " in torchvision's layout"
            ) from error
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"{dataset} in {root} cannot be read: {type(error).__name__}: {error}") from error
    _download(dataset, root)
    return _read(reader, root)


def _read(reader: Any, root: Path) -> tuple[tuple[str, ...], Split, Split]:
    train, test = reader(root, train=True), reader(root, train=False)
    return tuple(train.classes), _split(train), _split(test)


def _split(source: Any) -> Split:
    images = np.asarray(source.data)  # (N, H, W, C), or (N, H, W) where there is one channel
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    labels = np.asarray(source.targets, np.int64)
    if len(images) != len(labels) or not len(labels):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= len(source.classes):
        raise ValueError(f"labels of {labels.min()} to {labels.max()} for {len(source.classes)} classes")
    return np.ascontiguousarray(images), labels


def _download(dataset: str, root: Path) -> None:
    reader = READERS[dataset]
    if not _answers(reader.url if dataset.startswith("cifar") else reader.mirrors[0]):
        raise DownloadError(f"{dataset} cannot be downloaded (its server is out of reach)")
    # torchvision prints what it downloads from where; its progress bar goes to stderr and is kept.
    with contextlib.redirect_stdout(io.StringIO()), _socket_timeout(TIMEOUT):
        try:
            reader(root, train=True, download=True)
        except (OSError, RuntimeError) as error:
            raise DownloadError(f"{dataset} cannot be downloaded ({error})") from error


def _answers(url: str) -> bool:
    """Return whether a server answers within `TIMEOUT` seconds."""
    answers: list[int] = []

    def request() -> None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            answers.append(response.status)

    # In a thread that is not waited for: looking up a host name has no timeout of its own.
    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return bool(answers)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
