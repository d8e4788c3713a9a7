"""Open a data set by name or by folder."""

from pathlib import Path
from typing import NamedTuple

from scratch_conv.training.data import lines
from scratch_conv.training.data.downloads import cache_folder, read_published
from scratch_conv.training.data.folders import read_folders
from scratch_conv.training.data.images import CIFAR10_MEAN, CIFAR10_STD, STATISTICS, ImageSet
from scratch_conv.training.data.shapes import SHAPES, TEST_COUNT, TRAIN_COUNT, draw_shapes
from scratch_conv.training.settings import DRAWN, InputError


class Published(NamedTuple):
    """A data set that torchvision reads: its name, and the folder in which it lies."""

    title: str
    folder: str


PUBLISHED = {
    "cifar10": Published("CIFAR-10", "cifar-10-batches-py"),
    "mnist": Published("MNIST", "MNIST"),
    "fashion-mnist": Published("FashionMNIST", "FashionMNIST"),
    "cifar100": Published("CIFAR-100", "cifar-100-python"),
}


def resolve_dataset(dataset: str | None, data_dir: Path | None) -> str:
    """Return the name of the data set: where none is given, of what the folder holds, or else CIFAR-10's.

    Raises:
        InputError: the two do not go together, or there is no data.
    """
    if data_dir is None:
        if dataset == "folder":
            raise InputError(
                "--dataset folder: needs --data-dir, a folder with train/<class>/ and test/<class>/"
            )
        return dataset or "cifar10"
    if dataset in DRAWN:
        raise InputError(
            f"--data-dir {data_dir}: --dataset {dataset} is drawn, not read; omit one of the two"
        )
    if not data_dir.is_dir():
        raise InputError(
            f"--data-dir {data_dir}: {'not a folder' if data_dir.exists() else 'no such folder'}"
        )
    if not any(data_dir.iterdir()):
        raise InputError(f"--data-dir {data_dir}: the folder is empty")
    folders = any((data_dir / split).is_dir() for split in ("train", "test"))
    if folders and dataset in PUBLISHED and not (data_dir / PUBLISHED[dataset].folder).is_dir():
        raise InputError(
            f"--data-dir {data_dir}: holds images in folders, not {PUBLISHED[dataset].title} in torchvision's"
            " layout"
        )
    there = [name for name, each in PUBLISHED.items() if (data_dir / each.folder).is_dir()]
    own = data_dir.absolute().name
    wanted = [each.folder for name, each in PUBLISHED.items() if dataset in (None, name)]
    if own in wanted and not folders and not there:
        raise InputError(f"--data-dir {data_dir}: name the folder that holds {own}/")
    if dataset is None and not folders and len(there) > 1:
        raise InputError(f"--data-dir {data_dir}: holds {', '.join(there)}; name one with --dataset")
    return dataset or ("folder" if folders else there[0] if there else "cifar10")


def open_images(
    dataset: str, data_dir: Path | None, limit: int | None, seed: int, limit_test: int | None = None
) -> ImageSet:
    """Return a data set; with a limit, keep that many training images, or test images.

    Raises:
        InputError: there is no usable data; the message names the folder or the image.
        DownloadError: there is no data, and its server is out of reach.
    """
    if dataset == "shapes":
        return _drawn(limit, limit_test, seed)
    if dataset == "lines":
        data = _lines(seed)
    elif dataset == "folder" and data_dir:
        data = ImageSet("folder", f"images in {data_dir}", *read_folders(data_dir))
    else:
        data = _published(dataset, data_dir)
    return data.limited(limit, limit_test, seed)


def _drawn(limit: int | None, limit_test: int | None, seed: int) -> ImageSet:
    # Only the first images of the full set are drawn.
    train = draw_shapes(min(limit or TRAIN_COUNT, TRAIN_COUNT), seed)
    test = draw_shapes(min(limit_test or TEST_COUNT, TEST_COUNT), seed, test=True)
    source, available = f"the built-in shapes, drawn from seed {seed}", (TRAIN_COUNT, TEST_COUNT)
    return ImageSet("shapes", source, tuple(SHAPES), train, test, available=available)


def _lines(seed: int) -> ImageSet:
    train, test = (
        lines.draw_lines(lines.TRAIN_COUNT, seed),
        lines.draw_lines(lines.TEST_COUNT, seed, test=True),
    )
    source = f"the built-in lines, drawn from seed {seed}"
    return ImageSet("lines", source, lines.CLASSES, train, test, *STATISTICS["lines"])


def _published(dataset: str, data_dir: Path | None) -> ImageSet:
    """Return one of the published data sets, from a folder in torchvision's layout or downloaded."""
    root = data_dir or cache_folder() / "torchvision"
    splits = read_published(dataset, root, download=data_dir is None)
    source = f"{PUBLISHED[dataset].title} in {root}"
    # A mirrored digit is not a digit.
    mean, std = STATISTICS.get(dataset, (CIFAR10_MEAN, CIFAR10_STD))
    return ImageSet(dataset, source, *splits, mean, std, flip=dataset != "mnist")
