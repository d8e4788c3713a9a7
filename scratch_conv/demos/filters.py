"""What a trained network sees: the filters of its first layer, and the feature maps after each stage."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from scratch_conv.demos.fitting import accuracy, fit
from scratch_conv.demos.showing import save_figure, show_picture, show_signed, show_table
from scratch_conv.kernels.geometry import Array
from scratch_conv.layers import Adam, Conv2D, Flatten, MaxPool2D, ReLU, Sequential
from scratch_conv.training.job import epochs, read_saved
from scratch_conv.training.models import MODELS
from scratch_conv.training.numpy_checkpoints import read_checkpoint
from scratch_conv.training.pictures import CIFAR10_MEAN, CIFAR10_STD
from scratch_conv.training.settings import BACKENDS, InputError
from scratch_conv.training.shapes import SHAPES, draw_shapes
from scratch_conv.training.shapes import SIZE as SHAPE_SIZE
from scratch_conv.training.translation import from_torch

TRAIN_COUNT, EPOCHS = 3_000, 4
MOST_MAPS = 12
_PREFIX = "network."
_SIZES = {"mnist": 28, "fashion-mnist": 28, "lines": 8}  # all others: 32


def run(checkpoint: Path | None, picture: Path | None, seed: int, out: Path) -> None:
    """Show a trained network at work on a picture; leave two figures in a folder.

    Arguments:
        checkpoint: a file or a folder that `scratch-conv train` or `compare` left; by default a network is
            trained on the built-in shapes first.
        picture: a file with a picture; by default one of the shapes.
        seed: of the training, and of the shape.
        out: the folder.

    Raises:
        InputError: one of the files cannot be used.
    """
    network, size = _trained_on_shapes(seed) if checkpoint is None else load_network(checkpoint)
    first = network[0]
    assert isinstance(first, Conv2D)
    image = _picture(picture, first.in_channels, size, seed)
    x = _normalised(image)
    stages = feature_maps(network, x)
    show_table(
        "What becomes of the picture",
        ("stage", "maps", "size", "greatest", "pixels above zero"),
        [_row(name, maps) for name, maps in stages.items()],
    )
    _draw_filters(first.weight, out / "filters.png")
    _draw_maps(image, stages, out / "feature-maps.png")


def _row(name: str, maps: Array) -> tuple[str, ...]:
    count, height, width = maps.shape
    return name, str(count), f"{height}x{width}", f"{maps.max():.2f}", f"{(maps > 0).mean():.0%}"


def feature_maps(network: Sequential, x: Array) -> dict[str, Array]:
    """Send x (C, H, W) through the network; keep the maps (K, H', W') after each ReLU and each pooling."""
    stages, y, place = {}, x[None], 0
    network.eval()
    for layer in network:
        if isinstance(layer, Flatten):
            break
        y = layer.forward(y)
        place += isinstance(layer, Conv2D)
        if isinstance(layer, (ReLU, MaxPool2D)):
            what = "ReLU" if isinstance(layer, ReLU) else "pooling"
            stages[f"convolution {place}, {what}"] = y[0]
    return stages


def load_network(checkpoint: Path) -> tuple[Sequential, int]:
    """Build the network of a checkpoint of any backend, and tell the size of its pictures.

    Arguments:
        checkpoint: a file in the folder of a run, such as runs/x/checkpoints/numpy/epoch=9.npz; or the run's
            folder, or one in between, of which the latest checkpoint is taken.

    Raises:
        InputError: there is none, it cannot be read, or its first layer does not convolve.
    """
    path = checkpoint if checkpoint.is_file() else _latest(checkpoint)
    weights = _read_weights(path)
    settings_file = path.parent.parent / "settings.json"
    try:
        settings: dict[str, Any] = json.loads(settings_file.read_text(encoding="utf-8"))
        model, size = settings["--model"], _SIZES.get(settings["--dataset"], 32)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"--checkpoint {path}: {settings_file} does not say which model it is of") from error
    shapes = [weight.shape for name, weight in weights.items() if name.endswith("weight")]
    if len(shapes[0]) != 4:
        raise InputError(f"--checkpoint {path}: the first layer of {model} has no filters")
    channels = shapes[0][1]
    module = MODELS[model](channels, size, shapes[-1][0])
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"--checkpoint {path}: {error}") from error
    network = from_torch(module)
    assert isinstance(network, Sequential)
    return network, size


def _latest(folder: Path) -> Path:
    places = [
        folder,
        *(folder / "checkpoints" / name for name in BACKENDS),
        *(folder / name for name in BACKENDS),
    ]
    found = [path for place in places for path in epochs(place)[-1:]]
    if not found:
        raise InputError(
            f"--checkpoint {folder}: {'holds no checkpoint' if folder.exists() else 'not there'}"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".npz":
        arrays: dict[str, Any] = read_checkpoint(path) or {}
        named = {name: torch.from_numpy(array) for name, array in arrays.items()}
    else:
        saved: dict[str, Any] = read_saved(path) or {}
        named = saved.get(
            "state_dict", {f"{_PREFIX}{name}": w for name, w in saved.get("weights", {}).items()}
        )
    weights = {n.removeprefix(_PREFIX): weight for n, weight in named.items() if n.startswith(_PREFIX)}
    if not weights:
        raise InputError(f"--checkpoint {path}: not a checkpoint that can be read")
    return weights


def _trained_on_shapes(seed: int) -> tuple[Sequential, int]:
    torch.manual_seed(seed)
    network = from_torch(MODELS["mnist-cnn"](3, SHAPE_SIZE, len(SHAPES)))
    assert isinstance(network, Sequential)
    (images, labels), (tests, test_labels) = draw_shapes(TRAIN_COUNT, seed), draw_shapes(500, seed, test=True)
    fit(
        network,
        Adam(network),
        _normalised(images),
        labels,
        EPOCHS,
        np.random.default_rng(seed),
        "learning shapes",
    )
    right = accuracy(network, _normalised(tests), test_labels)
    print(f"Trained on {TRAIN_COUNT:,} drawn shapes; {right:.1%} of 500 others are recognised")
    return network, SHAPE_SIZE


def _picture(path: Path | None, channels: int, size: int, seed: int) -> Array:
    """Read or draw a picture (C, H, W) of 0..255, of the size that the network takes."""
    if path is None:
        image = Image.fromarray(draw_shapes(8, seed, test=True)[0][5].transpose(1, 2, 0))
    else:
        try:
            image = Image.open(path).convert("RGB")
        except Exception as error:  # a damaged file can fail in any way
            raise InputError(f"--picture {path}: not a picture that can be read ({error})") from error
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((size, size)))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _normalised(images: Array) -> Array:
    """Bring pictures (..., C, H, W) of 0..255 about to mean 0 and standard deviation 1."""
    if images.shape[-3] == 1:
        return (images.astype(np.float32) / 255 - np.float32(0.1307)) / np.float32(0.3081)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (CIFAR10_MEAN, CIFAR10_STD))
    return (images.astype(np.float32) / 255 - mean) / std


def _draw_filters(weight: Array, path: Path) -> None:
    """Draw filters (O, C, KH, KW): in colours if they have three channels, by their sign if they have one."""
    columns = 16
    rows = -(-len(weight) // columns)
    figure = Figure((12, 0.95 * rows + 0.4), layout="constrained")
    figure.suptitle("filters of the first layer")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(weight) :]:
        axes.axis("off")
    for axes, each in zip(grid, weight, strict=False):
        if len(each) == 3:
            spread = each - each.min()
            show_picture(axes, (spread / (spread.max() or 1)).transpose(1, 2, 0))
        else:
            show_signed(axes, each.mean(axis=0))
    save_figure(figure, path)


def _draw_maps(image: Array, stages: dict[str, Array], path: Path) -> None:
    """Draw the picture and under it, a line for each stage, the maps that answer most."""
    figure = Figure((12, 1.25 * (len(stages) + 1)), layout="constrained")
    parts: Any = figure.subfigures(len(stages) + 1, 1)
    show_picture(parts[0].subplots(1, 1), image.transpose(1, 2, 0), "the picture")
    for part, (name, maps) in zip(parts[1:], stages.items(), strict=True):
        part.suptitle(f"{name}: {len(maps)} maps of {maps.shape[1]}x{maps.shape[2]}", fontsize=10)
        strongest = np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:MOST_MAPS]
        for axes, place in zip(part.subplots(1, MOST_MAPS, squeeze=False)[0], strongest, strict=False):
            show_picture(axes, maps[place], cmap="viridis")
    save_figure(figure, path)
