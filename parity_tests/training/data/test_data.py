"""Opening data sets: what is accepted, what is refused, and what is cached."""

import os
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scratch_conv.training.data import downloads
from scratch_conv.training.data.datasets import open_images, resolve_dataset
from scratch_conv.training.data.downloads import DownloadError, read_published
from scratch_conv.training.data.folders import read_folders
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import InputError

needs_data = pytest.mark.skipif(
    "SCRATCH_CONV_DATA" not in os.environ, reason="SCRATCH_CONV_DATA is not set: no real data"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's own cache out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three training and two test images of each of two classes, in files of several kinds and sizes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for label in ("apple", "pear"):
            (tmp_path / "fruit" / split / label).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(rng.integers(0, 256, (32 + 9 * i, 32, 3), np.uint8))
                image.save(tmp_path / "fruit" / split / label / f"{i}.{('png', 'jpg', 'jpeg')[i]}")
    return tmp_path / "fruit"


def test_the_names_of_folders_are_the_classes(folder: Path) -> None:
    classes, (images, labels), (tests, test_labels) = read_folders(folder)
    assert classes == ("apple", "pear")
    assert images.shape == (6, 3, 32, 32)
    assert tests.shape == (4, 3, 32, 32)
    np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(test_labels, [0, 0, 1, 1])
    expected = np.asarray(Image.open(folder / "train/pear/0.png"))
    np.testing.assert_array_equal(images[3], expected.transpose(2, 0, 1))


def test_grey_and_transparent_images_become_rgb(folder: Path) -> None:
    Image.new("L", (5, 7), 90).save(folder / "train/apple/0.png")
    Image.new("RGBA", (50, 40), (10, 20, 30, 128)).save(folder / "train/apple/1.png")
    (folder / "train/apple/1.jpg").unlink()
    _, (images, _), _ = read_folders(folder)
    assert (images[0] == 90).all()
    np.testing.assert_array_equal(images[1, :, 0, 0], [10, 20, 30])


def test_images_are_decoded_once_until_one_changes(folder: Path, own_cache: Path) -> None:
    _, (images, _), _ = read_folders(folder)
    (kept,) = own_cache.rglob("*.npz")
    written = kept.stat().st_mtime_ns
    _, (again, _), _ = read_folders(folder)
    np.testing.assert_array_equal(again, images)
    assert kept.stat().st_mtime_ns == written
    Image.new("RGB", (32, 32), "red").save(folder / "train/apple/0.png")
    _, (changed, _), _ = read_folders(folder)
    np.testing.assert_array_equal(changed[0, :, 0, 0], [255, 0, 0])
    assert list(own_cache.rglob("*.npz")) == [kept]


def test_a_damaged_cache_is_decoded_again(folder: Path, own_cache: Path) -> None:
    _, (images, _), _ = read_folders(folder)
    (kept,) = own_cache.rglob("*.npz")
    kept.write_bytes(kept.read_bytes()[:500])
    _, (again, _), _ = read_folders(folder)
    np.testing.assert_array_equal(again, images)


def test_images_are_decoded_without_a_cache_too(folder: Path, own_cache: Path) -> None:
    own_cache.write_text("a file where the cache's folder would be")
    assert len(read_folders(folder)[1][1]) == 6


def _remove_test(folder: Path) -> None:
    (folder / "test").rename(folder / "elsewhere")


def _add_class(folder: Path) -> None:
    (folder / "train/plum").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "train/plum/0.png")


def _add_empty_class(folder: Path) -> None:
    (folder / "train/plum").mkdir()


def _truncate(folder: Path) -> None:
    path = folder / "test/pear/1.jpg"
    path.write_bytes(path.read_bytes()[:300])


def _replace_by_text(folder: Path) -> None:
    (folder / "train/apple/0.png").write_text("not an image")


def _keep_one_class(folder: Path) -> None:
    (folder / "train/pear").rename(folder / "pear")
    (folder / "test/pear").rename(folder / "pear again")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove_test, "has no folder test/"),
        (_add_class, "different classes, see: plum"),
        (_add_empty_class, "plum"),
        (_truncate, "test/pear/1.jpg: not an image that can be read"),
        (_replace_by_text, "train/apple/0.png: not an image that can be read"),
        (_keep_one_class, "one class only"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message):
        read_folders(folder)


def test_a_folder_of_classes_is_opened_unless_another_data_set_was_named(folder: Path) -> None:
    assert resolve_dataset(None, folder) == resolve_dataset("folder", folder) == "folder"
    for name in ("cifar10", "mnist", "fashion-mnist"):
        with pytest.raises(
            InputError, match=r"holds images in folders, not (CIFAR-10|MNIST|FashionMNIST) in"
        ):
            resolve_dataset(name, folder)
    (folder / "MNIST").mkdir()  # beside them
    assert resolve_dataset("mnist", folder) == "mnist"
    assert open_images("folder", folder, None, 0).dataset == "folder"


def test_a_folder_in_torchvisions_layout_is_opened_by_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "MNIST").mkdir()
    assert resolve_dataset(None, tmp_path) == resolve_dataset("mnist", tmp_path) == "mnist"
    (tmp_path / "cifar-100-python").mkdir()
    with pytest.raises(InputError, match="holds mnist, cifar100; name one with --dataset"):
        resolve_dataset(None, tmp_path)
    assert resolve_dataset("cifar100", tmp_path) == "cifar100"


def test_a_limit_keeps_classes_balanced_and_the_other_images_as_they_are() -> None:
    labels = np.repeat(np.arange(4), (400, 300, 200, 100))
    images = np.arange(1000, dtype=np.uint8).reshape(-1, 1, 1, 1)
    data = ImageSet("folder", "made up", tuple("abcd"), (images, labels), (images[:500], labels[:500]))
    limited = data.limited(120, None, seed=0)
    np.testing.assert_array_equal(np.bincount(limited.train[1]), [30] * 4)
    assert limited.test is data.test
    np.testing.assert_array_equal(np.bincount(data.limited(None, 40, seed=0).test[1]), [20, 20])
    np.testing.assert_array_equal(limited.train[0], data.limited(120, None, seed=0).train[0])
    assert not np.array_equal(limited.train[0], data.limited(120, None, seed=1).train[0])
    assert data.limited(2000, None, seed=0).train is data.train
    assert "120 of 1,000 training and 500 test images of 4 classes" in limited.describe()


def test_images_survive_being_written_and_read(tmp_path: Path) -> None:
    data = open_images("shapes", None, 30, seed=1)
    data.save(tmp_path / "images.npz")
    read = ImageSet.load(tmp_path / "images.npz")
    assert read.digest() == data.digest()
    assert (read.classes, read.mean, read.flip, read.source) == (
        data.classes,
        data.mean,
        data.flip,
        data.source,
    )
    assert open_images("shapes", None, 30, seed=2).digest() != data.digest()


def test_a_server_out_of_reach_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes a connection, and never answers
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(DownloadError, match=r"out of reach\); name a folder that holds it by --data-dir"):
            read_published("mnist", tmp_path, download=True)


def test_a_folder_without_the_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nor a complete cifar10"):
        read_published("cifar10", tmp_path, download=False)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        for name in ("images-idx3", "labels-idx1"):
            (raw / f"{split}-{name}-ubyte").write_bytes(b"\0\0\x08\x01\0\0")
    with pytest.raises(InputError, match="mnist"):
        read_published("mnist", tmp_path, download=False)


@needs_data
def test_mnist() -> None:
    data = open_images("mnist", Path(os.environ["SCRATCH_CONV_DATA"]), 600, seed=0, limit_test=100)
    assert data.train[0].shape == (600, 1, 28, 28)
    assert data.test[0].shape == (100, 1, 28, 28)
    np.testing.assert_array_equal(np.bincount(data.train[1]), [60] * 10)
    scaled = data.train[0] / 255
    np.testing.assert_allclose((scaled.mean(), scaled.std()), (*data.mean, *data.std), atol=0.02)


@needs_data
def test_cifar10_images(tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(os.environ["SCRATCH_CONV_DATA"]) / "cifar10-images.zip") as archive:
        few = [name for name in archive.namelist() if name.endswith(("/0000.jpg", "/0001.jpg", "/0002.jpg"))]
        archive.extractall(tmp_path, few)
    data = open_images("folder", tmp_path / "cifar10-images", None, seed=0)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert data.train[0].shape == (30, 3, 32, 32)
    scaled = data.train[0] / 255
    np.testing.assert_allclose(scaled.mean((0, 2, 3)), data.mean, atol=0.1)


def test_another_image_of_the_same_size_and_time_is_noticed(folder: Path) -> None:
    path = folder / "train/apple/0.png"
    Image.new("RGB", (32, 32), (1, 2, 3)).save(path)
    status, content = path.stat(), path.read_bytes()
    before = read_folders(folder)[1][0][0]
    Image.new("RGB", (32, 32), (3, 2, 1)).save(path)
    assert len(path.read_bytes()) == len(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = read_folders(folder)[1][0][0]
    assert before[:, 0, 0].tolist() == [1, 2, 3]
    assert after[:, 0, 0].tolist() == [3, 2, 1]


def _swap_labels(arrays: dict[str, Any]) -> None:
    arrays["arr_2"] = arrays["arr_2"][::-1]


def _cut(arrays: dict[str, Any]) -> None:
    arrays["arr_1"] = arrays["arr_1"][:, :, :16]


def _darken(arrays: dict[str, Any]) -> None:
    arrays["arr_3"] = arrays["arr_3"] // 2


@pytest.mark.parametrize("change", [_swap_labels, _cut, _darken])
def test_a_changed_cache_is_decoded_again(
    folder: Path, own_cache: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    expected = read_folders(folder)
    (kept,) = own_cache.rglob("*.npz")
    with np.load(kept) as saved:
        arrays = dict(saved)
    change(arrays)
    np.savez(kept, **arrays)
    for split, other in zip(expected[1:], read_folders(folder)[1:], strict=True):
        np.testing.assert_array_equal(split[0], other[0])
        np.testing.assert_array_equal(split[1], other[1])


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _dangling_link(path: Path) -> None:
    path.symlink_to("nowhere.png")


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _a_program(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nshowpage\n%%EOF\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("put", [_pipe, _dangling_link, _link_to_itself, _a_program])
def test_what_is_no_image_is_refused_by_name(folder: Path, put: Callable[[Path], None]) -> None:
    put(folder / "test/pear/x.png")
    with pytest.raises(InputError, match=r"test/pear/x\.png: not an? (file|image) that can be read"):
        read_folders(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
def test_a_class_may_have_a_name_that_is_not_utf_8(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / split / "pear").rename(folder / split / os.fsdecode(b"p\xe9ar"))
    classes, *_ = read_folders(folder)
    assert classes == ("apple", r"p\xe9ar")


@pytest.mark.parametrize("damage", [lambda labels: labels[:-1], lambda labels: labels + 9])
def test_images_and_labels_that_do_not_belong_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Any], Any]
) -> None:
    class Published:
        classes = ("a", "b")

        def __init__(self, root: Path, train: bool) -> None:
            self.data, self.targets = np.zeros((4, 28, 28), np.uint8), damage(np.array([0, 1, 0, 1]))

    monkeypatch.setitem(downloads.READERS, "mnist", Published)
    with pytest.raises(InputError, match=r"mnist in .* cannot be read: ValueError: .*labels"):
        read_published("mnist", tmp_path, download=False)
