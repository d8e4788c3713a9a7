"""How the layers beside convolution cut their work: into blocks that fit, with the same results."""

import math
from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
import test_activation
import test_dropout
import test_linear
import test_normalization
import test_softmax
from hypothesis import example, given
from hypothesis import strategies as st
from scratch_bounds import (
    assert_as_many_as_fit,
    assert_planes_or_blocks_fit,
    scratch_taken,
    taken_beside_results,
)

from scratch_conv import kernels
from scratch_conv.kernels import (
    Window,
    elementwise,
    group_normalization,
    interpolation,
    normalization,
    response_normalization,
)
from scratch_conv.kernels.pooling import average as average_pooling
from scratch_conv.kernels.pooling import maximum as max_pooling
from scratch_conv.kernels.pooling import picked
from scratch_conv.kernels.windows import Array, Pair

pytestmark = pytest.mark.mutation

# In the package, functions of the same names stand before these modules.
linear, softmax = (import_module(f"scratch_conv.kernels.{name}") for name in ("linear", "softmax"))


@pytest.mark.parametrize(
    "definition",
    [
        test_activation.test_relu_and_its_gate_are_their_definitions,
        test_dropout.test_drop_is_its_definition,
        test_linear.test_linear_is_its_definition,
        test_softmax.test_softmaxes_and_their_derivatives_are_their_definitions,
        test_normalization.test_batch_norm_and_its_derivatives_are_their_definitions,
        test_normalization.test_a_mean_of_numbers_near_overflow_is_finite,
        test_normalization.test_group_norm_and_its_derivatives_are_their_definitions,
        test_normalization.test_local_response_norm_and_its_derivative_are_their_definitions,
    ],
)
def test_results_do_not_depend_on_the_blocks(
    definition: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which the drawn arrays, small as they are, have several."""
    monkeypatch.setattr(elementwise, "_CHUNK_BYTES", 16)
    for module in (softmax, normalization, group_normalization, response_normalization):
        monkeypatch.setattr(module, "_BLOCK_BYTES", 16)
    monkeypatch.setattr(group_normalization, "_SUMS_BYTES", 64)
    monkeypatch.setattr(normalization, "_MOST_BYTES", 32)
    monkeypatch.setattr(linear, "_WORTH_A_THREAD", 2)
    definition()


@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([16, 200, 2_000, 2**22]),
)
@example((12, 5, 1), np.float32, 200)
@example((1, 12, 1), np.float64, 16)
def test_other_layers_take_as_much_at_a_time_as_fits(
    sizes: tuple[int, int, int], dtype: type, block_bytes: int
) -> None:
    """ReLU takes elements; softmax vectors, along the longer of the other axes; batch_norm channels.

    Or parts of a vector or of a channel.
    """
    x: Array = np.ones(sizes, dtype=dtype)
    ones: Array = np.ones(sizes[1], dtype=dtype)
    vectors = max(sizes[0], sizes[2])
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(1):
        patch.setattr(elementwise, "_CHUNK_BYTES", block_bytes)
        for module in (softmax, normalization):
            patch.setattr(module, "_BLOCK_BYTES", block_bytes)
        patch.setattr(normalization, "_MOST_BYTES", 2 * block_bytes)
        gate = scratch_taken(lambda: kernels.relu_gate(x, x))
        along_vectors = [
            scratch_taken(lambda: kernels.softmax_grad(x, x)),
            scratch_taken(lambda: kernels.log_softmax(x)),
        ]
        by_channel = [
            scratch_taken(lambda: kernels.batch_norm(x, None, None, 1.0)),
            scratch_taken(lambda: kernels.batch_norm_grad(x, x, ones, ones, None, 1.0)),
            scratch_taken(lambda: kernels.batch_norm_inference(x, ones, ones, None, None, 1.0)),
        ]
    assert_as_many_as_fit(gate, 1, x.size, x.itemsize, block_bytes)
    for taken in along_vectors:
        plane = x.nbytes // vectors
        if plane <= block_bytes:
            assert_as_many_as_fit(taken, plane, vectors, plane, block_bytes)
        else:  # classes of one
            one_class = plane // sizes[1]
            assert_as_many_as_fit(taken, one_class, sizes[1], one_class, block_bytes)
    channel = x.nbytes // sizes[1]
    for taken in by_channel:
        if channel <= 2 * block_bytes:
            assert_as_many_as_fit(taken, channel, sizes[1], channel, block_bytes)
        else:
            size = sizes[0], sizes[2]
            assert_planes_or_blocks_fit(taken, x.itemsize, 1, size, (channel, channel), 2 * block_bytes)


@given(
    st.tuples(*[st.integers(0, 9)] * 3),
    st.integers(0, 9),
    st.integers(1, 5),
    st.sampled_from([1, 20, 100, 2**20]),
)
@example((1, 2, 1), 9, 5, 1)  # short
@example((9, 2, 2), 1, 5, 20)  # of so few multiplications that not even two threads are worth it
def test_products_are_cut_for_as_many_threads_as_they_are_worth(
    shape: tuple[int, int, int], inner: int, num_threads: int, worth: int
) -> None:
    """Along the longest axis, evenly."""
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(num_threads):
        patch.setattr(linear, "_WORTH_A_THREAD", worth)
        cut = linear._blocks(shape, inner)
    most = min(num_threads, max(shape), math.prod(shape) * inner / worth)
    assert len(cut) == 1 or 1 < len(cut) <= most
    assert len(cut) + 1 > most
    done = np.zeros(shape, dtype=int)
    for block in cut:
        done[block] += 1
    assert (done == 1).all()
    axis = shape.index(max(shape))
    lengths = [done[block].shape[axis] for block in cut]
    assert sum(lengths) == shape[axis]
    assert max(lengths) - min(lengths) <= 1


def operations_on(size: Pair) -> dict[str, Callable[[], object]]:
    """Return operations on a single plane of that size, and on channels and vectors as long as it."""
    x = np.random.default_rng(0).standard_normal((1, 1, *size)).astype(np.float32)
    kernel_size = min(size[0], 3), min(size[1], 3)
    window = Window(kernel_size, (1, 1), ((kernel_size[0] // 2,) * 2, (kernel_size[1] // 2,) * 2), (1, 1))
    y, indices = kernels.max_pool2d(x, window, ceil_mode=False)
    few, one = (max(1, size[0] // 8), max(1, size[1] // 8)), x[0, 0, 0, :1]
    resizing = kernels.Resizing("cubic", True, False, (0.0, 0.0), False)
    images, y_few = x.reshape(1, *size, 1), np.ones((1, *few, 1), np.float32)
    flat, wide = x.reshape(1, 1, -1), x.astype(np.float64)
    vector = flat.swapaxes(1, 2)
    classes = kernels.Classes(np.zeros((1, 1), np.int64), vector.size, np.abs(vector[:, :, 0]), -100)
    return {
        "max_pool2d": lambda: kernels.max_pool2d(x, window, ceil_mode=False),
        "max_pool2d_scatter": lambda: kernels.max_pool2d_scatter(y, indices, size, window),
        "max_pool2d_gather": lambda: kernels.max_pool2d_gather(x, indices, window),
        "max_unpool": lambda: kernels.max_unpool(y, indices, size),
        "gather_picked": lambda: kernels.gather_picked(x, indices),
        "avg_pool2d": lambda: kernels.avg_pool2d(x, size, window, False, None),
        "avg_pool2d_grad_input": lambda: kernels.avg_pool2d_grad_input(x, size, window, False, None),
        "adaptive_avg_pool2d": lambda: kernels.adaptive_avg_pool2d(x, few),
        "adaptive_avg_pool2d to one": lambda: kernels.adaptive_avg_pool2d(x, (1, 1)),
        "adaptive_avg_pool2d to more": lambda: kernels.adaptive_avg_pool2d(x[:, :, : few[0], : few[1]], size),
        "interpolate to fewer": lambda: kernels.interpolate(images, few, resizing),
        "interpolate_grad_input of fewer": lambda: kernels.interpolate_grad_input(y_few, size, resizing),
        "batch_norm": lambda: kernels.batch_norm(flat, one, one, 1e-5),
        "batch_norm_grad": lambda: kernels.batch_norm_grad(flat, flat, one, one * one, one, 1e-5),
        "batch_norm_inference": lambda: kernels.batch_norm_inference(flat, one, one * one, one, one, 1e-5),
        "relu": lambda: kernels.relu(x),
        "relu_gate": lambda: kernels.relu_gate(x, wide),
        "drop": lambda: kernels.drop(x, one, 2.0),
        "pad_constant": lambda: kernels.pad_constant(x, ((0, 0), (0, 0), (1, 2), (3, 4)), 2.0),
        "pad_edges": lambda: kernels.pad_edges(x, ((0, 0), (0, 0), (0, 0), (0, 0)), "reflect"),
        "pixel_unshuffle": lambda: kernels.pixel_unshuffle(x, 1),
        "channel_shuffle": lambda: kernels.channel_shuffle(x, 1),
        "alpha_drop": lambda: kernels.alpha_drop(x, one, 2.0, 1.0, -1.0),
        "softmax": lambda: kernels.softmax(vector),
        "softmax_grad": lambda: kernels.softmax_grad(vector, vector),
        "log_softmax": lambda: kernels.log_softmax(vector),
        "log_softmax_grad": lambda: kernels.log_softmax_grad(vector, vector),
        "nll": lambda: kernels.nll(vector, classes, 0.1),
        "nll_grad": lambda: kernels.nll_grad(one.reshape(1, 1), classes, 0.1),
    }


@pytest.mark.parametrize(
    ("name", "size"),
    [
        (name, size)
        for name in operations_on((8, 8))
        for size in ((1024, 1024), (1, 2**20), (2**20, 1))
        # What average pooling knows of the windows on an axis is as long as that; interpolation likewise.
        if size == (1024, 1024) or not ("avg" in name or "interpolate" in name)
    ],
)
def test_no_temporary_memory_grows_with_a_plane(
    name: str, size: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks of a sixty-fourth of the plane, less than half of it is taken beside the results."""
    operation = operations_on(size)[name]
    monkeypatch.setattr(elementwise, "_CHUNK_BYTES", 2**16)
    for module in (average_pooling, interpolation, normalization, max_pooling, picked, softmax):
        monkeypatch.setattr(module, "_BLOCK_BYTES", 2**16)
    monkeypatch.setattr(normalization, "_MOST_BYTES", 2**16)
    with kernels.using_num_threads(1):
        taken = taken_beside_results(operation)
    assert taken <= 2**21, taken
