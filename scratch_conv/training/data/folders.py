"""Folders of images, one folder a class, decoded once."""

import contextlib
import hashlib
import zipfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from scratch_conv.layers.saving import replacing
from scratch_conv.training.data.downloads import cache_folder
from scratch_conv.training.data.images import Split
from scratch_conv.training.settings import InputError

SIZE = 32  # pixels; images of any other size are resized to it


def read_folders(root: Path) -> tuple[tuple[str, ...], Split, Split]:
    """Read the images in root/train/<class>/ and root/test/<class>/, as RGB of 32x32.

    Decoded images are kept in the cache folder until a file in `root` is added, removed or changed.

    Returns:
        The names of the classes in alphabetical order, the training split and the test split.

    Raises:
        InputError: a folder is missing or empty, the two have different classes, or an image cannot be read.
    """
    train, test = _listed(root, "train"), _listed(root, "test")
    if train.classes != test.classes:
        differing = ", ".join(sorted(set(train.classes) ^ set(test.classes)))
        raise InputError(f"--data-dir {root}: train/ and test/ have different classes, see: {differing}")
    if len(train.classes) < 2:
        raise InputError(f"--data-dir {root}: one class only, and a classifier needs two")
    kept = cache_folder() / "decoded" / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:20]}.npz"
    state = _state(root, train, test)
    splits = _kept(kept, state)
    if splits is None:
        splits = _decoded(train, root / "train"), _decoded(test, root / "test")
        # A cache that cannot be written only costs time at the next start.
        with contextlib.suppress(OSError), replacing(kept) as file:
            (train_images, train_labels), (test_images, test_labels) = splits
            np.savez(file, np.array(state), train_images, train_labels, test_images, test_labels)
    return tuple(train.classes), *splits


def _listed(root: Path, split: str) -> ImageFolder:
    if not (root / split).is_dir():
        raise InputError(f"--data-dir {root}: has no folder {split}/")
    try:
        return ImageFolder(
            str(root / split), transform=v2.Compose([v2.Resize((SIZE, SIZE)), v2.PILToTensor()])
        )
    except FileNotFoundError as error:
        raise InputError(f"--data-dir {root}: {error}") from error


def _state(root: Path, *listings: ImageFolder) -> str:
    """Return a digest that changes when an image is added, removed, renamed or written again."""
    digest = hashlib.sha256()
    for path in (Path(path) for listing in listings for path, _ in listing.samples):
        status = path.stat()
        digest.update(f"{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _kept(path: Path, state: str) -> tuple[Split, Split] | None:
    """Return what was decoded before, if it is there, complete and up to date."""
    with (
        contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile),
        path.open("rb") as file,
        np.load(file) as kept,
    ):
        if kept["arr_0"].item() == state:
            return (kept["arr_1"], kept["arr_2"]), (kept["arr_3"], kept["arr_4"])
    return None


def _decoded(listing: ImageFolder, folder: Path) -> Split:
    images = np.empty((len(listing), 3, SIZE, SIZE), np.uint8)
    labels = np.array(listing.targets, np.int64)
    console, title = Console(stderr=True), f"decoding {folder}"
    hidden = not console.is_terminal
    for i in track(range(len(listing)), title, console=console, transient=True, disable=hidden):
        try:
            images[i], _ = listing[i]
        except Exception as error:  # a damaged file can fail in any way
            raise InputError(f"{listing.samples[i][0]}: not an image that can be read ({error})") from error
    return images, labels
