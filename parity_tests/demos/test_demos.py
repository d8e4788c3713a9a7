"""The demos: what they compute and write, and how they refuse unusable input."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scratch_conv import layers
from scratch_conv.cli import main
from scratch_conv.demos import edges, filters, gradcheck, lines, shift
from scratch_conv.demos.images import normalised, read_image
from scratch_conv.layers import Adam, Conv2D, Layer, ReLU, accuracy, fit
from scratch_conv.training.backends.batches import Batches
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.settings import BACKENDS, Settings

Command = Callable[..., tuple[int, str, str]]

needs_data = pytest.mark.skipif(
    "SCRATCH_CONV_DATA" not in os.environ, reason="SCRATCH_CONV_DATA is not set: no real data"
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Call the command in this process, from an empty folder, and return its status and what it printed."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scratch-conv", *map(str, arguments)])
        return main(), *capsys.readouterr()

    return call


def assert_images(folder: Path, *names: str) -> None:
    """Check that a folder holds these images, complete, and nothing else."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name in names:
        with Image.open(folder / name) as image:
            image.verify()


def test_edges_of_the_drawn_image(command: Command, tmp_path: Path) -> None:
    status, stdout, stderr = command("demo", "edges")
    assert (status, stderr) == (0, "")
    assert "By hand: 3s along the edge" in stdout
    assert "magnitude of both edges" in stdout
    assert_images(tmp_path / "runs/demo-edges", "edges.png", "sharpen-blur.png")


@pytest.mark.parametrize("size", [(3, 1), (40, 70), (900, 200)])
def test_edges_of_a_file(command: Command, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.effect_noise(size, 80).convert("RGB").save(tmp_path / "noise.jpg")
    status, *_ = command("demo", "edges", "--image", "noise.jpg", "--out", "here")
    assert status == 0
    assert_images(tmp_path / "here", "edges.png", "sharpen-blur.png")
    assert max(edges.read_grey(tmp_path / "noise.jpg").shape) == min(512, max(size))


def test_an_even_image_has_no_edges(command: Command, tmp_path: Path) -> None:
    Image.new("L", (60, 40), 128).save(tmp_path / "even.png")
    assert command("demo", "edges", "--image", "even.png", "--out", "here")[0] == 0
    drawn = np.asarray(Image.open(tmp_path / "here/edges.png").convert("RGB")).astype(int)
    assert (np.ptp(drawn, axis=2) > 20).mean() < 0.02  # the colour bar; not what rounding leaves


def test_an_image_of_16_bits_keeps_its_greys(tmp_path: Path) -> None:
    grey = np.linspace(0, 65_535, 256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    read = edges.read_grey(tmp_path / "deep.png")
    np.testing.assert_allclose(read, grey / 65_535, atol=1 / 255)
    seen = np.asarray(read_image(tmp_path / "deep.png", "RGB"))
    assert seen.shape == (16, 16, 3)
    np.testing.assert_allclose(seen[..., 1] / 255, grey / 65_535, atol=1 / 255)


@pytest.mark.parametrize(
    ("settings", "name", "weight", "message"),
    [
        ('{"--model": "unknown", "--dataset": "mnist"}', "0.weight", np.ones((2, 1, 3, 3)), "name its model"),
        ("[]", "0.weight", np.ones((2, 1, 3, 3)), "does not name its model"),
        ('{"--model": "mnist-cnn", "--dataset": "mnist"}', "0.bias", np.ones(2), "has no filters"),
        ('{"--model": "mnist-cnn", "--dataset": "mnist"}', "0.weight", np.array(["a"]), "not a checkpoint"),
    ],
)
def test_a_foreign_checkpoint_is_one_line(
    command: Command, tmp_path: Path, settings: str, name: str, weight: Any, message: str
) -> None:
    (tmp_path / "run/numpy").mkdir(parents=True)
    (tmp_path / "run/settings.json").write_text(settings)
    np.savez(tmp_path / "run/numpy/epoch=0.npz", **{f"network.{name}": weight})
    status, _, stderr = command("demo", "filters", "--checkpoint", "run")
    assert (status, stderr.count("\n")) == (2, 1)
    assert message in stderr


def test_the_filters_respond_as_torchs_convolution() -> None:
    image = edges.draw_image(40)
    padded = torch.from_numpy(np.pad(image, 1, mode="edge"))[None, None]
    for name, y in edges.filtered(image, edges.FILTERS).items():
        weight = torch.from_numpy(edges.FILTERS[name].copy())[None, None]
        np.testing.assert_allclose(y, torch.nn.functional.conv2d(padded, weight)[0, 0], atol=1e-5)


def test_the_example_is_what_comes_out_by_hand() -> None:
    by_hand = [
        [sum(edges.EXAMPLE[r + i, c + j] * (j - 1) for i in range(3) for j in range(3)) for c in range(3)]
        for r in range(3)
    ]
    np.testing.assert_array_equal(edges.EXAMPLE_BY_HAND, by_hand)
    np.testing.assert_array_equal(edges.filtered_example()[0], by_hand)


def test_lines(command: Command, tmp_path: Path) -> None:
    status, stdout, stderr = command("demo", "lines")
    assert (status, stderr) == (0, "")
    assert "114" in stdout
    assert_images(tmp_path / "runs/demo-lines", "lines.png")


@pytest.mark.parametrize("seed", range(3))
def test_four_filters_learn_lines(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = lines.build(rng)
    first = network[0]
    assert isinstance(first, Conv2D)
    assert first.weight.shape == (4, 1, 3, 3)
    fit(network, *lines.draw(seed), lines.EPOCHS, optimizer=Adam(network, lr=0.02), rng=rng)
    assert accuracy(network, *lines.draw(seed, test=True)) >= 0.95


def test_gradcheck(command: Command, tmp_path: Path) -> None:
    status, stdout, stderr = command("demo", "gradcheck")
    assert (status, stderr) == (0, "")
    checked = gradcheck.layers(np.random.default_rng(0))
    assert stdout.count("passed") == len(checked)
    kinds = {each for each in vars(layers).values() if isinstance(each, type) and issubclass(each, Layer)}
    assert kinds - {Layer} == {
        type(inner) for each in checked.values() for inner in (each, *each.children.values())
    }
    assert_images(tmp_path / "runs/demo-gradcheck", "gradcheck.png")


def test_gradcheck_shows_what_is_wrong(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(ReLU):
        def backward(self, dy: Any) -> Any:
            return 2 * super().backward(dy)

    monkeypatch.setattr(gradcheck, "layers", lambda rng: {"ReLU": ReLU(), "doubled": Wrong()})
    status, stdout, _ = command("demo", "gradcheck")
    assert status == 1
    assert [("passed" in line, "FAILED" in line) for line in stdout.splitlines() if "│" in line] == [
        (True, False),
        (False, True),
    ]


@given(rows=st.integers(-8, 8), columns=st.integers(-8, 8))
def test_shifted_images(rows: int, columns: int) -> None:
    images = np.random.default_rng(0).random((2, 1, 9, 10))
    padded = np.pad(images, ((0, 0), (0, 0), (8, 8), (8, 8)))
    expected = padded[:, :, 8 - rows : 17 - rows, 8 - columns : 18 - columns]
    np.testing.assert_array_equal(shift.shifted(images, rows, columns), expected)


def test_the_dense_network_has_no_fewer_parameters_than_the_cnns() -> None:
    rng = np.random.default_rng(0)
    counts = [
        sum(array.size for array in network.parameters.values())
        for network in (shift.build_pooled(rng), shift.build_cnn(rng), shift.build_dense(rng))
    ]
    assert counts == [12_738, 188_402, 195_490]


def test_the_pooled_cnn_sees_a_digit_anywhere() -> None:
    """Moved by whole steps of its poolings, a shape that all windows see gives the same scores."""
    network, image = shift.build_pooled(np.random.default_rng(0)), np.zeros((1, 1, 28, 28), np.float32)
    image[0, 0, 9:19, 9:19] = np.random.default_rng(1).random((10, 10))
    middle, moved = shift.framed(image), shift.shifted(shift.framed(image), 4, -4)
    np.testing.assert_allclose(network.forward(moved), network.forward(middle), rtol=1e-4, atol=1e-6)
    assert moved.sum() == pytest.approx(middle.sum())


@needs_data
def test_shift(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TRAIN_COUNT": 1_000, "TEST_COUNT": 60, "EPOCHS": 2}.items():
        monkeypatch.setattr(shift, name, value)
    status, stdout, stderr = command("demo", "shift", "--data-dir", os.environ["SCRATCH_CONV_DATA"])
    assert (status, stderr) == (0, "")
    rows = [line.split("│") for line in stdout.splitlines() if line.startswith("│")]
    assert [row[1].strip() for row in rows] == [str(pixels) for pixels in range(9)]
    pooled, cnn, dense = ([float(row[column].strip(" %")) for row in rows] for column in (2, 3, 4))
    assert cnn[0] > cnn[8]
    assert dense[0] > dense[8]
    assert pooled[0] - pooled[8] < cnn[0] - cnn[8]
    assert_images(tmp_path / "runs/demo-shift", "shift.png", "shift-digits.png")


@pytest.mark.parametrize("backend", BACKENDS)
def test_filters_of_a_checkpoint_of_any_backend(command: Command, tmp_path: Path, backend: str) -> None:
    options = f"--dataset shapes --backend {backend} --limit 40 --epochs 2 --out run --batch-size 20".split()
    assert command("train", *options)[0] == 0
    folder = tmp_path / "run/checkpoints" / backend
    kind = "npz" if backend == "numpy" else "ckpt"
    networks = [
        filters.load_network(path)[0]
        for path in (tmp_path / "run", folder, folder / f"epoch=1.{kind}", folder / "result.pt")
    ]
    for network in networks[1:]:
        for name, array in network.state.items():
            np.testing.assert_array_equal(array, networks[0].state[name])
    earlier, _ = filters.load_network(folder / f"epoch=0.{kind}")
    assert not np.array_equal(earlier.state["0.weight"], networks[0].state["0.weight"])
    status, stdout, _ = command("demo", "filters", "--checkpoint", "run", "--out", "here")
    assert status == 0
    assert "convolution 3, pooling" in stdout
    assert f"trained on shapes by {backend}\n" in stdout
    assert re.search(r"takes the image for \w+ \(\d+%\), \w+ \(", stdout)
    assert_images(tmp_path / "here", "filters.png", "feature-maps.png")


def test_filters_of_tiny_grey_images(command: Command, tmp_path: Path) -> None:
    options = "--dataset lines --backend numpy --model small-cnn --limit 100 --epochs 1 --out run"
    assert command("train", *options.split())[0] == 0
    status, stdout, _ = command("demo", "filters", "--checkpoint", "run", "--out", "here")
    assert status == 0
    assert "6x6" in stdout
    assert_images(tmp_path / "here", "filters.png", "feature-maps.png")


def test_filters_of_a_network_trained_for_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "TRAIN_COUNT", 200)
    Image.new("L", (300, 200), 90).save(tmp_path / "grey.png")
    status, stdout, _ = command("demo", "filters", "--image", "grey.png")
    assert status == 0
    assert stdout.startswith("Training a network on 200 drawn shapes first")
    assert "of 500 other shapes are recognised" in stdout
    assert_images(tmp_path / "runs/demo-filters", "filters.png", "feature-maps.png")


@pytest.mark.parametrize(("dataset", "size"), [("mnist", (28, 28)), ("lines", (8, 8)), ("shapes", (32, 32))])
def test_a_network_is_shown_an_image_of_its_kind(dataset: str, size: tuple[int, int]) -> None:
    image = filters.drawn_image(dataset, seed=1)
    assert image.width % size[0] == image.height % size[1] == 0
    assert image.mode == ("RGB" if dataset == "shapes" else "L")
    low, high = np.asarray(image).min(), np.asarray(image).max()
    assert int(high) - int(low) > 60


@pytest.mark.parametrize("dataset", ["lines", "shapes"])
def test_images_are_normalised_as_in_training(dataset: str) -> None:
    data = open_images(dataset, None, 20, seed=0)
    images = data.train[0]
    settings = Settings(dataset, "small-cnn", 1, 5, 0.1, 0, "32", None, "sgd", augment=False)
    wanted = Batches(data, settings).normalise(torch.from_numpy(images), torch.float32)
    np.testing.assert_allclose(normalised(images, dataset), wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_feature_maps_are_what_the_layers_return() -> None:
    network = shift.build_cnn(np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, 52, 52)).astype(np.float32)
    stages = filters.feature_maps(network, x)
    assert [maps.shape for maps in stages.values()] == [(8, 50, 50), (8, 25, 25), (24, 23, 23), (24, 11, 11)]
    y = x[None]
    for layer in network.layers[:6]:
        y = layer.forward(y)
    np.testing.assert_array_equal(stages["convolution 2, pooling"], y[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("edges --image nowhere.png", "nowhere.png: not an image that can be read"),
        ("edges --image text.png", "text.png: not an image that can be read"),
        ("edges --out text.png", "--out text.png: text.png is a file, not a folder"),
        ("lines --seed -1", "Invalid value for '--seed'"),
        ("shift --data-dir nowhere", "--data-dir nowhere: no such folder"),
        ("shift --data-dir empty", "--data-dir empty: the folder is empty"),
        ("shift --data-dir text.png", "--data-dir text.png: not a folder"),
        ("shift --data-dir folders", "--data-dir folders: holds images in folders, not MNIST"),
        ("filters --image text.png", "text.png: not an image that can be read"),
        ("filters --checkpoint nowhere", "--checkpoint nowhere: no such file or folder"),
        ("filters --checkpoint empty", "--checkpoint empty: holds no checkpoint"),
        ("filters --checkpoint text.png", "text.png: not a checkpoint that can be read"),
        ("filters --checkpoint alone.npz", "does not name its model"),
        ("filters --checkpoint x/numpy/other.npz", "does not name its model"),
        ("notebook --out notes.txt", "--out notes.txt: a notebook's name ends in .ipynb"),
        ("notebook --out taken.ipynb", "--out taken.ipynb: is a folder, not a file"),
        ("notebook --out mine.ipynb", "--out mine.ipynb: is there already; --overwrite replaces it"),
        ("notebook --out text.png/a.ipynb", "--out text.png: text.png is a file, not a folder"),
        ("notebook --out /proc/a.ipynb", "--out /proc: cannot be written"),
        ("waves", "waves"),
        ("", "a demo is missing; scratch-conv demo --help lists them"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    command: Command, tmp_path: Path, arguments: str, message: str
) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "mine.ipynb").write_text("learned")
    (tmp_path / "taken.ipynb").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "folders/train").mkdir(parents=True)
    np.savez(tmp_path / "alone.npz", **{"network.0.weight": np.ones((2, 1, 3, 3))})  # type: ignore[arg-type]
    (tmp_path / "x/numpy").mkdir(parents=True)
    (tmp_path / "x/numpy/other.npz").write_bytes((tmp_path / "alone.npz").read_bytes())
    (tmp_path / "x/settings.json").write_text('{"--model": "resnet-999", "--dataset": "mnist"}')
    status, stdout, stderr = command("demo", *arguments.split())
    assert status == 2
    assert stderr.startswith("scratch-conv: ")
    assert stderr.count("\n") == 1
    assert message in stderr
    assert stdout == ""
    assert (tmp_path / "mine.ipynb").read_text() == "learned"


def test_a_network_without_filters_is_refused(command: Command) -> None:
    options = "--dataset shapes --backend numpy --model dense --limit 40 --epochs 1 --out run"
    assert command("train", *options.split())[0] == 0
    status, _, stderr = command("demo", "filters", "--checkpoint", "run")
    assert status == 2
    assert "the first layer of dense has no filters" in stderr


def test_help_names_the_demos(command: Command) -> None:
    status, stdout, _ = command("demo", "--help")
    assert status == 0
    for name in ("edges", "lines", "shift", "gradcheck", "filters", "notebook"):
        assert name in stdout
