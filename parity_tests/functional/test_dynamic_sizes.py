"""A compiler and an exporter keep the sizes of a batch and of its images open, as for torch's functions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import scratch_conv as sc

pytestmark = [pytest.mark.compiles, pytest.mark.filterwarnings("ignore")]


def with_sizes_of_tensors(f: Any, x: Tensor, y: Tensor) -> list[Tensor]:
    return [
        f.interpolate(x, size=y.shape[2:], mode="bilinear"),
        f.interpolate(x, size=(y.shape[2], y.shape[3])),
        f.interpolate(x, scale_factor=1.5, recompute_scale_factor=True),
        f.interpolate(x, scale_factor=0.5, mode="area"),
        f.pad(x, (x.shape[3] - 2, 1, 1, 1), "reflect"),
        f.adaptive_avg_pool2d(x, (y.shape[2], 2)),
        f.adaptive_max_pool2d(x, (y.shape[2] // 2, 2)),
        f.avg_pool2d(x, x.shape[2:]),
        f.fold(f.unfold(x, 2), x.shape[2:], 2),
        f.layer_norm(x, x.shape[2:]),
    ]


def with_means(f: Any, x: Tensor, y: Tensor) -> list[Tensor]:
    target = torch.full_like(x, 0.25)
    losses = [f.mse_loss, f.l1_loss, f.binary_cross_entropy_with_logits]
    return [
        *(loss(x, target) for loss in losses),
        f.mse_loss(x, target, weight=target),
        f.huber_loss(x, target, weight=target),
        f.binary_cross_entropy(torch.sigmoid(x), target),
        f.cross_entropy(x, target),
        f.cross_entropy(x, target[:, 0].long()),
    ]


def with_statistics(f: Any, x: Tensor, y: Tensor) -> list[Tensor]:
    statistics = x.new_zeros(4), x.new_ones(4)
    return [f.instance_norm(x, *statistics), f.batch_norm(x, *statistics, training=True), *statistics]


def with_remainders(f: Any, x: Tensor, y: Tensor) -> list[Tensor]:
    return [f.max_pool2d(x, 2, ceil_mode=True), f.adaptive_max_pool3d(x[:, :, None], (1, 2, 2))]


def images(more: int) -> tuple[Tensor, Tensor]:
    sizes = (2 + more, 4, 6 + more, 8 + more), (2 + more, 4, 8 + more, 7 + more)
    x, y = (torch.randn(size, dtype=torch.float64) for size in sizes)
    return x.requires_grad_(), y


def with_gradient(outputs: list[Tensor], x: Tensor) -> list[Tensor]:
    total = torch.stack([output.square().sum() for output in outputs]).sum()
    return [*outputs, *torch.autograd.grad(total, x)]


@pytest.mark.parametrize("calls", [with_sizes_of_tensors, with_means, with_statistics, with_remainders])
def test_other_sizes_are_not_compiled_again(calls: Any) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda *tensors: calls(sc.functional, *tensors), fullgraph=True, backend="aot_eager", dynamic=True
    )
    with torch._dynamo.config.patch(error_on_recompile=True):
        for more in (0, 3):
            x, y = images(more)
            torch.testing.assert_close(
                with_gradient(compiled(x, y), x), with_gradient(calls(F, x, y), x), rtol=1e-10, atol=1e-10
            )


@pytest.mark.parametrize("calls", [with_sizes_of_tensors, with_means])
def test_exported_programs_take_other_sizes(calls: Any) -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
            outputs: list[Tensor] = calls(sc.functional, x, y)
            return outputs

    x, y = images(3)
    batch, *sizes = (torch.export.Dim(name, min=4) for name in ("batch", "h", "w", "high", "wide"))
    shapes = {0: batch, 2: sizes[0], 3: sizes[1]}, {0: batch, 2: sizes[2], 3: sizes[3]}
    program = torch.export.export(Model(), (x.detach(), y), dynamic_shapes=shapes)
    x, y = images(5)
    torch.testing.assert_close(program.module()(x.detach(), y), calls(F, x.detach(), y))
