"""The images of a report: test images, filters and feature maps, each with the lines below it."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import make_grid

from scratch_conv.training.backends.job import Outcome
from scratch_conv.training.comparison import relative_difference
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.reporting.network import calls, shape, stages

Pixels = npt.NDArray[np.uint8]  # (H, W) or (H, W, 3)
MOST_FILTERS = 32
MOST_MAPS = 16  # of one stage
MOST_VALUES = 256  # of a stage without height and width
MOST_PIXELS = 64  # of a side; of larger images and feature maps every second pixel is shown, or fewer


@dataclass(frozen=True)
class Captioned:
    """An image, and the lines below it; the first one says what it is."""

    pixels: Pixels
    lines: Sequence[str]

    @property
    def uri(self) -> str:
        """The image as the address of an <img>."""
        file = io.BytesIO()
        Image.fromarray(self.pixels).save(file, "png", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def examples(data: ImageSet, predictions: Mapping[str, Tensor], indices: Sequence[int]) -> list[Captioned]:
    """Return test images with their class and the predictions of each backend."""
    found = []
    for index in indices:
        label = int(data.test[1][index])
        lines = [data.classes[label]]
        for name, probabilities in predictions.items():
            guess = int(probabilities[index].argmax())
            mark = "✓" if guess == label else "✗"
            lines.append(f"{mark} {name}: {data.classes[guess]} {probabilities[index][guess]:.0%}")
        found.append(Captioned(_thinned(data.test[0][index]).transpose(1, 2, 0).squeeze(), lines))
    return found


def disagreements(predictions: Mapping[str, Tensor]) -> list[int]:
    """Return the indices of test images that not all backends take for the same class."""
    classes = torch.stack([probabilities.argmax(1) for probabilities in predictions.values()])
    return (classes != classes[0]).any(0).nonzero().flatten().tolist()


def filters(before: nn.Module, outcomes: Mapping[str, Outcome], channels: int) -> list[Captioned]:
    """Return the first layer's filters before training and after it; nothing if they cannot be shown."""
    name = next((name for name, weight in before.state_dict().items() if weight.ndim in (2, 4)), "")
    weights = {"before training": before.state_dict().get(name)}
    weights |= {f"after training, {each}": outcome.weights.get(name) for each, outcome in outcomes.items()}
    found, seen = [], dict[str, Tensor]()
    for title, weight in weights.items():
        viewed = None if weight is None else _as_images(weight[:MOST_FILTERS].float(), channels)
        if weight is not None and viewed is not None:
            # A grey frame: without one, a filter's white would be lost on a white page.
            grid = make_grid(torch.nan_to_num(viewed), 8, 1, normalize=True, scale_each=True, pad_value=0.5)
            apart = [f"{relative_difference(each, weight):.1e} from {other}" for other, each in seen.items()]
            found.append(Captioned(_bytes(grid.permute(1, 2, 0)), [title, *apart]))
            seen[title.removeprefix("after training, ")] = weight
    return found


def _as_images(weight: Tensor, channels: int) -> Tensor | None:
    """View a first layer's weight as images: the filters, or the weights of a dense layer's units."""
    if weight.ndim == 2:
        side = math.isqrt(weight.shape[1] // channels)
        if channels * side**2 != weight.shape[1]:
            return None
        weight = weight.reshape(-1, channels, side, side)
    return weight if weight.shape[1] in (1, 3) else weight.mean(1, keepdim=True)  # as grey or as RGB


def feature_maps(networks: Mapping[str, nn.Module], image: Tensor) -> dict[str, list[Captioned]]:
    """Return what every stage of the networks computes for an image, and how the last differs from the first.

    All networks share one scale in each stage; the difference has its own.
    """
    computed = {name: dict(calls(network, stages(network), image)) for name, network in networks.items()}
    first, *others = computed.values()
    found = {}
    for part, output in first.items():
        outputs = {name: each[part][0] for name, each in computed.items()}
        finite = torch.cat([each[each.isfinite()] for each in outputs.values()])
        low, high = (float(limit) for limit in finite.aminmax()) if finite.numel() else (0.0, 0.0)
        shown = [
            Captioned(_maps(each, low, high, "viridis"), [name, f"{low:.3g} to {high:.3g}"])
            for name, each in outputs.items()
        ]
        for other in others[-1:]:
            difference = torch.nan_to_num((other[part][0] - output[0]).abs())
            most = float(difference.max())
            text = f"0 to {most:.1e}" if most else "none: equal in every bit"
            shown.append(Captioned(_maps(difference, 0, most, "magma"), ["difference", text]))
        kind = type(next(iter(networks.values())).get_submodule(part)).__name__
        found[f"{part} {kind}, {shape(output)}"] = shown
    return found


def _maps(values: Tensor, low: float, high: float, colours: str) -> Pixels:
    """Colour the first channels (C, H, W), four in a row, or values without a shape, 32 in a row."""
    if spatial := values.ndim == 3:
        tiles = _thinned(values[:MOST_MAPS])[:, None]
    else:
        tiles = values.flatten()[:MOST_VALUES].reshape(-1, 1, 1, 1)
    scaled = (torch.nan_to_num(tiles, low) - low) / ((high - low) or 1)
    grid = make_grid(scaled, 4 if spatial else 32, int(spatial), pad_value=math.nan)[0].clamp(0, 1)
    coloured = matplotlib.colormaps[colours].with_extremes(bad="grey")(grid.numpy())
    return _bytes(torch.from_numpy(coloured[..., :3]))


def _thinned(image: Any) -> Any:
    step = -(-image.shape[-1] // MOST_PIXELS)
    return image[..., ::step, ::step]


def _bytes(image: Tensor) -> Pixels:
    return (image * 255).round().to(torch.uint8).numpy()
