"""The built-in lines: the same for the same seed, and labelled by their direction."""

import numpy as np

from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.data.lines import CLASSES, draw_lines


def test_lines_are_what_they_are_called() -> None:
    images, labels = draw_lines(300, seed=0)
    assert images.shape == (300, 1, 8, 8)
    assert images.dtype == np.uint8
    brightest = np.stack([images.sum(axis=axis).max(axis=(1, 2)) for axis in (3, 2)])
    assert (
        brightest.argmax(axis=0) == labels
    ).mean() > 0.95  # a row of horizontal, a column of vertical ones
    assert CLASSES == ("horizontal", "vertical")
    assert 0.4 < labels.mean() < 0.6


def test_the_seed_decides_the_images() -> None:
    images, labels = draw_lines(50, seed=3)
    few, few_labels = draw_lines(20, seed=3)
    np.testing.assert_array_equal(few, images[:20])
    np.testing.assert_array_equal(few_labels, labels[:20])
    assert not np.array_equal(draw_lines(50, seed=4)[0], images)
    assert not np.array_equal(draw_lines(50, seed=3, test=True)[0], images)


def test_the_data_set_is_about_normalised() -> None:
    data = open_images("lines", None, 500, seed=0)
    assert data.train[0].shape == (500, 1, 8, 8)
    assert len(data.test[1]) == 1000
    scaled = (data.train[0] / 255 - data.mean[0]) / data.std[0]
    np.testing.assert_allclose((scaled.mean(), scaled.std()), (0, 1), atol=0.1)
