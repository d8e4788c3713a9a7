"""Layers that a sequence computes in another order have the results of one by one, bit by bit."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers import Layer, MaxPool2D, ReLU, Sequential

NUMBERS = st.sampled_from([-np.inf, -2.0, -1.0, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan])


@st.composite
def poolings(draw: st.DrawFn) -> MaxPool2D:
    kernel_size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.just(kernel_size) | st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = (draw(st.integers(0, kernel_size[0] // 2)), draw(st.integers(0, kernel_size[1] // 2)))
    dilation = draw(st.just((1, 1)) | st.tuples(st.integers(1, 2), st.integers(1, 2)))
    return MaxPool2D(kernel_size, stride, padding, dilation, draw(st.booleans()))


def bits(array: Array) -> tuple[Any, ...]:
    """Return an array's numbers by their bits, all NaN the same."""
    integers = np.where(np.isnan(array), array.dtype.type(np.nan), array).view(f"i{array.itemsize}")
    return array.dtype, array.shape, integers.tolist()


@given(st.data(), poolings(), st.sampled_from([np.float16, np.float32, np.float64]))
def test_a_unit_after_the_pooling_is_the_unit_before_it(
    data: st.DataObject, pool: MaxPool2D, dtype: Any
) -> None:
    shape = data.draw(st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(5, 8), st.integers(5, 8)))
    x = data.draw(npst.arrays(dtype, shape, elements=NUMBERS))
    layers: list[Layer] = [ReLU(), pool]
    one, other = layers, deepcopy(layers)
    network = Sequential(*other)
    y = network.forward(x)
    assert bits(y) == bits(one[1].forward(one[0].forward(x)))
    dy = data.draw(npst.arrays(dtype, y.shape, elements=NUMBERS))
    dx = bits(one[0].backward(one[1].backward(dy)))
    assert bits(network.backward(dy)) == dx
    assert bits(other[0].backward(other[1].backward(dy))) == dx  # by hand
    assert [each.output_shape for each in one] == [each.output_shape for each in other]
    np.testing.assert_array_equal(one[0].branches(), other[0].branches())


def test_the_unit_meets_the_maxima_only(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Sequential(ReLU(), MaxPool2D(2))
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "relu", lambda x, out: np.full_like(x, 7))
        y = network.forward(np.ones((1, 1, 4, 4)))
        assert y.tolist() == np.full((1, 1, 2, 2), 7).tolist()
        patch.setattr(kernels, "relu_gate", lambda dy, met: dy * (met is y))
        assert network.backward(np.ones_like(y)).sum() == 4


class Doubled(ReLU):
    def backward(self, dy: Array) -> Array:
        return 2 * super().backward(dy)


def test_layers_that_are_changed_or_watched_run_one_by_one() -> None:
    x = np.ones((1, 1, 2, 2))
    changed = Sequential(Doubled(), MaxPool2D(2))
    assert changed.backward(changed.forward(x)).max() == 2
    watched, seen = ReLU(), []

    def forward(x: Array) -> Array:
        seen.append(x.shape)
        return ReLU.forward(watched, x)

    watched.forward = forward  # type: ignore[method-assign]
    Sequential(watched, MaxPool2D(2)).forward(x)
    assert seen == [x.shape]


def test_where_the_pooling_has_met_another_x_since_they_run_one_by_one() -> None:
    x = np.arange(-8.0, 8.0).reshape(1, 1, 4, 4)
    one: list[Layer] = [ReLU(), MaxPool2D(2)]
    network = Sequential(*deepcopy(one))
    network.forward(x)
    one[1].forward(one[0].forward(x))
    dy = np.ones((1, 1, 2, 2))
    for layer in (one[1], network[1]):
        layer.forward(-x)
    np.testing.assert_array_equal(network.backward(dy), one[0].backward(one[1].backward(dy)))


@pytest.mark.parametrize(
    ("x", "dy", "layer"),
    [
        (np.ones((1, 1, 2, 2), int), None, ReLU),
        (np.ones((2, 2)), None, MaxPool2D),
        (np.ones(1), np.ones(1), MaxPool2D),
    ],
)
def test_the_layer_that_would_refuse_is_the_one_named(x: Array, dy: Any, layer: type[Layer]) -> None:
    network = Sequential(ReLU(), MaxPool2D(2))
    network.forward(np.ones((1, 1, 2, 2)))
    with pytest.raises((TypeError, ValueError), match=layer.__name__):
        network.backward(network.forward(x) if dy is None else dy)
