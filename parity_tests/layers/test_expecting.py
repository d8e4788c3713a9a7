"""What layers refuse, and in which words."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from scratch_conv.layers import (
    MSE,
    SGD,
    Adam,
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
    SoftmaxCrossEntropy,
    Tanh,
)

EVERY_LAYER = [
    AvgPool2D(2),
    BatchNorm2D(2),
    Conv2D(2, 3, 3),
    Dense(6, 4),
    Dropout(0.5),
    Flatten(),
    GlobalAvgPool2D(),
    LeakyReLU(),
    LayerNorm((4, 4)),
    MaxPool2D(2),
    ReLU(),
    ResidualBlock(2, 3),
    Sequential(Conv2D(2, 3, 3), ReLU()),
    Sigmoid(),
    Softmax(),
    Tanh(),
]


def x_for(layer: Layer) -> Any:
    """Return an input for one of these layers."""
    return np.ones((2, 6) if isinstance(layer, Dense) else (2, 2, 4, 4), np.float32)


@pytest.mark.parametrize("layer", EVERY_LAYER, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_a_layer_takes_floats_of_any_precision(layer: Layer, dtype: type) -> None:
    layer, x = deepcopy(layer), x_for(layer).astype(dtype)
    y = layer.forward(x)
    dx = layer.backward(np.ones_like(y))
    assert dx.shape == x.shape
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("channels", [(0, 0), (0, 2), (2, 0)])
def test_a_convolution_may_have_no_channels(channels: tuple[int, int]) -> None:
    layer, x = Conv2D(*channels, 3, padding=1), np.ones((1, channels[0], 4, 4), np.float32)
    y = layer.forward(x)
    assert y.shape == (1, channels[1], 4, 4)
    assert layer.backward(np.ones_like(y)).shape == x.shape


@pytest.mark.parametrize("layer", EVERY_LAYER, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("given", [np.uint8, np.int64, bool, object, str, list, torch.Tensor, np.ma.array])
def test_a_layer_takes_arrays_of_floats_only(layer: Layer, given: Any) -> None:
    layer, x = deepcopy(layer), x_for(layer)
    if given is torch.Tensor:
        wrong: Any = torch.from_numpy(x)
    elif given in (list, np.ma.array):
        wrong = x.tolist() if given is list else np.ma.array(x)
    else:
        wrong = x.astype(given)
    with pytest.raises(TypeError, match="expected x to be a NumPy array of floats, got") as of_x:
        layer.forward(wrong)
    layer.forward(x)
    with pytest.raises(TypeError, match="expected dy to be a NumPy array of floats, got") as of_dy:
        layer.backward(wrong)
    assert max(len(str(caught.value)) for caught in (of_x, of_dy)) < 160  # it doesn't quote the data
    assert ("uint8; x.astype(np.float32) / 255" in str(of_x.value)) == (given is np.uint8)


@pytest.mark.parametrize("layer", EVERY_LAYER, ids=lambda layer: type(layer).__name__)
def test_a_gradient_of_another_shape_than_the_output_is_refused(layer: Layer) -> None:
    layer = deepcopy(layer)
    dy = np.ones_like(layer.forward(x_for(layer)))
    for wrong in (dy[:1], dy[..., :1], dy[..., None], np.concatenate([dy, dy]), dy.sum()[None]):
        if wrong.shape == dy.shape:  # of a single pixel
            continue
        with pytest.raises(ValueError, match="expected dy of y's shape"):
            layer.backward(wrong)


@pytest.mark.parametrize("layer", [Conv2D(3, 3, 2, stride=2), MaxPool2D(2), AvgPool2D(2)])
@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (2, 3, 2, 2), (2, 1, 3, 3), (1, 3, 3, 3), (3, 3)])
def test_a_gradient_that_a_kernel_would_take_is_refused(layer: Any, shape: tuple[int, ...]) -> None:
    layer.forward(np.ones((2, 3, 6, 6)))
    with pytest.raises(ValueError, match=r"expected dy of y's shape \(2, 3, 3, 3\), got"):
        layer.backward(np.ones(shape))


@pytest.mark.parametrize("layer", EVERY_LAYER, ids=lambda layer: type(layer).__name__)
def test_backward_before_forward_is_refused(layer: Layer) -> None:
    with pytest.raises(RuntimeError, match="backward before forward"):
        deepcopy(layer).backward(x_for(layer))


def test_the_same_layer_twice_is_refused() -> None:
    relu = ReLU()
    with pytest.raises(ValueError, match=r"ReLU\(\) occurs twice"):
        Sequential(Dense(3, 3), relu, Dense(3, 3), relu)
    with pytest.raises(ValueError, match=r"ReLU\(\) occurs twice"):
        Sequential(relu, Sequential(relu))


def test_sizes_may_be_integers_of_numpys_and_lists() -> None:
    x = np.ones((1, 1, 7, 7))
    assert Conv2D(1, 2, np.int64(3), stride=np.int32(2)).forward(x).shape == (1, 2, 3, 3)
    assert repr(Dense(np.int64(3), 4)) == "Dense(in_features=3, out_features=4)"
    listed: Any = [3, 1]
    assert Conv2D(1, 2, listed).forward(x).shape == (1, 2, 5, 7)


def with_parameters(layer: Any, **arrays: Any) -> Any:
    """Return a layer whose parameters were replaced."""
    vars(layer).update(arrays)
    return layer


LISTED: Any = [ReLU()]
SHARED = ReLU()
SCORES: Any = np.ones((2, 3), np.float32)
LABELS: Any = np.array([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Conv2D(3, 4, 3).forward(np.ones((2, 1, 5, 5))),
            ValueError,
            r"expected x of shape \(N, 3, H, W\)",
        ),
        (lambda: Conv2D(3, 4, 3).forward(np.ones((3, 5, 5))), ValueError, r"got \(3, 5, 5\)"),
        (
            lambda: Conv2D(1, 4, 5).forward(np.ones((1, 1, 4, 9))),
            ValueError,
            "does not fit into an image of 4x9",
        ),
        (
            lambda: with_parameters(Conv2D(1, 4, 3), weight=np.ones((4, 3, 3))).forward(
                np.ones((1, 1, 5, 5))
            ),
            ValueError,
            r"expected weight of shape \(4, 1, 3, 3\), got \(4, 3, 3\)",
        ),
        (
            lambda: with_parameters(Dense(3, 4), bias=np.ones(1)).forward(np.ones((2, 3))),
            ValueError,
            r"expected bias of shape \(4,\), got \(1,\)",
        ),
        (lambda: Conv2D(3, 4, 3, groups=2), ValueError, "groups=2 must divide in_channels=3"),
        (lambda: Conv2D(3, 4, 0), ValueError, "kernel_size must be an integer of at least 1"),
        (lambda: Conv2D(3, 4, 3, padding="some"), ValueError, "padding must be"),
        (lambda: Conv2D(3, 4, 3, stride=2, padding="same"), ValueError, "keeps the size"),
        (lambda: MaxPool2D(2, stride=0), ValueError, "stride must be"),
        (lambda: MaxPool2D((4, 3), padding=2), ValueError, r"at most half of kernel_size=\(4, 3\); got 2"),
        (lambda: AvgPool2D(3, padding=(0, 2)), ValueError, "at most half of kernel_size=3"),
        (lambda: MaxPool2D(3).forward(np.ones((1, 1, 2, 2))), ValueError, "does not fit"),
        (lambda: Dense(3, 4).forward(np.ones((2, 5))), ValueError, r"expected x of shape \(N, 3\)"),
        (lambda: BatchNorm2D(1).forward(np.ones((1, 1, 1, 1))), ValueError, "more than one value"),
        (lambda: Dropout(1.5), ValueError, "p must be a probability"),
        (lambda: Sequential(LISTED), TypeError, "each an argument of its own"),
        (lambda: SoftmaxCrossEntropy().forward(np.ones((2, 3)), np.array([0, 3])), IndexError, "label 3"),
        (lambda: SoftmaxCrossEntropy().forward(np.ones((2, 3)), np.array([0, -1])), IndexError, "label -1"),
        (lambda: SoftmaxCrossEntropy().forward(np.ones((2, 3)), np.array([0])), ValueError, "labels"),
        (lambda: SoftmaxCrossEntropy().forward(LABELS[:, None], LABELS), TypeError, "floats, got int64"),
        (
            lambda: SoftmaxCrossEntropy().forward(SCORES, np.array([0.5, 1])),
            TypeError,
            "integers, got float64",
        ),
        (lambda: SoftmaxCrossEntropy().forward(SCORES, SCORES.tolist()), TypeError, "integers, got list"),
        (lambda: SoftmaxCrossEntropy().forward(SCORES.tolist(), LABELS), TypeError, "floats, got list"),
        (
            lambda: SoftmaxCrossEntropy().forward(SCORES, np.eye(3, dtype=int)[LABELS]),
            ValueError,
            r"of one-hot rows: labels.argmax\(axis=1\)",
        ),
        (lambda: SoftmaxCrossEntropy().backward(), RuntimeError, "backward before forward"),
        (lambda: MSE().forward(SCORES, SCORES[0]), ValueError, "one shape"),
        (lambda: MSE().forward(SCORES, LABELS), TypeError, "floats, got int64"),
        (lambda: MSE().backward(), RuntimeError, "backward before forward"),
        (lambda: Conv2D(-1, 2, 3), ValueError, "in_channels must be an integer of at least 0; got -1"),
        (lambda: Dense(3, -2), ValueError, "out_features must be"),
        (lambda: BatchNorm2D(-1), ValueError, "num_features must be"),
        (lambda: LayerNorm(()), ValueError, "normalized_shape must be"),
        (lambda: LayerNorm((2, -1)), ValueError, "normalized_shape must be an integer of at least 0; got -1"),
        (lambda: LayerNorm((2, 3)).forward(np.ones((2, 4))), ValueError, r"expected x of shape \(\*, 2, 3\)"),
        (lambda: MaxPool2D(3, padding=2), ValueError, "padding must be at most half of kernel_size=3; got 2"),
        (lambda: AvgPool2D(2, padding=2), ValueError, "at most half of kernel_size=2; got 2"),
        (lambda: Softmax(2).forward(SCORES), ValueError, r"\(2, 3\) has no axis dim=2"),
        (lambda: Flatten(5).forward(SCORES), ValueError, "no axis start_dim=5"),
        (lambda: Flatten(1, 0).forward(SCORES), ValueError, "start_dim comes after end_dim"),
        (lambda: Sequential(SHARED, Dense(3, 3), SHARED), ValueError, "occurs twice"),
        (lambda: Sequential(Sequential(SHARED), SHARED), ValueError, "occurs twice"),
        (lambda: SGD(Dense(3, 3)).step(), RuntimeError, "before a backward pass: no grad_weight, grad_bias"),
        (lambda: SGD(Dense(3, 3), lr=-1), ValueError, "lr must be a number of at least 0; got -1"),
        (lambda: Adam(Dense(3, 3), lr=float("nan")), ValueError, "lr must be"),
        (lambda: Adam(Dense(3, 3), betas=(0.9, 1)), ValueError, "betas must be below 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_plain_words(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
