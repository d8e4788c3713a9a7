"""What parity does not draw of interpolate: strides of gradients, what stays torch's, torch's faults."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import scratch_conv as sc

CALLS: dict[str, tuple[int, dict[str, Any]]] = {
    "nearest of one axis": (1, {}),
    "nearest": (2, {"mode": "nearest"}),
    "nearest of three axes": (3, {"mode": "nearest-exact"}),
    "bilinear": (2, {"mode": "bilinear"}),
    "bicubic": (2, {"mode": "bicubic"}),
    "bilinear, antialias": (2, {"mode": "bilinear", "antialias": True}),
    "trilinear": (3, {"mode": "trilinear"}),
    "area of one axis": (1, {"mode": "area"}),
    "area": (2, {"mode": "area"}),
    "area of three axes": (3, {"mode": "area"}),
}
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@pytest.mark.parametrize("name", CALLS)
def test_gradients_have_the_strides_of_torchs(name: str) -> None:
    axes, arguments = CALLS[name]
    image = torch.randn(2, 3, *[4] * axes)
    formats = [torch.contiguous_format, FORMATS.get(image.dim(), torch.contiguous_format)]
    for of_input in formats:
        for of_gradient in formats:
            for samples in (2, 0):
                x = image[:samples].contiguous(memory_format=of_input).requires_grad_()
                grads = []
                for lib in (F, sc.functional):
                    y = lib.interpolate(x, scale_factor=2, **arguments)
                    incoming = torch.ones(y.shape).contiguous(memory_format=of_gradient)
                    grads.append(torch.autograd.grad(y, x, incoming)[0])
                assert grads[0].stride() == grads[1].stride()
                torch.testing.assert_close(grads[1], grads[0])


LEFT: dict[str, tuple[Tensor, dict[str, Any]]] = {
    "bytes": (torch.arange(32).reshape(1, 2, 4, 4).byte(), {"mode": "bilinear"}),
    "lanczos": (torch.randn(1, 2, 4, 4), {"mode": "lanczos", "antialias": True}),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_there_is_no_kernel_for_stays_torchs(name: str) -> None:
    image, arguments = LEFT[name]
    with pytest.raises(NotImplementedError):
        sc.functional.interpolate(image, size=3, **arguments)
    expected = F.interpolate(image, size=3, **arguments)
    with sc.override():
        assert torch.equal(F.interpolate(image, size=3, **arguments), expected)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialias_leaves_an_axis_that_keeps_its_size_as_it_is_whatever_the_factor(mode: str) -> None:
    image = torch.randn(1, 2, 3, 5)
    image[0, 0, 1, 1] = torch.inf
    for arguments in ({"scale_factor": (1.2, 1.1)}, {"scale_factor": (1.2, 2.0)}, {"size": (3, 2)}):
        got, want = (
            lib.interpolate(image, mode=mode, antialias=True, **arguments) for lib in (sc.functional, F)
        )
        torch.testing.assert_close(got, want, equal_nan=True)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialias_of_a_column_is_that_of_the_row(mode: str) -> None:
    """Torch 2.14 returns the first row of the output in all its rows, where they are one pixel wide."""
    image = torch.randn(1, 2, 6, 3, dtype=torch.float64)
    column = sc.functional.interpolate(image, size=(4, 1), mode=mode, antialias=True)
    row = F.interpolate(image.mT, size=(1, 4), mode=mode, antialias=True)
    torch.testing.assert_close(column, row.mT)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradients_of_the_nearest_pixels_are_the_transpose_of_the_values(axes: int) -> None:
    """Torch 2.14 takes a factor near 2 for 2 in its gradients always, in its values not always."""
    x = torch.randn(1, 1, *[90] * axes if axes < 3 else [6, 6, 6], dtype=torch.float64, requires_grad=True)
    y = sc.functional.interpolate(x, scale_factor=2.004)
    incoming = torch.randn(y.shape, dtype=torch.float64)
    (grad,) = torch.autograd.grad(y, x, incoming)
    torch.testing.assert_close(y, F.interpolate(x, scale_factor=2.004), rtol=0, atol=0)
    torch.testing.assert_close((grad * x).sum(), (incoming * y).sum())


def test_deprecated_names_of_it_are_overridden_too() -> None:
    image = torch.randn(1, 2, 4, 4)
    for call in (F.upsample, F.upsample_nearest, F.upsample_bilinear):
        with pytest.warns(UserWarning, match="deprecated"):
            expected = call(image, 7)
        with (
            sc.override(),
            torch.profiler.profile() as profile,
            pytest.warns(UserWarning, match="deprecated"),
        ):
            torch.testing.assert_close(call(image, 7), expected)
        assert not [event.key for event in profile.key_averages() if "aten::upsample" in event.key]
