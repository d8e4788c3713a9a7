"""What a network is made of, and what it computes for one image."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MOST_STAGES = 16


@dataclass
class LayerRow:
    """A layer of the architecture table."""

    name: str
    kind: str
    parameters: int
    shape: str = ""  # of its last output for one image
    multiplications: int = 0  # of the forward pass of an image, by convolutions and dense layers


def architecture(network: nn.Module, image: Tensor) -> list[LayerRow]:
    """Return a row for each layer in the order of its first call, for an image (1, C, H, W)."""
    layers = {
        name: module
        for name, module in network.named_modules()
        if not [*module.children()] or [*module.parameters(recurse=False)]
    }
    rows: dict[str, LayerRow] = {}
    for name, output in calls(network, layers, image):
        layer = layers[name]
        count = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        row = rows.setdefault(name, LayerRow(name or "network", type(layer).__name__, count))
        row.shape = shape(output)
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            row.multiplications += output.numel() * layer.weight[0].numel()  # products a number
    return [*rows.values()]


def shape(output: Tensor) -> str:
    """Return the shape of one image's output."""
    return " × ".join(map(str, output.shape[1:]))  # noqa: RUF001  # the sign for a multiplication


def stages(network: nn.Module) -> list[str]:
    """Return the names of a network's parts, as deep inside as leaves no more than `MOST_STAGES` of them."""
    level = [""]
    while True:
        inside = []
        for name in level:
            children = [child for child, _ in network.get_submodule(name).named_children()]
            inside += [f"{name}.{child}".lstrip(".") for child in children] or [name]
        if inside == level or len(inside) > MOST_STAGES:
            return level
        level = inside


def calls(network: nn.Module, names: Iterable[str], image: Tensor) -> list[tuple[str, Tensor]]:
    """Return the names and outputs of parts of a network, call by call, where these are tensors."""
    found: list[tuple[str, Tensor]] = []

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            found.append((name, output.detach().clone()))  # a layer after it may work in place

    network.eval()
    with ExitStack() as hooks, torch.no_grad():
        for name in names:
            layer = network.get_submodule(name)
            handle = layer.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
            hooks.callback(handle.remove)
        network(image)
    return found
