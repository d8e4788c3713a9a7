"""The NumPy layers against torch's, on drawn configurations, by bounds of rounding errors."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy.typing import NDArray

from scratch_conv import layers
from scratch_conv.layers import MSE, Conv2D, Dense, Dropout, SoftmaxCrossEntropy
from scratch_conv.parity import Case, assert_parity, cases, check
from scratch_conv.parity.operators import OPERATORS


class TorchsRandomNumbers(Dropout):
    """Dropout with a mask from torch's generator, in torch's order, which is that of the memory."""

    def draw_mask(self, x: NDArray[Any]) -> NDArray[Any]:
        """Draw as torch does."""
        return torch.empty_like(torch.from_numpy(x)).bernoulli_(1 - self.p).numpy()


BY_NAME = {name.lower(): getattr(layers, name) for name in layers.__all__}
LAYERS: dict[str, Any] = {
    **{like: BY_NAME.get(each.module.__name__.lower()) for like, each in OPERATORS.items()},
    "cross_entropy": SoftmaxCrossEntropy,
    "dropout": TorchsRandomNumbers,
    "linear": Dense,
    "mse_loss": MSE,
}
THERE = [like for like, layer in LAYERS.items() if layer is not None]
# What each layer lacks of its namesake's; a dense layer takes (N, I), and the loss (N, K) and indices alone.
LOSS = ["weight", "ignore_index", "reduction", "label_smoothing", "further_axes", "class_probabilities"]
LACKING = {
    "avg_pool2d": ["divisor_override"],
    "cross_entropy": LOSS,
    "dropout": ["inplace"],
    "leaky_relu": ["inplace"],
    "linear": ["further_axes"],
    "max_pool2d": ["return_indices"],
    "mse_loss": ["weight", "reduction"],
    "relu": ["inplace"],
}


def test_no_layer_is_left_out() -> None:
    assert len(THERE) == 15


@pytest.mark.parametrize("like", THERE)
def test_layer_gives_torch_values_and_gradients(like: str) -> None:
    claims: dict[str, Any] = {"without": [*LACKING.get(like, []), "unbatched", "functional"]}
    if like == "mse_loss":
        claims |= {"grad_target": False, "broadcast_targets": False}

    @given(case=cases(like, claims))
    def compare(case: Case) -> None:
        assert_parity(LAYERS[like], case, claims)

    compare()


class Backwards(Conv2D):
    """Loses the gradient of the bias of all images but the first."""

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient with respect to x."""
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


@pytest.mark.parametrize("shape", [(6,), (4, 6)])
def test_layer_norm_without_a_bias_is_torchs(shape: tuple[int, ...]) -> None:
    """The cases of layers that are drawn have both parameters or none."""
    torch.manual_seed(0)
    theirs = torch.nn.LayerNorm(shape, bias=False, dtype=torch.float64)
    torch.nn.init.normal_(theirs.weight)
    ours = layers.LayerNorm(shape, bias=False, dtype=np.float64)
    ours.weight[...] = theirs.weight.detach().numpy()
    x = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    y, dy = theirs(x), torch.randn(3, 4, 6, dtype=torch.float64)
    dx, grad_weight = torch.autograd.grad(y, [x, theirs.weight], dy)
    np.testing.assert_allclose(ours.forward(x.detach().numpy()), y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ours.backward(dy.numpy()), dx.numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(ours.gradients["weight"], grad_weight.numpy(), rtol=1e-12, atol=1e-13)
