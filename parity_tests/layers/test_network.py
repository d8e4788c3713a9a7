"""Networks: names, modes, files, the summary, and the first values of weights."""

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratch_conv.layers
from scratch_conv.layers import (
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    MaxPool2D,
    ReLU,
    ResidualBlock,
    Sequential,
    Softmax,
    SoftmaxCrossEntropy,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
)


def network(seed: int = 0) -> Sequential:
    """Build a network with every kind of state."""
    rng = np.random.default_rng(seed)
    block = ResidualBlock(2, 3, rng=rng)
    return Sequential(
        Conv2D(1, 2, 3, rng=rng), BatchNorm2D(2), ReLU(), block, Flatten(), Dense(48, 4, rng=rng)
    )


def images() -> Any:
    """Draw a batch."""
    return np.random.default_rng(5).standard_normal((3, 1, 6, 6)).astype(np.float32)


def test_parameters_and_gradients_have_the_same_names_and_shapes() -> None:
    trained = network()
    trained.backward(np.ones_like(trained.forward(images())))
    assert list(trained.parameters)[:4] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert "3.downsample.0.weight" in trained.parameters
    assert {name: array.shape for name, array in trained.parameters.items()} == {
        name: array.shape for name, array in trained.gradients.items()
    }
    assert set(trained.state) - set(trained.parameters) == {
        f"{layer}.{what}"
        for layer in ("1", "3.bn1", "3.bn2", "3.downsample.1")
        for what in ("running_mean", "running_var", "num_batches_tracked")
    }


def test_the_mode_reaches_every_layer() -> None:
    modes = network()
    block = modes[3]
    assert isinstance(block, ResidualBlock)
    assert block.downsample is not None
    assert modes.eval() is modes
    assert not any(layer.training for layer in (*modes, block.bn1, block.downsample[1]))
    modes.train()
    assert all(layer.training for layer in (*modes, block.bn1, block.downsample[1]))


def test_a_saved_network_computes_the_same_once_loaded(tmp_path: Path) -> None:
    trained, other = network(0), network(1)
    trained.forward(images())  # moves the running statistics
    trained.save(tmp_path / "weights")
    other.load(str(tmp_path / "weights"))
    np.testing.assert_array_equal(
        other.eval().forward(images()), trained.eval().forward(images()), strict=True
    )


def damaged(path: Path, intact: bytes) -> None:
    """Cut a file in the middle."""
    path.write_bytes(intact[: len(intact) // 2])


def flipped(path: Path, intact: bytes) -> None:
    """Change bytes in the middle of an array."""
    middle = len(intact) // 2
    path.write_bytes(
        intact[:middle] + bytes(255 - byte for byte in intact[middle : middle + 8]) + intact[middle + 8 :]
    )


def emptied(path: Path, intact: bytes) -> None:
    """Make the file empty."""
    path.write_bytes(b"")


def an_image(path: Path, intact: bytes) -> None:
    """Write something else."""
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))


def a_pickle(path: Path, intact: bytes) -> None:
    """Write what would run code if it were loaded."""
    path.write_bytes(pickle.dumps({"0.weight": np.ones(3)}))


def objects(path: Path, intact: bytes) -> None:
    """Write arrays of objects, which hold pickles."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, **{name: np.array([{}], object) for name in network().state})


def one_array(path: Path, intact: bytes) -> None:
    """Write a single array."""
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def text(path: Path, intact: bytes) -> None:
    """Write a zip file with a text under each name."""
    with zipfile.ZipFile(path, "w") as file:
        for name in network().state:
            file.writestr(name, "no array")


def enormous(path: Path, intact: bytes) -> None:
    """Announce an array that no memory holds."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**14,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0.weight.npy", file.getvalue())


def encrypted(path: Path, intact: bytes) -> None:
    """Flip the bit by which a zip file says that its first member is encrypted."""
    offset = intact.index(b"PK\x01\x02") + 8
    path.write_bytes(intact[:offset] + bytes([intact[offset] ^ 1]) + intact[offset + 1 :])


def patched(path: Path, intact: bytes) -> None:
    """Set the bit by which a zip file says that its first member is a patch."""
    offset = intact.index(b"PK\x01\x02") + 8
    path.write_bytes(intact[:offset] + bytes([intact[offset] | 32]) + intact[offset + 1 :])


def compressed(path: Path, intact: bytes) -> None:
    """Damage what is compressed."""
    np.savez_compressed(path, np.arange(1000))
    packed = path.read_bytes()
    path.write_bytes(packed[:60] + b"\xff" * 20 + packed[80:])


NO_ZIP_FILES = [damaged, emptied, an_image, a_pickle, one_array]
NO_WEIGHTS = [flipped, patched, encrypted, compressed, objects, text, enormous]


@pytest.mark.parametrize("damage", [*NO_ZIP_FILES, *NO_WEIGHTS])
def test_a_damaged_or_foreign_file_is_refused_and_changes_nothing(tmp_path: Path, damage: Any) -> None:
    path, trained = tmp_path / "weights.npz", network()
    trained.save(path)
    damage(path, path.read_bytes())
    before = {name: array.copy() for name, array in trained.state.items()}
    with pytest.raises(ValueError, match=r"weights\.npz: damaged, or not written by save"):
        trained.load(path)
    for name, array in trained.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_large_array_with_one_wrong_bit_is_refused(tmp_path: Path) -> None:
    """Its end is not read together with its header."""
    path, layer = tmp_path / "weights.npz", Sequential(Dense(64, 64))
    layer.save(path)
    intact = path.read_bytes()
    end = intact.index(b"PK\x03\x04", 1) - 1  # before the second member of the zip file
    path.write_bytes(intact[:end] + bytes([intact[end] ^ 1]) + intact[end + 1 :])
    with pytest.raises(ValueError, match="Bad CRC-32"):
        layer.load(path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Sequential(Conv2D(1, 2, 3, bias=False)), "the file has 0.bias, the network has not"),
        (Sequential(Conv2D(1, 2, 3), BatchNorm2D(2)), "the network has 1.weight, the file has not"),
        (Sequential(Conv2D(1, 2, 5)), r"0\.weight has shape \(2, 1, 3, 3\) in the file, \(2, 1, 5, 5\) in"),
    ],
)
def test_the_file_of_another_network_is_refused(tmp_path: Path, other: Sequential, message: str) -> None:
    Sequential(Conv2D(1, 2, 3)).save(tmp_path / "weights.npz")
    with pytest.raises(ValueError, match=message):
        other.load(tmp_path / "weights.npz")


@pytest.mark.parametrize("kind", ["U3", "S1", "complex64", "int64", "datetime64[s]", [("a", "f4")]])
def test_arrays_of_another_kind_are_refused_and_change_nothing(tmp_path: Path, kind: Any) -> None:
    path, trained = tmp_path / "weights.npz", Sequential(Dense(2, 3))
    before = {name: array.copy() for name, array in trained.state.items()}
    arrays: Any = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3, kind)}
    np.savez(path, **arrays)
    with pytest.raises(
        ValueError, match=r"weights\.npz: of another network: 0\.bias is .* in the file, float32 in "
    ):
        trained.load(path)
    for name, array in trained.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_file_is_replaced_in_full_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.npz"
    network(0).save(path)
    before = path.read_bytes()

    def fail(file: Any, **arrays: Any) -> None:
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        network(1).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("training", [True, False])
def test_a_gradient_is_of_the_mode_that_its_forward_pass_had(training: bool) -> None:
    block = ResidualBlock(2, 3, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((2, 2, 4, 4))
    dy = np.random.default_rng(2).standard_normal((2, 3, 4, 4))
    block.forward(x)  # so that the two modes differ
    block.train(training).forward(x)
    expected = block.backward(dy)
    np.testing.assert_array_equal(block.train(not training).backward(dy), expected)


@pytest.mark.parametrize("training", [True, False])
def test_a_change_of_mode_does_not_change_what_a_forward_pass_was(training: bool) -> None:
    x, dy = np.random.default_rng(0).standard_normal((2, 3, 2, 4, 4))
    layer = BatchNorm2D(2).train(training)
    layer.forward(x)
    wanted = layer.backward(dy)
    np.testing.assert_array_equal(layer.train(not training).backward(dy), wanted)


def test_softmax_is_over_the_classes_by_default() -> None:
    y = Softmax().forward(np.random.default_rng(0).standard_normal((2, 3, 4)))
    np.testing.assert_allclose(y.sum(axis=1), 1)


def test_the_summary_counts(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [Conv2D(1, 32, 3), ReLU(), MaxPool2D(2), Conv2D(32, 64, 3), ReLU(), MaxPool2D(2), Flatten()]
    summed = Sequential(*layers, Dense(1600, 128), ReLU(), Dropout(0.2), Dense(128, 10))
    summed.summary((1, 28, 28))
    printed = capsys.readouterr().out
    lines = [line.split("  ") for line in printed.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[3] == [
        "Conv2D(in_channels=1, out_channels=32, kernel_size=3)",
        "32x26x26",
        "320",
        f"{(28 * 28 + 1) * 32 * 26 * 26:,}",
        f"{26 * 26 * 320 - 26 * 26 * 32:,}",
        "3x3",
    ]
    assert cells[5] == ["MaxPool2D(kernel_size=2, stride=2)", "32x13x13", "0", "4x4"]
    products = 26 * 26 * 9 * 32 + 11 * 11 * 9 * 32 * 64 + 1600 * 128 + 128 * 10
    assert cells[-1] == ["all", "225,034", f"{products:,}"]
    assert not any(hasattr(layer, "x") for layer in summed)  # it was a copy that computed


@pytest.mark.parametrize(
    "layers",
    [
        [
            Conv2D(1, 2, 3, padding=1),
            AvgPool2D(2),
            Conv2D(2, 2, (5, 3), (2, 1), padding=2),
            AvgPool2D((1, 2)),
        ],
        [Conv2D(1, 2, 3, stride=2, padding=1), Sequential(ReLU(), ResidualBlock(2, 3, stride=2))],
        [Conv2D(1, 2, (2, 3), dilation=(1, 3)), ResidualBlock(2, 2)],
        [Conv2D(1, 2, (2, 3)), GlobalAvgPool2D()],
    ],
)
def test_the_receptive_field_is_where_an_output_has_a_gradient(
    layers: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    network = Sequential(*layers).astype(np.float64).eval()
    for name, weight in network.parameters.items():
        weight[...] = 1.0 if "weight" in name else 0.1  # no ReLU is closed, and no terms cancel
    network.summary((1, 64, 64))
    field = capsys.readouterr().out.splitlines()[-3].split()[-1]
    y = network(np.random.default_rng(0).random((1, 1, 64, 64)) + 1)
    dy = np.zeros_like(y)
    dy[0, 0, y.shape[2] // 2, y.shape[3] // 2] = 1
    (dx,) = network.backward(dy)[0]
    seen = [np.ptp(indices) + 1 for indices in np.nonzero(dx)]
    assert [int(each) for each in field.split("x")] == seen


def test_the_summary_needs_no_batch(capsys: pytest.CaptureFixture[str]) -> None:
    summed = Sequential(Conv2D(1, 2, 3), BatchNorm2D(2))  # in training, one value a channel would be refused
    summed.summary((1, 3, 3))
    assert "2x1x1" in capsys.readouterr().out
    assert summed.training
    with pytest.raises(ValueError, match=r"without the batch, \(C, H, W\) or \(I,\); got \(8, 1, 3, 3\)"):
        summed.summary((8, 1, 3, 3))


@pytest.mark.parametrize(
    ("draw", "variance"),
    [
        (he_normal, 2 / 90),
        (he_uniform, 2 / 90),
        (glorot_normal, 2 / (90 + 1800)),
        (glorot_uniform, 2 / (90 + 1800)),
    ],
)
def test_initial_weights_have_their_variance(draw: Any, variance: float) -> None:
    weight = draw((200, 10, 3, 3), np.random.default_rng(0))
    assert weight.shape == (200, 10, 3, 3)
    assert weight.mean() == pytest.approx(0, abs=5 * (variance / weight.size) ** 0.5)
    assert weight.var() == pytest.approx(variance, rel=0.05)
    if draw in (he_uniform, glorot_uniform):
        assert np.abs(weight).max() <= (3 * variance) ** 0.5


def test_layers_take_their_initialization_generator_and_dtype() -> None:
    layer = Dense(5, 4, init=glorot_uniform, rng=np.random.default_rng(3), dtype=np.float64)
    np.testing.assert_array_equal(layer.weight, glorot_uniform((4, 5), np.random.default_rng(3)), strict=True)


@given(seed=st.integers(0, 99), scale=st.sampled_from([1.0, 1e3, 1e30]), classes=st.integers(2, 5))
def test_the_loss_is_finite_however_great_the_scores(seed: int, scale: float, classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = scale * rng.standard_normal((4, classes)), rng.integers(0, classes, 4)
    loss = SoftmaxCrossEntropy()
    assert np.isfinite(loss.forward(scores, labels))
    gradient = loss.backward()
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(1), 0, atol=1e-15)


def test_the_loss_of_no_images_is_nan_and_has_a_gradient() -> None:
    loss = SoftmaxCrossEntropy()
    assert np.isnan(loss.forward(np.ones((0, 3)), np.zeros(0, int)))
    assert loss.backward().shape == (0, 3)


def test_the_readmes_network_trains_and_prints_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(scratch_conv.layers.__file__).parent / "README.md").read_text(encoding="utf-8")
    _, code, _, shown, *_ = readme.split("```")
    monkeypatch.chdir(tmp_path)
    exec(code.removeprefix("python\n"), {})
    printed = capsys.readouterr().out.splitlines()
    table = [line for line in printed if "  " in line or line.startswith("-")]
    assert all(line in shown for line in table)
    losses = [float(line) for line in printed[:5]]
    assert losses == sorted(losses, reverse=True)
    assert printed[-1].startswith("gradients equal")
    assert (tmp_path / "weights.npz").exists()


def test_a_number_seeds_what_is_drawn() -> None:
    for build in (
        lambda rng: Conv2D(1, 2, 3, rng=rng),
        lambda rng: Dense(3, 2, rng=rng),
        lambda rng: ResidualBlock(2, 2, rng=rng),
    ):
        for seed in (0, 5):
            drawn, again = build(seed).state, build(np.random.default_rng(seed)).state
            for name, array in drawn.items():
                np.testing.assert_array_equal(array, again[name], strict=True)
    block = ResidualBlock(2, 2, rng=0)
    assert not np.array_equal(block.conv1.weight, block.conv2.weight)


def test_dropout_keeps_the_mean_and_can_be_repeated() -> None:
    x = np.ones((100, 100), np.float32)
    y = Dropout(0.3, rng=np.random.default_rng(0)).forward(x)
    assert set(np.unique(y)) == {0, np.float32(1 / 0.7)}
    assert y.mean() == pytest.approx(1, abs=0.03)
    np.testing.assert_array_equal(y, Dropout(0.3, rng=np.random.default_rng(0)).forward(x))


def test_a_small_file_of_huge_arrays_is_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    arrays: dict[str, Any] = {name: np.zeros(10**7) for name in ("0.weight", "0.bias")}
    np.savez_compressed(path, **arrays)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"0\.weight has shape \(10000000,\)"):
        Sequential(Dense(2, 3).astype(np.float64)).load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
