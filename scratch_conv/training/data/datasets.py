"""The doors to the data sets, by name or by folder."""

from pathlib import Path

from scratch_conv.training.data import lines
from scratch_conv.training.data.downloads import cache_folder, read_published
from scratch_conv.training.data.folders import read_folders
from scratch_conv.training.data.images import STATISTICS, Pictures, test_share
from scratch_conv.training.data.shapes import SHAPES, TEST_COUNT, TRAIN_COUNT, draw_shapes
from scratch_conv.training.settings import DRAWN, InputError


def resolve_dataset(dataset: str, data_dir: Path | None) -> str:
    """Name the data set that is meant: folders of pictures are "folder", by any other name as well.

    Raises:
        InputError: the two do not go together, or nothing lies there.
    """
    if data_dir is None:
        if dataset == "folder":
            raise InputError(
                "--dataset folder: needs --data-dir, a folder with train/<class>/ and test/<class>/"
            )
        return dataset
    if dataset in DRAWN:
        raise InputError(
            f"--data-dir {data_dir}: --dataset {dataset} is drawn, not read; leave one of the two out"
        )
    if not data_dir.is_dir():
        raise InputError(
            f"--data-dir {data_dir}: {'not a folder' if data_dir.exists() else 'no such folder'}"
        )
    if not any(data_dir.iterdir()):
        raise InputError(f"--data-dir {data_dir}: the folder is empty")
    return "folder" if any((data_dir / split).is_dir() for split in ("train", "test")) else dataset


def open_pictures(dataset: str, data_dir: Path | None, limit: int | None, seed: int) -> Pictures:
    """Open a data set; with a limit, keep so many training pictures, and as many in proportion to test.

    Raises:
        InputError: nothing usable lies there; the message names the folder or the picture.
        DownloadError: nothing lies there, and its server is out of reach.
    """
    if dataset == "shapes":
        return _drawn(min(limit or TRAIN_COUNT, TRAIN_COUNT), seed)
    if dataset == "lines":
        return _lines(seed).limited(limit, seed)
    if dataset == "folder" and data_dir:
        return Pictures("folder", f"pictures in {data_dir}", *read_folders(data_dir)).limited(limit, seed)
    return _published(dataset, data_dir).limited(limit, seed)


def _drawn(count: int, seed: int) -> Pictures:
    # Drawn to measure: the first pictures of the full set, without drawing all of it.
    tests = test_share(count, TRAIN_COUNT, TEST_COUNT, len(SHAPES))
    train, test = draw_shapes(count, seed), draw_shapes(tests, seed, test=True)
    return Pictures("shapes", f"the built-in shapes, drawn from seed {seed}", tuple(SHAPES), train, test)


def _lines(seed: int) -> Pictures:
    train, test = (
        lines.draw_lines(lines.TRAIN_COUNT, seed),
        lines.draw_lines(lines.TEST_COUNT, seed, test=True),
    )
    source = f"the built-in lines, drawn from seed {seed}"
    return Pictures("lines", source, lines.CLASSES, train, test, *STATISTICS["lines"])


def _published(dataset: str, data_dir: Path | None) -> Pictures:
    """CIFAR-10, MNIST or FashionMNIST, from a folder in torchvision's layout or else by download."""
    root = data_dir or cache_folder() / "torchvision"
    splits = read_published(dataset, root, download=data_dir is None)
    if dataset == "cifar10":
        return Pictures(dataset, f"CIFAR-10 in {root}", *splits)
    if dataset == "mnist":  # a mirrored digit is no digit
        return Pictures(dataset, f"MNIST in {root}", *splits, *STATISTICS[dataset], flip=False)
    return Pictures(dataset, f"FashionMNIST in {root}", *splits, *STATISTICS[dataset])
