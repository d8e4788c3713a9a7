"""The counting of what computes in a model, and the cases of the measurements of layers."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import scratch_conv as sc
from benchmarks.counting import ARITHMETIC_ALONE, OURS, TORCHS, counting
from benchmarks.layers import without_case


class Toy(nn.Module):
    """Convolution, a sum with a shortcut, a call and a layer that stay torch's, dropout, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.stays = nn.RReLU()
        self.nothing = nn.Identity()
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm(self.conv(self.nothing(x)))
        x = self.stays(F.relu_(x).contiguous(memory_format=torch.channels_last))
        return self.dropout(self.head(x.flatten(1))) @ x.new_ones(5, 1)


@pytest.mark.parametrize("fake", [True, False])
@pytest.mark.parametrize("way", ["torch", "swap", "override"])
def test_who_computes_what_is_counted_by_calls_layers_and_operations(way: str, fake: bool) -> None:
    model, x = Toy(), torch.ones(2, 4, 8, 8)
    if way == "swap":
        sc.swap(model)
    layers = {name: layer for name, layer in model.named_children() if name != "nothing"}
    with (
        sc.override() if way == "override" else nullcontext(),
        FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext(),
        counting(layers) as calls,
    ):
        model(x)
    conv, linear, numbers = 2 * 2 * 64 * 4 * 36, 2 * 2 * 5 * 256, 2 * 4 * 64
    layer = TORCHS if way == "torch" else OURS
    assert [(call.name, call.layer, call.kind, call.flops) for call in calls] == [
        ("conv2d", "conv", layer, conv),
        ("batch_norm", "norm", layer, numbers),
        ("add", "", ARITHMETIC_ALONE, numbers),
        ("relu", "", OURS if way == "override" else TORCHS, numbers),
        ("rrelu", "stays", TORCHS, numbers),
        ("linear", "head", layer, linear),
        ("dropout", "dropout", layer, 10),
        ("mm", "", TORCHS, 2 * 2 * 5),
    ]


def test_every_function_is_measured() -> None:
    assert without_case() == []
