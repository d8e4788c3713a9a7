"""The built-in data set: the same for the same seed, too hard for a linear classifier, not for a CNN."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scratch_conv.training.backends.models import MODELS
from scratch_conv.training.data.shapes import SHAPES, draw_shapes


def test_the_same_seed_draws_the_same_images() -> None:
    images, labels = draw_shapes(700, seed=3)
    again, labels_again = draw_shapes(700, seed=3)
    assert images.shape == (700, 3, 32, 32)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, labels_again)


def test_a_smaller_set_is_the_beginning_of_a_larger_one() -> None:
    images, labels = draw_shapes(700, seed=3)
    few, few_labels = draw_shapes(40, seed=3)
    np.testing.assert_array_equal(few, images[:40])
    np.testing.assert_array_equal(few_labels, labels[:40])


def test_other_seeds_and_the_test_set_are_other_images() -> None:
    images, _ = draw_shapes(50, seed=3)
    assert not np.array_equal(images, draw_shapes(50, seed=4)[0])
    assert not np.array_equal(images, draw_shapes(50, seed=3, test=True)[0])


def test_classes_are_balanced() -> None:
    _, labels = draw_shapes(1000, seed=0)
    np.testing.assert_array_equal(np.bincount(labels), np.full(len(SHAPES), 100))


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_keeps_inside_its_radius_and_has_an_inside(name: str) -> None:
    y, x = np.meshgrid(np.linspace(-2, 2, 81), np.linspace(-2, 2, 81), indexing="ij")
    inside = SHAPES[name](x, y) < 0
    assert 0.1 < inside.mean() * 16 / np.pi < 1  # as a part of the disc around it
    assert np.hypot(x, y)[inside].max() < 1.45  # the corner of a square


def _accuracy(network: nn.Module, epochs: int) -> float:
    """Train a network on 3,000 images and test it on 1,000."""
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(array) for array in draw_shapes(3000, seed=0))
    tests, test_labels = (torch.from_numpy(array) for array in draw_shapes(1000, seed=0, test=True))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(images)), 64):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images[batch] / 128 - 1), labels[batch])
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.no_grad():
        return (network(tests / 128 - 1).argmax(1) == test_labels).double().mean().item()


def test_a_linear_classifier_stays_below_half() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    assert _accuracy(network, epochs=8) < 0.5


def test_simple_cnn_passes_nine_tenths() -> None:
    torch.manual_seed(0)
    assert _accuracy(MODELS["simple-cnn"](3, 32, 10), epochs=2) > 0.9
