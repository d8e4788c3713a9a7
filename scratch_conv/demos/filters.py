"""Inside a trained network: the filters of its first layer, and the feature maps after each stage."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageOps

from scratch_conv.demos.images import normalised, read_image
from scratch_conv.demos.showing import add_scale, explain, save_figure, show_image, show_signed, show_table
from scratch_conv.kernels.windows import Array
from scratch_conv.layers import Conv2D, Flatten, MaxPool2D, ReLU, Sequential, Softmax, accuracy, fit, predict
from scratch_conv.training.backends.job import epochs, read_saved
from scratch_conv.training.backends.models import MODELS
from scratch_conv.training.backends.numpy_checkpoints import read_checkpoint
from scratch_conv.training.backends.translation import from_torch
from scratch_conv.training.data.lines import CLASSES as LINES
from scratch_conv.training.data.lines import draw_lines
from scratch_conv.training.data.shapes import SHAPES, draw_shapes
from scratch_conv.training.data.shapes import SIZE as SHAPE_SIZE
from scratch_conv.training.settings import BACKENDS, InputError

TRAIN_COUNT, EPOCHS = 3_000, 4
MOST_MAPS = 12
_PREFIX = "network."
_CLASSES = {
    "shapes": tuple(SHAPES),
    "lines": LINES,
    "mnist": tuple("0123456789"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}
_SIZES = {"mnist": 28, "fashion-mnist": 28, "lines": 8}  # pixels; all others are as large as the shapes


def run(checkpoint: Path | None, file: Path | None, seed: int, out: Path) -> None:
    """Apply a trained network to an image; write two figures to a folder.

    Args:
        checkpoint: a file or a folder that `scratch-conv train` or `compare` wrote; by default a network is
            trained on the built-in shapes first.
        file: an image file; by default an image is drawn, of the kind that the network was trained on.
        seed: of the training, and of the image.
        out: the folder.

    Raises:
        InputError: one of the files cannot be used.
    """
    given = None if file is None else read_image(file, "RGB")
    if checkpoint is None:
        network, dataset, before = _trained_on_shapes(seed)
    else:
        (network, dataset), before = load_network(checkpoint), None
    first = network[0]
    assert isinstance(first, Conv2D)
    filters = {"filters of the first layer": first.weight}
    if before is not None:
        filters["what training has changed of them"] = first.weight - before
    explain(
        f"""Look in filters.png for edges and colours (after few epochs filters still look like the random
        numbers that they began as{"; below them is what has changed" * (len(filters) - 1)}), and in
        feature-maps.png, line by line, for what of the image each map still shows."""
    )
    shown = drawn_image(dataset, seed) if given is None else given
    image = _fitted(shown, first.in_channels, _SIZES.get(dataset, SHAPE_SIZE))
    x = normalised(image, dataset)
    stages = feature_maps(network, x)
    show_table(
        "The image after each stage",
        ("stage", "maps", "size", "greatest", "pixels above zero"),
        [_row(name, maps) for name, maps in stages.items()],
    )
    print(f"The network takes the image for {_guesses(network, x, dataset)}")
    _draw_filters(filters, out / "filters.png")
    _draw_maps(image, stages, out / "feature-maps.png")
    explain(
        """The first maps are the image as one filter sees it. Behind each pooling there are fewer pixels,
        each of which has seen more of the image: the map says that something is there, and no longer how
        it looks."""
    )


def _row(name: str, maps: Array) -> tuple[str, ...]:
    count, height, width = maps.shape
    return name, str(count), f"{height}x{width}", f"{maps.max():.2f}", f"{(maps > 0).mean():.0%}"


def _guesses(network: Sequential, x: Array, dataset: str) -> str:
    """Return the three likeliest classes of x (C, H, W), each with its probability."""
    p = Softmax().forward(predict(network, x[None]))[0]
    names = _CLASSES.get(dataset, ())
    likeliest = np.argsort(-p, kind="stable")[:3]
    each = [f"{names[k] if len(names) == len(p) else f'class {k}'} ({p[k]:.0%})" for k in likeliest]
    return ", ".join(each)


def feature_maps(network: Sequential, x: Array) -> dict[str, Array]:
    """Return the feature maps (K, H', W') of x (C, H, W) after each ReLU and each pooling."""
    stages, y, number = {}, x[None], 0
    network.eval()
    for layer in network:
        if isinstance(layer, Flatten):
            break
        y = layer.forward(y)
        number += isinstance(layer, Conv2D)
        if isinstance(layer, (ReLU, MaxPool2D)):
            kind = "ReLU" if isinstance(layer, ReLU) else "pooling"
            stages[f"convolution {number}, {kind}"] = y[0]
    return stages


def load_network(checkpoint: Path) -> tuple[Sequential, str]:
    """Return the network of a checkpoint of any backend, and the name of its data set.

    Args:
        checkpoint: a file in the folder of a run, such as runs/x/checkpoints/numpy/epoch=9.npz; or the run's
            folder, or one in between, whose latest checkpoint is used.

    Raises:
        InputError: there is none, it cannot be read, or its first layer is not a convolution.
    """
    path = checkpoint if checkpoint.is_file() else _latest(checkpoint)
    weights = _read_weights(path)
    model, dataset = _model_and_dataset(path)
    shapes = [weight.shape for name, weight in weights.items() if name.endswith("weight")]
    if not shapes or len(shapes[0]) != 4:
        raise InputError(f"--checkpoint {path}: the first layer of {model} has no filters")
    module = MODELS[model](shapes[0][1], _SIZES.get(dataset, SHAPE_SIZE), shapes[-1][0])
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"--checkpoint {path}: {error}") from error
    try:
        network = from_torch(module)
    except ValueError as error:
        raise InputError(f"--checkpoint {path}: {model} cannot be shown, as {error}") from error
    assert isinstance(network, Sequential)
    print(f"The network is {path}: {model}, trained on {dataset} by {path.parent.name}")
    return network, dataset


def _model_and_dataset(path: Path) -> tuple[str, str]:
    """Return the names of a checkpoint's model and data set, from the settings of its run."""
    settings_file = path.parent.parent / "settings.json"
    try:
        settings = json.loads(settings_file.read_text(encoding="utf-8"))
        model, dataset = settings["--model"], settings["--dataset"]
        if model not in MODELS:
            raise KeyError(model)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--checkpoint {path}: {settings_file} does not name its model") from error
    return model, str(dataset)


def _latest(folder: Path) -> Path:
    folders = [
        folder,
        *(folder / "checkpoints" / name for name in BACKENDS),
        *(folder / name for name in BACKENDS),
    ]
    found = [path for each in folders for path in epochs(each)[-1:]]
    if not found:
        raise InputError(
            f"--checkpoint {folder}: {'holds no checkpoint' if folder.exists() else 'no such file or folder'}"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".npz":
        arrays: dict[str, Any] = read_checkpoint(path) or {}
        named = {name: torch.from_numpy(a) for name, a in arrays.items() if a.dtype.kind in "fi"}
    else:
        saved: dict[str, Any] = read_saved(path) or {}
        result = saved.get("outcome", {}).get("weights", {})
        named = saved.get("state_dict", {f"{_PREFIX}{name}": weight for name, weight in result.items()})
    weights = {n.removeprefix(_PREFIX): weight for n, weight in named.items() if n.startswith(_PREFIX)}
    if not weights:
        raise InputError(f"--checkpoint {path}: not a checkpoint that can be read")
    return weights


def _trained_on_shapes(seed: int) -> tuple[Sequential, str, Array]:
    """Return a network, the name of what it was trained on, and the filters that it began with."""
    print(f"Training a network on {TRAIN_COUNT:,} drawn shapes first: about half a minute")
    torch.manual_seed(seed)
    network = from_torch(MODELS["mnist-cnn"](3, SHAPE_SIZE, len(SHAPES)))
    assert isinstance(network, Sequential)
    before = network.parameters["0.weight"].copy()
    (images, labels), (tests, test_labels) = draw_shapes(TRAIN_COUNT, seed), draw_shapes(500, seed, test=True)
    fit(network, normalised(images, "shapes"), labels, EPOCHS, rng=seed)
    right = accuracy(network, normalised(tests, "shapes"), test_labels)
    print(f"{right:.1%} of 500 other shapes are recognised")
    return network, "shapes", before


def drawn_image(dataset: str, seed: int) -> Image.Image:
    """Draw an image of the kind that a network was trained on: a digit, a line, or a shape."""
    if dataset == "mnist":
        seven = Image.new("L", (112, 112))
        ImageDraw.Draw(seven).line([(32, 30), (78, 30), (50, 88)], fill=255, width=10, joint="curve")
        return seven
    if dataset == "lines":
        return Image.fromarray(draw_lines(1, seed, test=True)[0][0, 0])
    return Image.fromarray(draw_shapes(8, seed, test=True)[0][5].transpose(1, 2, 0))


def _fitted(image: Image.Image, channels: int, size: int) -> Array:
    """Return the pixels (C, H, W) of 0..255 of an image for a network: its middle square, resized."""
    pixels = np.asarray(ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (size, size)))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _draw_filters(shown: dict[str, Array], path: Path) -> None:
    """Draw filters (O, C, KH, KW) below their titles, those of each on one scale.

    As RGB if they have three channels, else by sign.
    """
    columns = 16
    rows = -(-max(map(len, shown.values())) // columns)
    figure = Figure((12, (0.95 * rows + 0.4) * len(shown)), layout="constrained")
    parts: Any = figure.subfigures(len(shown), 1, squeeze=False)
    for part, (title, weight) in zip(parts.ravel(), shown.items(), strict=True):
        coloured, means = weight.shape[1] == 3, weight.mean(axis=1)
        most = float(abs(weight if coloured else means).max()) or 1.0
        part.suptitle(f"{title}{': grey is 0, a bright colour is looked for' * coloured}")
        grid = part.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(weight) :]:
            axes.axis("off")
        for axes, each, mean in zip(grid, weight, means, strict=False):
            if coloured:
                show_image(axes, 0.5 + each.transpose(1, 2, 0) / (2 * most))
            else:
                show_signed(axes, mean, most=most)
        if not coloured:
            add_scale(part, grid, "weight")
    save_figure(figure, path)


def _draw_maps(image: Array, stages: dict[str, Array], path: Path) -> None:
    """Draw the image and, in a line for each stage, the maps with the strongest responses."""
    figure = Figure((12, 1.25 * (len(stages) + 1)), layout="constrained")
    parts: Any = figure.subfigures(len(stages) + 1, 1)
    show_image(parts[0].subplots(1, 1), image.transpose(1, 2, 0), "the image")
    for part, (name, maps) in zip(parts[1:], stages.items(), strict=True):
        strongest = np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:MOST_MAPS]
        which = f"the {len(strongest)} strongest of {len(maps)}" if len(maps) > MOST_MAPS else str(len(maps))
        part.suptitle(f"{name}: {which} maps of {maps.shape[1]}x{maps.shape[2]}", fontsize=10)
        row = part.subplots(1, MOST_MAPS, squeeze=False)[0]
        for axes in row[len(strongest) :]:
            axes.axis("off")
        for axes, index in zip(row, strongest, strict=False):
            show_image(axes, maps[index], cmap="viridis", vmin=0, vmax=float(maps.max()) or 1.0)
        add_scale(part, row)
    save_figure(figure, path)
