"""The thread pool: results don't depend on it, and it leaves the process as it was."""

import multiprocessing
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.threads import parallel, scratch

WINDOW = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = kernels.get_num_threads()
    yield
    kernels.set_num_threads(before)


def convolution_and_gradients() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((64, 8, 16, 16)), rng.standard_normal((8, 8, 3, 3))
    y = kernels.conv2d(x, w, None, WINDOW, 1)
    pooled, taps = kernels.max_pool2d(x, WINDOW, False)
    return [
        y,
        pooled,
        kernels.conv2d_grad_input(y, w, (16, 16), WINDOW, 1),
        kernels.conv2d_grad_weight(y, x, WINDOW, 1),
        kernels.max_pool2d_scatter(pooled, taps, (16, 16), WINDOW),
    ]


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_results_do_not_depend_on_the_number_of_threads(num_threads: int) -> None:
    """The gradient of the weight is a sum over the batch, which each thread computes a share of."""
    expected = convolution_and_gradients()
    kernels.set_num_threads(num_threads)
    for got, want, again in zip(
        convolution_and_gradients(), expected, convolution_and_gradients(), strict=True
    ):
        np.testing.assert_array_equal(got, again)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-13 * np.abs(want).max())


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_the_blas_is_held_to_one_thread_within_a_piece_only() -> None:
    before = blas_threads()
    within: list[list[int]] = []
    parallel(lambda _: within.append(blas_threads()), range(3))
    assert within == [[1] * len(before)] * 3
    assert blas_threads() == before


def test_an_exception_of_a_piece_reaches_the_caller_and_the_pool_survives() -> None:
    def fail(piece: int) -> None:
        if piece == 5:
            raise ArithmeticError("piece 5")

    with pytest.raises(ArithmeticError, match="piece 5"):
        parallel(fail, range(8))
    done: list[int] = []
    parallel(done.append, range(8))
    assert sorted(done) == list(range(8))


def test_infinities_and_nan_raise_no_warning_on_any_thread() -> None:
    kernels.set_num_threads(3)
    x, w = np.full((8, 2, 4, 4), np.inf), np.full((2, 2, 3, 3), -np.inf)
    x[:, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernels.conv2d(x, w, np.full(2, np.inf), WINDOW, 1)
        kernels.avg_pool2d(x, (4, 4), WINDOW, True, None)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_with_threads_of_its_own() -> None:
    expected = convolution_and_gradients()

    def child() -> None:
        for got, want in zip(convolution_and_gradients(), expected, strict=True):
            np.testing.assert_array_equal(got, want)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_scratch_memory_is_used_again_until_it_is_freed() -> None:
    first = scratch("test", (3, 4), np.float32)
    assert np.shares_memory(first, scratch("test", (2,), np.float64))
    assert not np.shares_memory(first, scratch("other", (2,), np.float64))
    kernels.free_scratch()
    assert not np.shares_memory(first, scratch("test", (3, 4), np.float32))


@pytest.mark.parametrize("num_threads", [0, -1])
def test_a_number_of_threads_that_is_not_positive_is_refused(num_threads: int) -> None:
    with pytest.raises(ValueError, match=str(num_threads)):
        kernels.set_num_threads(num_threads)


def test_a_number_of_threads_for_one_caller_is_not_another_callers() -> None:
    kernels.set_num_threads(3)
    with kernels.using_num_threads(5):
        assert kernels.get_num_threads() == 5
        other: list[int] = []
        thread = threading.Thread(target=lambda: other.append(kernels.get_num_threads()))
        thread.start()
        thread.join()
        assert other == [3]
    assert kernels.get_num_threads() == 3


def test_pieces_after_a_failed_one_are_not_begun() -> None:
    kernels.set_num_threads(2)
    begun: list[int] = []

    def fail(piece: int) -> None:
        begun.append(piece)
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        parallel(fail, range(50))
    assert len(begun) <= 2
