"""Folders of images, one folder a class, decoded once."""

import contextlib
import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.progress import track
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from scratch_conv.layers.saving import replacing
from scratch_conv.training.data.downloads import cache_folder
from scratch_conv.training.data.images import Split
from scratch_conv.training.settings import InputError

FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP")  # others may start programs: EPS, for one
SIZE = 32  # pixels; images of any other size are resized to it


def read_folders(root: Path) -> tuple[tuple[str, ...], Split, Split]:
    """Read the images in root/train/<class>/ and root/test/<class>/, as RGB of 32x32.

    Decoded images are kept in the cache folder until a file in `root` is added, removed, renamed
    or changed.

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
    splits = _kept(kept, state, train, test)
    if splits is None:
        splits = _decoded(train, root / "train"), _decoded(test, root / "test")
        # A cache that cannot be written only costs time at the next start.
        with contextlib.suppress(OSError), replacing(kept) as file:
            (train_images, train_labels), (test_images, test_labels) = splits
            digests = np.array([state, _digest(train_images, test_images)])
            np.savez(file, digests, train_images, train_labels, test_images, test_labels)
    return tuple(_printable(name) for name in train.classes), *splits


def _printable(name: str) -> str:
    """Return a name whose bytes are not UTF-8 with these bytes written out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _listed(root: Path, split: str) -> ImageFolder:
    if not (root / split).is_dir():
        raise InputError(f"--data-dir {root}: has no folder {split}/")
    try:
        transform = v2.Compose([v2.Resize((SIZE, SIZE)), v2.PILToTensor()])
        listing = ImageFolder(str(root / split), transform=transform, loader=_opened)
    except OSError as error:
        raise InputError(f"--data-dir {root}: {error}") from error
    for path, _ in listing.samples:
        if not Path(path).is_file():  # a dangling link; or a pipe, which could be waited for without end
            raise InputError(f"{_printable(path)}: not a file that can be read")
    return listing


def _opened(path: str) -> Image.Image:
    with Image.open(path, formats=FORMATS) as image:
        return image.convert("RGB")


def _state(root: Path, *listings: ImageFolder) -> str:
    """Return a digest of every file's name and bytes.

    Raises:
        InputError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in (Path(path) for listing in listings for path, _ in listing.samples):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{_printable(str(path))}: cannot be read ({error.strerror})") from error
        digest.update(os.fsencode(path.relative_to(root)) + f"\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _digest(*images: npt.NDArray[np.uint8]) -> str:
    digest = hashlib.sha256()
    for array in images:
        digest.update(array.tobytes())
    return digest.hexdigest()


def _kept(path: Path, state: str, *listings: ImageFolder) -> tuple[Split, Split] | None:
    """Return what was decoded before, if it is there, complete and up to date."""
    with (
        contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile),
        path.open("rb") as file,
        np.load(file) as kept,
    ):
        splits = (kept["arr_1"], kept["arr_2"]), (kept["arr_3"], kept["arr_4"])
        fit = all(_fits(*pair) for pair in zip(splits, listings, strict=True))
        if fit and kept["arr_0"].tolist() == [state, _digest(splits[0][0], splits[1][0])]:
            return splits
    return None


def _fits(split: Split, listing: ImageFolder) -> bool:
    """Return whether kept images and labels are those of a listing."""
    images, labels = split
    return images.shape == (len(listing), 3, SIZE, SIZE) and labels.tolist() == listing.targets


def _decoded(listing: ImageFolder, folder: Path) -> Split:
    images = np.empty((len(listing), 3, SIZE, SIZE), np.uint8)
    labels = np.array(listing.targets, np.int64)
    console, title = Console(stderr=True), f"decoding {folder}"
    hidden = not console.is_terminal
    for i in track(range(len(listing)), title, console=console, transient=True, disable=hidden):
        try:
            images[i], _ = listing[i]
        except Exception as error:  # a damaged file can fail in any way
            path = _printable(listing.samples[i][0])
            raise InputError(f"{path}: not an image that can be read ({error})") from error
    return images, labels
