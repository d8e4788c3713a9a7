"""The NumPy layers against torch's, on drawn configurations, by bounds of rounding errors."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy.typing import NDArray

from scratch_conv.layers import (
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    ReLU,
    Softmax,
    SoftmaxCrossEntropy,
)
from scratch_conv.parity import Case, assert_parity, cases, check


class TorchsRandomNumbers(Dropout):
    """Dropout with a mask from torch's generator, in torch's order, which is that of the memory."""

    def draw_mask(self, x: NDArray[Any]) -> NDArray[Any]:
        """Draw as torch does."""
        return torch.empty_like(torch.from_numpy(x)).bernoulli_(1 - self.p).numpy()


# What each layer lacks of its namesake's; a dense layer takes (N, I), and the loss (N, K) and indices alone.
LAYERS: list[tuple[str, Any, list[str]]] = [
    ("avg_pool2d", AvgPool2D, ["divisor_override"]),
    ("batch_norm", BatchNorm2D, []),
    ("conv2d", Conv2D, []),
    (
        "cross_entropy",
        SoftmaxCrossEntropy,
        ["weight", "ignore_index", "reduction", "label_smoothing", "further_axes", "class_probabilities"],
    ),
    ("dropout", TorchsRandomNumbers, ["inplace"]),
    ("flatten", Flatten, []),
    ("linear", Dense, ["further_axes"]),
    ("max_pool2d", MaxPool2D, ["return_indices"]),
    ("relu", ReLU, ["inplace"]),
    ("softmax", Softmax, []),
]


@pytest.mark.parametrize(("like", "layer", "without"), LAYERS)
def test_layer_gives_torch_values_and_gradients(like: str, layer: Any, without: list[str]) -> None:
    claims = {"without": [*without, "unbatched", "functional"]}

    @given(case=cases(like, claims))
    def compare(case: Case) -> None:
        assert_parity(layer, case, claims)

    compare()


class Backwards(Conv2D):
    """Loses the gradient of the bias of all pictures but the first."""

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Carry back."""
        dx = super().backward(dy)
        self.grad_bias = dy[:1].sum((0, 2, 3))
        return dx


def test_the_suite_sees_these_layers_parameters_and_gradients() -> None:
    claims = {"unbatched": False}
    assert check(Conv2D, "conv2d", 80, supports=claims).passed
    report = check(Backwards, "conv2d", 80, supports=claims)
    assert [difference.what for difference in report.differences] == ["grad_bias"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float64_beside_float32_is_computed_in_float64(dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5)).astype(dtype)
    layer = Conv2D(2, 3, 3)
    assert layer.forward(x).dtype == dtype
    assert layer.backward(np.ones((2, 3, 3, 3), dtype)).dtype == dtype
