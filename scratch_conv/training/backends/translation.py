"""Translate a network between torch's layers and NumPy's, and copy weights from one to the other.

The layers of both have the same constructor arguments and parameter names, so no table of names is needed.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from scratch_conv.kernels.windows import Array
from scratch_conv.layers import (
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    ResidualBlock,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)


class _TorchsMasks(Dropout):
    """Dropout with masks from torch's generator."""

    def draw_mask(self, x: Array) -> Array:
        """Draw as torch does."""
        drawn: Array = torch.empty_like(torch.from_numpy(x)).bernoulli_(1 - self.p).numpy()
        return drawn


_PAIRS: dict[type[nn.Module], type[Layer]] = {
    nn.AdaptiveAvgPool2d: GlobalAvgPool2D,
    nn.AvgPool2d: AvgPool2D,
    nn.BatchNorm2d: BatchNorm2D,
    nn.Conv2d: Conv2D,
    nn.Dropout: Dropout,
    nn.Flatten: Flatten,
    nn.LayerNorm: LayerNorm,
    nn.LeakyReLU: LeakyReLU,
    nn.Linear: Dense,
    nn.MaxPool2d: MaxPool2D,
    nn.ReLU: ReLU,
    nn.Sigmoid: Sigmoid,
    nn.Softmax: Softmax,
    nn.Tanh: Tanh,
}

# The layers of a residual block, which both name alike; the ReLUs come on top.
_BLOCK_LAYERS = ("conv1", "bn1", "conv2", "bn2", "downsample")

# What only torch's layers can do: the attribute that turns it on, and its value where it is off.
_UNSUPPORTED = {
    "affine": True,
    "divisor_override": None,
    "elementwise_affine": True,
    "output_size": 1,
    "padding_mode": "zeros",
    "return_indices": False,
    "track_running_stats": True,
}


def from_torch(module: nn.Module) -> Layer:
    """Return the NumPy network that computes what a module does, with copies of its weights.

    Args:
        module: one of torch's layers, or ours, with a counterpart in `scratch_conv.layers`; a BasicBlock of
            torchvision's ResNets; or an nn.Sequential of these.

    Returns:
        A Sequential for an nn.Sequential, with indices for its layers' names, otherwise a layer. Weights in
        bfloat16, which NumPy lacks, are in float32.

    Raises:
        ValueError: a layer has no counterpart, or does more than it; or two layers share a weight.
    """
    if len([*module.named_parameters(remove_duplicate=False)]) > len([*module.parameters()]):
        raise ValueError(f"layers in NumPy cannot share a weight, as two do in this {type(module).__name__}")
    layer = _from_torch(module)
    first = next(module.parameters(), None)
    if first is not None:
        layer.astype(_array(first.detach()).dtype)
    copy_from_torch(layer, module)
    return layer


def to_torch(layer: Layer) -> nn.Module:
    """Return the module of torch's own layers that computes what a NumPy network does, with its weights."""
    module = _to_torch(layer)
    first = next(iter(layer.parameters.values()), None)
    if first is not None:
        module.to(torch.from_numpy(first).dtype)
    copy_to_torch(layer, module)
    return module


def with_torchs_masks(layer: Layer) -> Layer:
    """Let a network's dropout draw from torch's generator; return the network.

    The masks are those of torch's own layers if the generator is in the same state. NumPy's generators, one
    to each layer, would neither draw these nor be part of a checkpoint.
    """
    if isinstance(layer, Dropout):
        layer.__class__ = _TorchsMasks
    for child in layer.children.values():
        with_torchs_masks(child)
    return layer


def copy_from_torch(layer: Layer, module: nn.Module) -> None:
    """Copy the weights and statistics of a module into the corresponding NumPy network.

    Raises:
        ValueError: they do not have the same names and shapes.
    """
    ours, theirs = layer.state, _state(module)
    _expect_equal(ours, theirs)
    for name, tensor in theirs.items():
        ours[name][...] = _array(tensor)


def copy_to_torch(layer: Layer, module: nn.Module) -> None:
    """Copy the weights and statistics of a NumPy network into the corresponding module.

    Raises:
        ValueError: they do not have the same names and shapes.
    """
    ours, theirs = layer.state, _state(module)
    _expect_equal(ours, theirs)
    for name, array in ours.items():
        theirs[name].copy_(torch.from_numpy(array))


def _from_torch(module: nn.Module) -> Layer:
    """Build the NumPy network with weights of its own, each layer in its counterpart's mode."""
    layer = _residual_block(module) if isinstance(module, BasicBlock) else _numpy_layer(module)
    layer.training = module.training
    return layer


def _residual_block(module: BasicBlock) -> ResidualBlock:
    if not isinstance(module.relu, nn.ReLU):
        raise ValueError(f"ResidualBlock cannot do {module.relu!r}, as in {module!r}")
    block = ResidualBlock(module.conv1.in_channels, module.conv1.out_channels, module.stride)
    for name in _BLOCK_LAYERS:
        inner = getattr(module, name)
        setattr(block, name, None if inner is None else _from_torch(inner))
    return block


def _numpy_layer(module: nn.Module) -> Layer:
    if isinstance(module, nn.Sequential):
        return Sequential(*map(_from_torch, module))
    for theirs, ours in _PAIRS.items():
        if isinstance(module, theirs):
            return ours(**_arguments(ours, module))
    if [*module.children()]:  # not by its repr, which may be pages long
        name, known = type(module).__name__, "nn.Sequential and torchvision's BasicBlock"
        raise ValueError(f"there is no layer in NumPy for {name}: of what holds layers, only for {known}")
    raise ValueError(f"there is no layer in NumPy for {module!r}")


def _to_torch(layer: Layer) -> nn.Module:
    """Build the module with weights of its own, each layer in its counterpart's mode."""
    module = _basic_block(layer) if isinstance(layer, ResidualBlock) else _torch_layer(layer)
    module.training = layer.training
    return module


def _basic_block(layer: ResidualBlock) -> BasicBlock:
    block = BasicBlock(layer.in_channels, layer.out_channels, layer.stride)
    for name in _BLOCK_LAYERS:
        inner = getattr(layer, name)
        setattr(block, name, None if inner is None else _to_torch(inner))
    return block


def _torch_layer(layer: Layer) -> nn.Module:
    if isinstance(layer, Sequential):
        return nn.Sequential(*map(_to_torch, layer))
    for theirs, ours in _PAIRS.items():
        if isinstance(layer, ours):
            return theirs(**({"output_size": 1} if ours is GlobalAvgPool2D else layer.arguments()))
    raise ValueError(f"there is no layer in torch for {layer!r}")


def _arguments(ours: type[Layer], module: nn.Module) -> dict[str, Any]:
    """Return the constructor arguments of a module's counterpart."""
    for name, value in _UNSUPPORTED.items():
        if getattr(module, name, value) not in (value, (value, value)):
            raise ValueError(f"{ours.__name__} cannot do {name}={getattr(module, name)!r}, as in {module!r}")
    return ours.arguments_of(module)


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights and statistics of a module, as those of a network whose sequences name no layers."""
    children = enumerate(module) if isinstance(module, nn.Sequential) else module.named_children()
    own = {name: tensor.detach() for name, tensor in module.state_dict().items() if "." not in name}
    return own | {
        f"{name}.{key}": tensor for name, child in children for key, tensor in _state(child).items()
    }


def _array(tensor: torch.Tensor) -> Array:
    """Return a tensor's numbers, those of bfloat16 in float32."""
    array: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _expect_equal(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    for name in {**ours, **theirs}:
        shapes = [tuple(each[name].shape) if name in each else "none" for each in (ours, theirs)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"not equal networks: {name} has shape {shapes[0]} in NumPy, {shapes[1]} in torch"
            )
