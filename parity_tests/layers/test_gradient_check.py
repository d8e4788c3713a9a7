"""The gradient check passes correct layers, finds errors, and says where they are."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scratch_conv.layers import (
    MSE,
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
    Tanh,
    gradient_check,
)

Array = NDArray[Any]
RNG = np.random.default_rng

IMAGE_LAYERS: dict[str, Any] = {
    "convolution": lambda: Conv2D(4, 6, (2, 3), stride=(1, 2), padding=1, dilation=2, groups=2, rng=RNG(1)),
    "same": lambda: Conv2D(4, 2, 3, padding="same", bias=False, rng=RNG(1)),
    "max pooling": lambda: MaxPool2D(3, stride=2, padding=1, ceil_mode=True),
    "average pooling": lambda: AvgPool2D(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    "global average pooling": GlobalAvgPool2D,
    "batch norm": lambda: BatchNorm2D(4),
    "layer norm": lambda: LayerNorm(6),
    "layer norm of images": lambda: LayerNorm((4, 5, 6), bias=False),
    "batch norm, not in training": lambda: BatchNorm2D(4).eval(),
    "relu": ReLU,
    "leaky relu": lambda: LeakyReLU(0.3),
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softmax": Softmax,
    "flatten": Flatten,
    "dropout": lambda: Dropout(0.4, rng=RNG(1)),
    "dropout, not in training": lambda: Dropout(0.4).eval(),
    "residual block": lambda: ResidualBlock(4, 4, rng=RNG(1)),
    "residual block with a shortcut": lambda: ResidualBlock(4, 6, stride=2, rng=RNG(1)),
}


def used(layer: Any) -> Any:
    """Move parameters and statistics from where they begin: a weight of 1 hides that it was forgotten."""
    for array in layer.state.values():
        if array.dtype.kind == "f":
            array += RNG(3).random(array.shape).astype(array.dtype)
    return layer


@pytest.mark.parametrize("name", IMAGE_LAYERS)
def test_every_layer_passes(name: str) -> None:
    check = gradient_check(used(IMAGE_LAYERS[name]()), RNG(0).standard_normal((2, 4, 5, 6)))
    assert check.passed, str(check)
    assert check.error < 1e-5
    assert check.skipped == 0


@given(
    kernel_size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_every_convolution_passes(
    kernel_size: tuple[int, int], stride: int, padding: int, dilation: int, groups: int, seed: int
) -> None:
    layer = Conv2D(2, 2, kernel_size, stride, padding, dilation, groups, rng=RNG(seed))
    check = gradient_check(layer, RNG(seed).standard_normal((1, 2, 5, 6)))
    assert check.passed, str(check)


def test_dense_passes() -> None:
    check = gradient_check(Dense(5, 4, rng=RNG(1)), RNG(0).standard_normal((3, 5)))
    assert check.passed, str(check)
    assert set(check.worst) == {"x", "weight", "bias"}


def residual_network() -> Sequential:
    """Return a residual network with batch normalization."""
    rng = RNG(2)
    return Sequential(
        Conv2D(1, 3, 3, padding=1, rng=rng),
        BatchNorm2D(3),
        ReLU(),
        ResidualBlock(3, 3, rng=rng),
        ResidualBlock(3, 4, stride=2, rng=rng),
        AvgPool2D(2),
        Flatten(),
        Dense(16, 3, rng=rng),
        Softmax(),
    )


def test_a_residual_network_passes_and_is_left_as_it_was() -> None:
    network = residual_network()
    before = {name: array.copy() for name, array in network.state.items()}
    check = gradient_check(network, RNG(0).standard_normal((2, 1, 8, 8)))
    assert check.passed, str(check)
    assert set(check.worst) == {"x", *network.parameters}
    for name, array in network.state.items():
        np.testing.assert_array_equal(array, before[name], strict=True)


class Off(Dense):
    """Has one element of one gradient off by a ten-thousandth."""

    wrong = "grad_weight"

    def backward(self, dy: Array) -> Array:
        """Return dx; store a wrong gradient."""
        dx = super().backward(dy)
        array = dx if self.wrong == "dx" else getattr(self, self.wrong)
        array[(1,) * array.ndim] *= 1.0001
        return dx


@pytest.mark.parametrize(("wrong", "name"), [("grad_weight", "weight"), ("grad_bias", "bias"), ("dx", "x")])
def test_the_worst_element_is_named(wrong: str, name: str) -> None:
    layer = Off(3, 4, rng=RNG(1))
    layer.wrong = wrong
    check = gradient_check(layer, RNG(0).standard_normal((2, 3)))
    assert not check.passed
    assert check.element.name == name
    assert set(check.element.index) == {1}
    assert check.error == pytest.approx(1e-4, rel=1e-3)
    assert f"DIFFER: worst relative error 1.0e-04 at {name}[1" in str(check)


class Infinite(ReLU):
    """Loses itself in NaN."""

    def backward(self, dy: Array) -> Array:
        """Return dx; store no gradient."""
        return dy * np.nan


def test_nan_does_not_pass() -> None:
    check = gradient_check(Infinite(), np.ones((1, 2)))
    assert not check.passed
    assert "DIFFER" in str(check)


class Transposed(Dense):
    """Returns the gradient of its weight transposed."""

    def backward(self, dy: Array) -> Array:
        """Return dx; store a wrong gradient."""
        dx = super().backward(dy)
        self.grad_weight = self.grad_weight.T
        return dx


def test_a_gradient_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gradient of weight has shape \(3, 4\), weight has \(4, 3\)"):
        gradient_check(Transposed(3, 4), np.ones((2, 3)))


class Own(Layer):
    """A layer as one writes it first: its arguments under other names, and no gradients kept or returned."""

    parameter_names = ("w",)

    def __init__(self, inputs: int, keep: bool) -> None:
        self.w, self.keeps = np.ones(inputs), keep

    def forward(self, x: Array) -> Array:
        """Return x, scaled."""
        return x * self.w

    def backward(self, dy: Array) -> Any:
        """Return nothing."""
        if self.keeps:
            self.grad_w = dy.sum(0)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (Own(3, False), RuntimeError, r"Own\(...\): has no gradients before a backward pass: no grad_w"),
        (Own(3, True), ValueError, r"Own\(...\): the gradient of x has shape None, x has \(2, 3\)"),
        (MSE(), TypeError, "expected a layer or a network, a subclass of Layer; got MSE"),
    ],
)
def test_what_a_layer_of_ones_own_lacks_is_named(layer: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        gradient_check(layer, np.ones((2, 3)))


def at_every_distance(shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    """Draw elements on a kink, at distances from it below, about and above the steps, or far from it."""
    distances = st.sampled_from([0.0, 1e-8, 2e-7, 3e-6, 1e-5, 2e-5, 0.5])
    element = st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), distances, st.sampled_from([-1.0, 1.0]))
    count = int(np.prod(shape))
    return st.lists(element, min_size=count, max_size=count).map(
        lambda drawn: np.array([a + b * c for a, b, c in drawn]).reshape(shape)
    )


@given(x=at_every_distance((2, 3)))
def test_relu_passes_on_and_beside_its_kink(x: Array) -> None:
    check = gradient_check(ReLU(), x)
    assert check.passed, str(check)
    assert check.skipped == 0


@given(x=at_every_distance((1, 1, 2, 4)))
def test_max_pooling_passes_where_maxima_are_equal_and_nearly_so(x: Array) -> None:
    check = gradient_check(MaxPool2D(2), x)
    assert check.passed, str(check)
    assert check.skipped == 0


def test_an_element_between_two_kinks_is_skipped_and_counted() -> None:
    class Both(ReLU):
        """|x|, which has a kink at 0 that no side of it is on."""

        def forward(self, x: Array) -> Array:
            self.sign = np.sign(x)
            return np.abs(x)

        def backward(self, dy: Array) -> Array:
            return dy * self.sign

        def branches(self) -> list[Array]:
            return [self.sign]

    check = gradient_check(Both(), np.array([[0.0, 2.0]]))
    assert check.passed
    assert check.skipped == 1
    assert "1 elements on a kink skipped" in str(check)


def test_a_wrong_gradient_beside_a_kink_is_found() -> None:
    class Leaking(ReLU):
        """Passes a tenth of the gradient where it should be zero."""

        def backward(self, dy: Array) -> Array:
            return super().backward(dy) + 0.1 * dy * (self.y == 0)

    assert not gradient_check(Leaking(), np.array([[-1e-6, 2.0]])).passed


class Doubling(Dense):
    """Writes into dy, and is wrong by as much."""

    def backward(self, dy: Array) -> Array:
        """Return a wrong dx."""
        dy *= 2
        return super().backward(dy)


class InPlace(ReLU):
    """Writes into x, and into what it gave as y, and is right."""

    def forward(self, x: Array) -> Array:
        """Take the positive part of x in x itself."""
        x[...] = super().forward(x)
        self.y = x
        return x

    def backward(self, dy: Array) -> Array:
        """Return dx, and remove what was kept."""
        dx = super().backward(dy)
        self.y[...] = 7
        return dx


def test_a_layer_that_writes_into_its_arguments_is_judged_by_what_it_returns() -> None:
    assert not gradient_check(Doubling(3, 4, rng=RNG(1)), RNG(0).standard_normal((2, 3))).passed
    x = RNG(0).standard_normal((2, 3))
    before = x.copy()
    assert gradient_check(InPlace(), x).passed
    np.testing.assert_array_equal(x, before)


class OnceNaN(ReLU):
    """Loses one element in NaN."""

    def backward(self, dy: Array) -> Array:
        """Return the gradient of the other elements."""
        dx = super().backward(dy)
        dx[0, 1] = np.nan
        return dx


def test_one_nan_among_right_elements_does_not_pass() -> None:
    check = gradient_check(OnceNaN(), np.ones((2, 3)))
    assert not check.passed
    assert check.element.index == (0, 1)


@pytest.mark.parametrize("scale", [5, 20, 40, 1000])
def test_softmax_passes_however_sure_it_is(scale: float) -> None:
    for seed in range(5):
        check = gradient_check(Softmax(), scale * RNG(seed).standard_normal((3, 4)))
        assert check.passed, str(check)


def test_a_difference_that_passes_is_told() -> None:
    assert 0 < gradient_check(ReLU(), RNG(0).standard_normal((4, 50))).error < 1e-9


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ReLU\(\): nothing to compare, with x of shape \(0, 3\)"):
        gradient_check(ReLU(), np.ones((0, 3)))


class Steep(ReLU):
    """exp(30 · max(x, 0)): the line through two points is wrong by more than the bound."""

    def forward(self, x: Array) -> Array:
        """Return a rising function."""
        return np.exp(30 * super().forward(x))

    def backward(self, dy: Array) -> Array:
        """Return dx; store a wrong gradient."""
        return super().backward(30 * np.exp(30 * self.y) * dy)


def test_beside_a_kink_the_derivative_is_as_accurate_as_elsewhere() -> None:
    check = gradient_check(Steep(), np.array([[3e-6, -3e-6, 0.1]]))
    assert check.passed, str(check)
    assert check.skipped == 0


def test_between_two_kinks_the_step_is_shortened() -> None:
    bent = Dense(1, 2)
    bent.weight, bent.bias = np.array([[1.0], [-1.0]]), np.array([0, 4e-6])  # kinks at 0 and 4e-6
    check = gradient_check(Sequential(bent, ReLU()), np.array([[2e-6]]))
    assert check.passed, str(check)
    assert check.skipped == 0
