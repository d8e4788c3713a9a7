"""The other implementations that ours is measured against compute the same results."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1]))  # the benchmarks are not part of the package

from benchmarks.other_ways import Im2col, Jax, Loops, Slide, Windows


@st.composite
def slides(draw: st.DrawFn) -> Slide:
    kernel_size = draw(st.integers(1, 3))
    padding = draw(st.integers(0, kernel_size // 2))
    return Slide(kernel_size, draw(st.integers(1, 2)), padding, draw(st.integers(1, 2)))


def integers(seed: int, *shape: int) -> Any:
    """Draw integers, whose sums are exact in float32."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@given(slides(), st.integers(5, 7), st.integers(0, 99))
def test_convolutions_are_torchs(slide: Slide, size: int, seed: int) -> None:
    x, w = integers(seed, 2, 3, size, 6), integers(seed + 1, 4, 3, *[slide.kernel_size] * 2)
    operands = [torch.from_numpy(array).requires_grad_() for array in (x, w)]
    _, *arguments = slide
    expected = F.conv2d(operands[0], operands[1], None, *arguments)
    dy = integers(seed + 2, *expected.shape)
    gradients = torch.autograd.grad(expected, operands, torch.from_numpy(dy))
    for way in (Im2col, Windows, Loops):
        np.testing.assert_array_equal(way.convolve(x, w, slide), expected.detach().numpy())
        for got, want in zip(way.convolve_backward(dy, x, w, slide), gradients, strict=True):
            np.testing.assert_array_equal(got, want.numpy())


@given(slides(), st.integers(5, 7), st.integers(0, 99))
def test_max_poolings_are_torchs(slide: Slide, size: int, seed: int) -> None:
    slide = slide._replace(dilation=1)
    x = integers(seed, 2, 3, size, 6)
    operand = torch.from_numpy(x).requires_grad_()
    expected = F.max_pool2d(operand, slide.kernel_size, slide.stride, slide.padding)
    dy = integers(seed + 1, *expected.shape)
    (gradient,) = torch.autograd.grad(expected, operand, torch.from_numpy(dy))
    for way in (Im2col, Windows):
        np.testing.assert_array_equal(way.max_pool(x, slide), expected.detach().numpy())
        np.testing.assert_array_equal(way.max_pool_backward(dy, x, slide), gradient.numpy())


@pytest.mark.skipif(not Jax.installed, reason="JAX is not installed")
@pytest.mark.parametrize("groups", [1, 2])
def test_jax_convolves_and_pools_as_torch_does(groups: int) -> None:
    slide = Slide(3, 2, 1)
    x, w = integers(0, 2, 4, 7, 6), integers(1, 4, 4 // groups, 3, 3)
    operands = [torch.from_numpy(array).requires_grad_() for array in (x, w)]
    convolved = F.conv2d(operands[0], operands[1], None, 2, 1, 1, groups)
    pooled = F.max_pool2d(operands[0], 3, 2, 1)
    for layer, expected, used in (
        (Jax.convolution(slide, groups), convolved, operands),
        (Jax.max_pooling(slide), pooled, operands[:1]),
    ):
        dy = integers(2, *expected.shape)
        passes: Any = Jax.passes(layer, dy, *(x, w)[: len(used)])
        np.testing.assert_array_equal(passes["forward"](), expected.detach().numpy())
        gradients = torch.autograd.grad(expected, used, torch.from_numpy(dy))
        for got, want in zip(passes["backward"](), gradients, strict=True):
            np.testing.assert_array_equal(got, want.numpy())
