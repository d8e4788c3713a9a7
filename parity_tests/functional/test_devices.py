"""Tensors on the CPU and on meta are never mixed; all on meta, shapes and dtypes are computed."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scratch_conv as sc

CALLS: dict[str, tuple[Callable[..., Any], dict[str, Tensor]]] = {
    "conv1d": (
        sc.functional.conv1d,
        {"input": torch.ones(1, 3, 4), "weight": torch.ones(2, 3, 1), "bias": torch.ones(2)},
    ),
    "conv2d": (
        sc.functional.conv2d,
        {"input": torch.ones(1, 3, 2, 2), "weight": torch.ones(2, 3, 1, 1), "bias": torch.ones(2)},
    ),
    "conv3d": (
        sc.functional.conv3d,
        {"input": torch.ones(1, 3, 2, 2, 2), "weight": torch.ones(2, 3, 1, 2, 1), "bias": torch.ones(2)},
    ),
    "conv_transpose3d": (
        sc.functional.conv_transpose3d,
        {"input": torch.ones(1, 3, 2, 2, 2), "weight": torch.ones(3, 2, 1, 2, 1), "bias": torch.ones(2)},
    ),
    "conv_transpose1d": (
        sc.functional.conv_transpose1d,
        {"input": torch.ones(1, 3, 4), "weight": torch.ones(3, 2, 1), "bias": torch.ones(2)},
    ),
    "conv_transpose2d": (
        sc.functional.conv_transpose2d,
        {"input": torch.ones(1, 3, 2, 2), "weight": torch.ones(3, 2, 1, 1), "bias": torch.ones(2)},
    ),
    "linear": (
        sc.functional.linear,
        {"input": torch.ones(2, 3), "weight": torch.ones(4, 3), "bias": torch.ones(4)},
    ),
    "batch_norm": (
        sc.functional.batch_norm,
        {
            "input": torch.ones(2, 3),
            **{name: torch.ones(3) for name in ("running_mean", "running_var", "weight", "bias")},
        },
    ),
    "batch_norm in training": (
        lambda **tensors: sc.functional.batch_norm(**tensors, training=True),
        {
            "input": torch.ones(2, 3),
            **{name: torch.ones(3) for name in ("running_mean", "running_var", "weight", "bias")},
        },
    ),
    "layer_norm": (
        lambda **tensors: sc.functional.layer_norm(normalized_shape=[3], **tensors),
        {"input": torch.ones(2, 3), "weight": torch.ones(3), "bias": torch.ones(3)},
    ),
    "group_norm": (
        lambda **tensors: sc.functional.group_norm(num_groups=1, **tensors),
        {"input": torch.ones(2, 3), "weight": torch.ones(3), "bias": torch.ones(3)},
    ),
    "instance_norm": (
        sc.functional.instance_norm,
        {
            "input": torch.ones(2, 3, 4),
            **{name: torch.ones(3) for name in ("running_mean", "running_var", "weight", "bias")},
        },
    ),
    "cross_entropy": (
        sc.functional.cross_entropy,
        {"input": torch.ones(2, 3), "target": torch.tensor([0, 1]), "weight": torch.ones(3)},
    ),
    "nll_loss": (
        sc.functional.nll_loss,
        {"input": torch.ones(2, 3), "target": torch.tensor([0, 1]), "weight": torch.ones(3)},
    ),
    "mse_loss": (
        sc.functional.mse_loss,
        {name: torch.ones(2, 3) for name in ("input", "target", "weight")},
    ),
    "binary_cross_entropy_with_logits": (
        sc.functional.binary_cross_entropy_with_logits,
        {name: torch.ones(2, 3) for name in ("input", "target", "weight", "pos_weight")},
    ),
    "cross_entropy of probabilities": (
        sc.functional.cross_entropy,
        {"input": torch.ones(2, 3), "target": torch.ones(2, 3), "weight": torch.ones(3)},
    ),
    "max_unpool2d": (
        lambda **tensors: sc.functional.max_unpool2d(kernel_size=2, **tensors),
        {"input": torch.ones(1, 1, 2, 2), "indices": torch.tensor([[[[0, 3], [8, 15]]]])},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_mixed_devices_are_refused_and_named(name: str) -> None:
    call, tensors = CALLS[name]
    for places in product(("cpu", "meta"), repeat=len(tensors)):
        placed = {
            argument: tensor.to(place)
            for (argument, tensor), place in zip(tensors.items(), places, strict=True)
        }
        if len(set(places)) == 1:
            assert call(**placed).device.type == places[0]
            continue
        with pytest.raises(RuntimeError, match="same device") as refusal:
            call(**placed)
        assert "is on cpu" in str(refusal.value)
        assert "is on meta" in str(refusal.value)


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv2d": (lambda: nn.Conv2d(3, 2, 1), (1, 3, 2, 2)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(3, 2, 1), (1, 3, 2, 2)),
    "Linear": (lambda: nn.Linear(3, 2), (2, 3)),
    "Linear without a bias": (lambda: nn.Linear(3, 2, bias=False), (2, 3)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3), (2, 3, 2, 2)),
    "LayerNorm": (lambda: nn.LayerNorm((2, 2)), (2, 3, 2, 2)),
    "GroupNorm": (lambda: nn.GroupNorm(3, 3), (2, 3, 2, 2)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(3, 0.1, 0.1, True, True), (2, 3, 2, 2)),
    "CrossEntropyLoss": (lambda: nn.CrossEntropyLoss(torch.ones(3)), (2, 3)),
}


@pytest.mark.parametrize("swapped", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_something_left_on_meta_refuse_inputs_on_the_cpu(name: str, swapped: bool) -> None:
    build, shape = LAYERS[name]
    targets = (torch.tensor([0, 1]),) if name == "CrossEntropyLoss" else ()
    for left in [key for key, value in build().state_dict().items() if value.dim()]:
        layer = build()
        given = {key: value for key, value in layer.state_dict().items() if key != left}
        layer.to("meta").load_state_dict(given, strict=False, assign=True)
        if swapped:
            sc.swap(layer)
        with pytest.raises(RuntimeError, match="same device"), sc.override():
            layer(torch.ones(shape), *targets)
