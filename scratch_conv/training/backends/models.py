"""The networks that can be trained by name, built of torch's own layers.

`swap` replaces these layers by ours, and `from_torch` translates the network into NumPy layers.
"""

import importlib
import inspect
import math
import random
import sys
import warnings
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torchvision.models.resnet import BasicBlock

from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import InputError, Settings


def simple_cnn(channels: int, size: int, classes: int) -> nn.Module:
    """Three convolutions with pooling, two dense layers: 620,362 parameters for 3x32x32, ten classes."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128 * (size // 8) ** 2, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )


def mnist_cnn(channels: int, size: int, classes: int) -> nn.Module:
    """Two convolutions without padding, two dense layers: 225,034 parameters for 1x28x28, ten classes."""
    pooled = ((size - 2) // 2 - 2) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * pooled**2, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def small_cnn(channels: int, size: int, classes: int) -> nn.Module:
    """One convolution of eight filters, two dense layers: 174,554 parameters for 1x28x28, ten classes."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * ((size - 2) // 2) ** 2, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def dense(channels: int, size: int, classes: int) -> nn.Module:
    """Three dense layers, for comparison: 235,146 parameters for 1x28x28, ten classes."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size**2, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def vgg(channels: int, size: int, classes: int) -> nn.Module:
    """Build configuration A of Simonyan & Zisserman (2014), with batch norm and one dense layer, not three.

    9,231,114 parameters for 3x32x32, ten classes. Of smaller images fewer are pooled, so that every
    convolution sees at least two pixels a side.
    """
    layers: list[nn.Module] = []
    # The width of each convolution, and the least side of an image that is pooled after it.
    for width, least in zip(
        (64, 128, 256, 256, 512, 512, 512, 512), (4, 4, math.inf, 4, math.inf, 4, math.inf, 2), strict=True
    ):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
        if size >= least:
            layers.append(nn.MaxPool2d(2))
            size //= 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * size**2, classes))


class Shortcut(nn.Module):
    """Option A of He et al. (2015): every second pixel, and the new channels are zero; no parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return x (N, C, H, W) with half the pixels a side and `channels` more channels."""
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.channels))


def resnet20(channels: int, size: int, classes: int) -> nn.Module:
    """He et al. (2015), section 4.2, n = 3: 269,722 parameters for 3x32x32, ten classes."""
    blocks = [BasicBlock(16, 16) for _ in range(3)]
    for width in (16, 32):
        blocks.append(BasicBlock(width, 2 * width, 2, Shortcut(width)))
        blocks += [BasicBlock(2 * width, 2 * width) for _ in range(2)]
    network = nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


# Each takes an image's channels, its side in pixels, and the number of classes.
MODELS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "simple-cnn": simple_cnn,
    "mnist-cnn": mnist_cnn,
    "small-cnn": small_cnn,
    "dense": dense,
    "vgg": vgg,
    "resnet20": resnet20,
}


def check_name(model: str) -> None:
    """Raise InputError unless `model` is one of MODELS, a classifier of torchvision, or module:callable."""
    if ":" in model:
        _imported(model)
    elif model not in MODELS and model not in torchvision.models.list_models(module=torchvision.models):
        raise InputError(
            f"--model {model}: unknown, choose from {', '.join(MODELS)}, torchvision's classifiers "
            "(resnet18, ...), or module:callable for a network of your own"
        )


def build(model: str, channels: int, size: int, classes: int) -> nn.Module:
    """Return an untrained network for images (channels, size, size).

    Args:
        model: a name in MODELS; that of a classifier of torchvision; or module:callable, whose callable takes
            num_classes as a keyword, or (channels, size, classes), or no arguments: the first that its
            signature allows.
        channels: of an image.
        size: its side in pixels.
        classes: how many there are.

    Raises:
        InputError: it cannot be built.
    """
    if model in MODELS:
        return MODELS[model](channels, size, classes)
    try:
        if ":" in model:
            network = _called(_imported(model), channels, size, classes)
        else:
            network = torchvision.models.get_model(model, num_classes=classes)
        if not isinstance(network, nn.Module):
            raise TypeError(f"returned {type(network).__name__}, not a torch.nn.Module")
        with torch.no_grad():  # lazy layers find out their sizes
            if any(map(is_lazy, network.parameters())):
                network.eval()(torch.zeros(1, channels, size, size))
                network.train()
    except Exception as error:  # a user's own code can fail in any way
        raise _refusal(model, error) from error
    return network


def initial_network(settings: Settings, data: ImageSet) -> nn.Module:
    """Return the untrained network: the same weights for the same seed, for every backend."""
    torch.manual_seed(settings.seed)
    np.random.seed(settings.seed)  # noqa: NPY002  # a user's own code may draw by this one
    random.seed(settings.seed)
    _, channels, size, _ = data.train[0].shape
    return build(settings.model, channels, size, len(data.classes))


def build_fitting(model: str, channels: int, size: int, classes: int, batch: int) -> nn.Module:
    """Return an untrained network that was tried on as many images as the smallest batch has.

    Raises:
        InputError: it does not take such images or so few of them, or does not return a score for each class.
    """
    with warnings.catch_warnings():  # of layers without weights, where images are too small: refused below
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        network = build(model, channels, size, classes)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"--model {model}: has no parameters to train")
    images = torch.zeros(batch, channels, size, size)
    try:
        with torch.no_grad():
            scores = network.train()(images)
            if not isinstance(scores, Tensor):
                raise TypeError(f"returns {type(scores).__name__}, not a tensor of scores")
            if scores.shape != (batch, classes):
                raise ValueError(f"returns scores of shape {tuple(scores.shape)}, not {(batch, classes)}")
    except Exception as error:
        what = f"batches of {batch} images of {channels}x{size}x{size}"
        raise _refusal(model, error, f"cannot be trained on {what}: ") from error
    return network


def _imported(model: str) -> Callable[..., Any]:
    """Return the callable of a name module:callable; modules of the working directory are found last."""
    name, _, attribute = model.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = attrgetter(attribute)(importlib.import_module(name))
    except (Exception, SystemExit) as error:
        raise _refusal(model, error) from error
    if not callable(found) or isinstance(found, nn.Module):
        raise InputError(f"--model {model}: {attribute} is not a function or class that returns a network")
    return found


def _called(call: Callable[..., Any], channels: int, size: int, classes: int) -> Any:
    signature = inspect.signature(call)
    ways: list[tuple[tuple[int, ...], dict[str, int]]]
    ways = [((), {"num_classes": classes}), ((channels, size, classes), {}), ((), {})]
    for positional, named in ways:
        try:
            signature.bind(*positional, **named)
        except TypeError:
            continue
        return call(*positional, **named)
    raise TypeError(f"takes {signature}, not num_classes, (channels, size, classes) or nothing")


def _refusal(model: str, error: BaseException, where: str = "") -> InputError:
    """Return the error as one line."""
    return InputError(f"--model {model}: {where}{type(error).__name__}: {' '.join(str(error).split())[:300]}")
