"""The strides of results are torch's, with data and without, of axes of one too."""

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import scratch_conv as sc


def strides(name: str, input: Tensor, weight: Tensor, **arguments: Any) -> list[tuple[int, ...]]:
    """Return the strides of torch's result, of ours, and of ours without data."""
    with FakeTensorMode() as mode:
        fakes = mode.from_tensor(input), mode.from_tensor(weight)
        fake = getattr(sc.functional, name)(*fakes, **arguments)
    results = [getattr(library, name)(input, weight, **arguments) for library in (F, sc.functional)]
    return [result.stride() for result in (*results, fake)]


@pytest.mark.parametrize("name", ["conv1d", "conv_transpose1d"])
def test_signals_keep_the_strides_of_axes_of_one(name: str) -> None:
    for batch, outs, length in product((1, 2), (1, 3), (2, 4)):
        shape = (outs, 3, 2) if name == "conv1d" else (3, outs, 2)
        weight = torch.ones(shape).mT.contiguous().mT
        torchs, ours, fake = strides(name, torch.ones(batch, 3, length), weight)
        assert ours == fake == torchs


@pytest.mark.parametrize("name", ["conv3d", "conv_transpose3d"])
def test_volumes_are_channels_last_where_torchs_are(name: str) -> None:
    """Torch's are where oneDNN computes them: in float32, of several volumes or with a large kernel."""
    for dtype, batch, size, stride in product((torch.float32, torch.float64), (1, 2), (1, 2, 4), (1, 2)):
        volumes = torch.ones(batch, 2, 4, 5, 6, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
        weight = torch.ones(2, 2, size, size, size, dtype=dtype)
        torchs, ours, fake = strides(name, volumes, weight, stride=stride)
        assert ours == fake == torchs


@pytest.mark.parametrize("padding", [(0, 0, -1, 0), (0, -1, 0, 0, -1, 0), (0, 0), (1, 0)])
@pytest.mark.parametrize("shape", [(4, 3, 2, 4), (4, 1, 1, 2), (4, 3, 1, 1)])
def test_crops_and_their_gradients_keep_the_strides_of_axes_of_one(
    shape: tuple[int, ...], padding: tuple[int, ...]
) -> None:
    whole = torch.ones(shape)
    for input in (
        whole[:1],
        whole[::4],
        whole.mT[:1],
        whole[:, :1],
        whole[:1].to(memory_format=torch.channels_last),
    ):
        found = []
        for pad in (F.pad, sc.functional.pad):
            x = input.detach().requires_grad_()
            y = pad(x, padding)
            (grad,) = torch.autograd.grad(y, x, torch.ones(y.shape))
            found.append((y.stride(), grad.stride()))
        assert found[0] == found[1]


@pytest.mark.parametrize("name", ["relu6", "hardtanh"])
def test_clipped_images_keep_the_strides_of_axes_of_one(name: str) -> None:
    for input in (torch.ones(4, 3, 2, 2)[::4], torch.ones(2, 4, 3, 3)[:, ::4], torch.ones(3, 1, 1, 4).mT):
        torchs, ours = (getattr(library, name)(input).stride() for library in (F, sc.functional))
        assert ours == torchs
