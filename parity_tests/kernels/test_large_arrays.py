"""Arrays that are larger than the kernels' blocks: results are those of NumPy in one go, in little memory.

With any number of threads. Whole numbers held as floats make all sums exact.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scratch_bounds import taken_beside_results

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.windows import Array, Pair

WINDOW = Window((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
PLANES = [(1200, 700), (3, 300_000), (300_000, 3), (130, 120)]
"""Of the last, there are so many that they don't fit either."""


@pytest.fixture(autouse=True, params=[1, 3])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    with kernels.using_num_threads(request.param):
        yield


def images(size: Pair) -> Array:
    count = max(2, 2**20 // (size[0] * size[1]))
    return np.random.default_rng(0).integers(-9, 10, (count, 1, *size)).astype(np.float32)


def under_windows(x: Array, fill: float) -> Array:
    """View what lies under each window: (N, C, OH, OW, 3, 3)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    return sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]


@pytest.mark.parametrize("size", PLANES)
def test_max_pooling(size: Pair) -> None:
    x = images(size)
    y, indices = kernels.max_pool2d(x, WINDOW, ceil_mode=False)
    np.testing.assert_array_equal(y, under_windows(x, -np.inf).max(axis=(4, 5)))
    by_plane, shape = indices.reshape(len(x), -1).astype(np.int64), (len(x), size[0] * size[1])
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(shape), by_plane, axis=1), y.reshape(len(x), -1)
    )
    np.testing.assert_array_equal(kernels.max_pool2d_gather(x, indices, WINDOW), y)
    expected = np.zeros(shape, np.float32)
    np.add.at(expected, (np.arange(len(x))[:, None], by_plane), y.reshape(len(x), -1))
    scattered = kernels.max_pool2d_scatter(y, indices, size, WINDOW)
    np.testing.assert_array_equal(scattered, expected.reshape(x.shape))


@pytest.mark.parametrize("size", PLANES)
def test_average_pooling(size: Pair) -> None:
    x = images(size)
    sums = under_windows(x, 0).sum(axis=(4, 5))
    y = kernels.avg_pool2d(x, (sums.shape[2], sums.shape[3]), WINDOW, True, 1)
    np.testing.assert_array_equal(y, sums)
    grad_input = kernels.avg_pool2d_grad_input(y, size, WINDOW, True, 1)
    padded = np.zeros((*x.shape[:2], size[0] + 2, size[1] + 2), np.float32)
    for row, column in np.ndindex(3, 3):
        met = padded[:, :, row : row + size[0] : 2, column : column + size[1] : 2]
        met += y
    np.testing.assert_array_equal(grad_input, padded[:, :, 1:-1, 1:-1])


@pytest.mark.parametrize("size", [(1200, 700), (130, 120)])
def test_adaptive_average_pooling(size: Pair) -> None:
    x, bins = images(size), (10, 20)
    y = kernels.adaptive_avg_pool2d(x, bins)
    blocks = x.reshape(len(x), 1, bins[0], size[0] // bins[0], bins[1], size[1] // bins[1])
    np.testing.assert_allclose(y, blocks.mean(axis=(3, 5)), rtol=1e-5, atol=1e-6)
    grad_input = kernels.adaptive_avg_pool2d_grad_input(y, size)
    area = np.float32(size[0] // bins[0] * (size[1] // bins[1]))
    np.testing.assert_array_equal(
        grad_input, (y / area).repeat(size[0] // bins[0], 2).repeat(size[1] // bins[1], 3)
    )


@pytest.mark.parametrize("alike", [True, False])
def test_elementwise_work(alike: bool) -> None:
    x = images((1200, 700))
    order = x.copy() if alike else x.swapaxes(0, 3).copy().swapaxes(0, 3)
    y = kernels.relu(x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(kernels.relu_gate(order, y), np.where(x > 0, x, 0))
    mask = (order > 0).astype(np.float32)
    np.testing.assert_array_equal(kernels.drop(x, mask, 2.0), np.where(x > 0, 2 * x, 0))


@pytest.mark.parametrize("shape", [(2, 700_000, 1), (60_000, 7, 3), (3, 5, 90_000)])
def test_softmax(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    x, grads = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    exact = np.exp(x.astype(np.float64))
    exact /= exact.sum(axis=1, keepdims=True)
    p, logarithms = kernels.softmax(x), kernels.log_softmax(x)
    np.testing.assert_allclose(p, exact, rtol=1e-4, atol=0)
    np.testing.assert_allclose(logarithms, np.log(exact), rtol=1e-5, atol=1e-5)
    inner = (exact * grads).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(kernels.softmax_grad(grads, p), exact * (grads - inner), rtol=1e-3, atol=1e-6)
    total = grads.sum(axis=1, keepdims=True, dtype=np.float64)
    log_grad = kernels.log_softmax_grad(grads, logarithms)
    np.testing.assert_allclose(log_grad, grads - exact * total, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 1, 2_200_000), (5, 40, 3_000), (700_000, 2, 1)])
def test_batch_norm(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    x, grads = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    weight, bias = (rng.standard_normal(shape[1]).astype(np.float32) for _ in range(2))
    y, mean, variance = kernels.batch_norm(x, weight, bias, 1e-5)
    wide = x.astype(np.float64)
    expected_mean, expected_variance = wide.mean(axis=(0, 2)), wide.var(axis=(0, 2))
    np.testing.assert_allclose(mean, expected_mean, atol=1e-5)
    np.testing.assert_allclose(variance, expected_variance, rtol=1e-4)
    inverse = 1 / np.sqrt(expected_variance + 1e-5)
    normal = (wide - expected_mean[:, None]) * inverse[:, None]
    np.testing.assert_allclose(y, weight[:, None] * normal + bias[:, None], rtol=1e-3, atol=1e-3)
    fixed = kernels.batch_norm_inference(x, mean, variance, weight, bias, 1e-5)
    np.testing.assert_array_equal(fixed, y)
    grad_input, grad_weight, grad_bias = kernels.batch_norm_grad(grads, x, mean, variance, weight, 1e-5)
    count = shape[0] * shape[2]
    sums, products = grads.sum(axis=(0, 2), dtype=np.float64), (grads * normal).sum(axis=(0, 2))
    np.testing.assert_allclose(grad_bias, sums, atol=1e-4 * np.sqrt(count))
    np.testing.assert_allclose(grad_weight, products, atol=1e-4 * np.sqrt(count))
    centred = grads - sums[:, None] / count - normal * products[:, None] / count
    np.testing.assert_allclose(grad_input, (weight * inverse)[:, None] * centred, rtol=1e-3, atol=1e-3)


def test_linear() -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-4, 5, (2, rows, 64)).astype(np.float32) for rows in (900, 300))
    np.testing.assert_array_equal(kernels.linear(x, w, None), np.einsum("gmi,goi->gmo", x, w))


PLANE = np.zeros((1, 1, 2048, 2048), np.float32)
INDICES = np.zeros((1, 1, 1024, 1024), np.int32)


@pytest.mark.parametrize(
    "operation",
    {
        "max_pool2d": lambda: kernels.max_pool2d(PLANE, WINDOW, ceil_mode=False),
        "max_pool2d_scatter": lambda: kernels.max_pool2d_scatter(
            PLANE[..., :1024, :1024], INDICES, (2048, 2048), WINDOW
        ),
        "max_pool2d_gather": lambda: kernels.max_pool2d_gather(PLANE, INDICES, WINDOW),
        "avg_pool2d": lambda: kernels.avg_pool2d(PLANE, (1024, 1024), WINDOW, False, None),
        "avg_pool2d_grad_input": lambda: kernels.avg_pool2d_grad_input(
            PLANE[..., :1024, :1024], (2048, 2048), WINDOW, False, None
        ),
        "relu": lambda: kernels.relu(PLANE),
        "relu_gate": lambda: kernels.relu_gate(PLANE, PLANE.swapaxes(2, 3)),
        "softmax": lambda: kernels.softmax(PLANE.reshape(1, -1, 1)),
        "softmax_grad": lambda: kernels.softmax_grad(PLANE.reshape(1, -1, 1), PLANE.reshape(1, -1, 1)),
        "log_softmax": lambda: kernels.log_softmax(PLANE.reshape(1, -1, 1)),
        "log_softmax_grad": lambda: kernels.log_softmax_grad(
            PLANE.reshape(1, -1, 1), PLANE.reshape(1, -1, 1)
        ),
    }.items(),
    ids=lambda item: item[0],
)
def test_temporary_memory_is_bounded(operation: tuple[str, Callable[[], object]]) -> None:
    """Of a plane of 16 MiB the block of each thread takes at most 5 MiB."""
    taken = taken_beside_results(operation[1])
    assert taken <= 5 * 2**20 * kernels.get_num_threads(), taken
