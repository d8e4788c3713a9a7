"""The thread pool: results don't depend on it, and it leaves the process as it was."""

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from scratch_conv import kernels
from scratch_conv.kernels import Window, threads
from scratch_conv.kernels.threads import num_threads_for, parallel

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
    pooled, indices = kernels.max_pool2d(x, WINDOW, False)
    return [
        y,
        pooled,
        kernels.conv2d_grad_input(y, w, (16, 16), WINDOW, 1),
        kernels.conv2d_grad_weight(y, x, WINDOW, 1),
        kernels.max_pool2d_scatter(pooled, indices, (16, 16), WINDOW),
    ]


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_results_do_not_depend_on_the_number_of_threads(num_threads: int) -> None:
    """The gradient of the weight is a sum over the batch, to which each thread adds."""
    expected = convolution_and_gradients()
    kernels.set_num_threads(num_threads)
    for got, want, again in zip(
        convolution_and_gradients(), expected, convolution_and_gradients(), strict=True
    ):
        np.testing.assert_array_equal(got, again)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-13 * np.abs(want).max())


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("scratch_conv")]


@pytest.mark.parametrize("num_threads", [1, 2, 5, 40])  # 40: more than Python's own pools have
def test_as_many_threads_work_at_once_as_are_set_and_no_more(num_threads: int) -> None:
    all_at_once = threading.Barrier(num_threads)
    workers: list[threading.Thread] = []

    def work(block: int) -> None:
        if block < num_threads:
            all_at_once.wait(5)
        workers.append(threading.current_thread())

    with kernels.using_num_threads(num_threads):
        parallel(work, range(2 * num_threads))
    assert len(workers) == 2 * num_threads
    assert len(set(workers)) == num_threads
    assert set(workers) <= {threading.current_thread(), *own_threads()}


def test_scratch_memory_may_be_freed_while_blocks_are_at_work() -> None:
    """Of this caller or another: by a thread of the pool itself, which cannot wait for its own end."""
    together = threading.Barrier(3)

    def work(_: int) -> None:
        together.wait(5)
        kernels.free_scratch()

    with kernels.using_num_threads(3):
        parallel(work, range(3))


def test_blocks_may_have_blocks_of_their_own() -> None:
    """All threads of the pool are busy then, and the caller does the inner ones alone; it must not wait."""
    before = blas_threads()
    done: list[int] = []
    still_held: list[list[int]] = []
    all_busy = threading.Barrier(3)

    def work(_: int) -> None:
        all_busy.wait(5)
        parallel(done.append, range(8))
        still_held.append(blas_threads())

    kernels.set_num_threads(3)
    parallel(work, range(3))
    assert sorted(done) == sorted([*range(8)] * 3)
    assert still_held == [[1] * len(before)] * 3
    assert blas_threads() == before


def test_a_failed_caller_waits_for_the_blocks_that_are_at_work() -> None:
    before = blas_threads()
    both = threading.Barrier(2)
    done: list[int] = []

    def work(block: int) -> None:
        both.wait(5)
        if threading.current_thread() is threading.main_thread():
            raise ArithmeticError
        time.sleep(0.1)
        done.append(block)

    kernels.set_num_threads(2)
    with pytest.raises(ArithmeticError):
        parallel(work, range(2))
    assert len(done) == 1
    assert blas_threads() == before


def blas_threads() -> list[int]:
    """Return the threads of every BLAS but SciPy's own, which other tests load: it computes nothing here."""
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return [library["num_threads"] for library in libraries if "scipy.libs" not in library["filepath"]]


def test_the_blas_is_held_to_one_thread_within_a_block_only() -> None:
    before = blas_threads()
    within: list[list[int]] = []
    parallel(lambda _: within.append(blas_threads()), range(3))
    assert within == [[1] * len(before)] * 3
    assert blas_threads() == before


@pytest.mark.parametrize("last", ["caller", "other"])
def test_the_blas_is_held_and_restored_by_any_thread(last: str) -> None:
    """Of two that are at work at once, whichever ends last."""
    begun, ended = threading.Event(), threading.Event()
    within: list[list[int]] = []

    def other(_: int) -> None:
        begun.set()
        assert last == "caller" or ended.wait(60)
        within.append(blas_threads())

    def caller(_: int) -> None:
        thread.start()
        assert begun.wait(60)
        if last == "caller":
            thread.join()
        within.append(blas_threads())

    thread = threading.Thread(target=parallel, args=(other, [0]))
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        parallel(caller, [0])
        ended.set()
        thread.join()
        assert blas_threads() == before
    assert within == [[1] * len(before)] * 2


def test_the_blas_is_held_by_a_caller_on_another_thread() -> None:
    within: list[list[int]] = []
    with threadpool_limits(2, user_api="blas"):
        thread = threading.Thread(target=parallel, args=(lambda _: within.append(blas_threads()), [0]))
        thread.start()
        thread.join()
    assert within == [[1] * len(blas_threads())]


def test_an_exception_of_a_block_reaches_the_caller_and_the_pool_survives() -> None:
    def fail(block: int) -> None:
        if block == 5:
            raise ArithmeticError("block 5")

    with pytest.raises(ArithmeticError, match="block 5"):
        parallel(fail, range(8))
    done: list[int] = []
    parallel(done.append, range(8))
    assert sorted(done) == list(range(8))


def on_a_helper(begin: Callable[[], object]) -> None:
    """Have a helper of the pool begin something while the caller has no block left and waits for it."""
    caller, both = threading.current_thread(), threading.Barrier(2)

    def work(_: int) -> None:
        both.wait(60)
        if threading.current_thread() is not caller:
            time.sleep(0.1)
            begin()

    with kernels.using_num_threads(2):
        parallel(work, range(2))


def test_an_exception_on_a_helper_reaches_the_caller_as_it_is() -> None:
    error = ArithmeticError("a helper's")

    def fail() -> None:
        raise error

    with pytest.raises(ArithmeticError) as raised:
        on_a_helper(fail)
    assert raised.value is error


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
def test_an_interrupt_while_a_helper_works_reaches_the_caller_when_it_is_done() -> None:
    caller, ended = threading.get_ident(), list[bool]()

    def interrupt() -> None:
        signal.pthread_kill(caller, signal.SIGINT)
        time.sleep(0.1)
        ended.append(True)

    # A program that a shell starts in the background ignores the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            on_a_helper(interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended


def test_where_no_thread_can_be_started_the_caller_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    kernels.free_scratch()
    monkeypatch.setattr(threading.Thread, "start", fail)
    workers: list[threading.Thread] = []
    with kernels.using_num_threads(3):
        parallel(lambda _: workers.append(threading.current_thread()), range(5))
    assert workers == [threading.current_thread()] * 5


def test_the_blas_has_the_number_of_threads_that_it_had_before() -> None:
    for number in (1, 2):
        with threadpool_limits(number, user_api="blas"):
            parallel(lambda _: None, range(2))
            assert set(blas_threads()) == {number}


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
    process.kill()
    assert process.exitcode == 0


def test_a_child_that_is_forked_while_others_work_has_all_threads_of_the_blas() -> None:
    """The thread that would restore them is not in the child."""

    def child() -> None:
        assert blas_threads() == [2] * len(blas_threads())

    fork = multiprocessing.get_context("fork")
    with threadpool_limits(2, user_api="blas"):
        begun, forked = threading.Event(), threading.Event()

        def work(_: int) -> None:
            begun.set()
            assert forked.wait(60)

        worker = threading.Thread(target=parallel, args=(work, [0]))
        worker.start()
        try:
            assert begun.wait(60)
            process = fork.Process(target=child)
            process.start()
        finally:
            forked.set()
            worker.join()
        process.join(60)
        process.kill()
    assert process.exitcode == 0


@pytest.mark.parametrize(
    ("num_threads", "error", "message"),
    [
        (0, ValueError, "a positive number of threads, got 0"),
        (-1, ValueError, "a positive number of threads, got -1"),
        (1.5, TypeError, "a whole number of threads, got 1.5"),
        ("2", TypeError, "a whole number of threads, got '2'"),
        (None, TypeError, "a whole number of threads, got None"),
    ],
)
def test_a_number_of_threads_that_is_none_is_refused(
    num_threads: Any, error: type[Exception], message: str
) -> None:
    before = kernels.get_num_threads()
    with pytest.raises(error, match=f"^expected {message}$"):
        kernels.set_num_threads(num_threads)
    with pytest.raises(error, match=f"^expected {message}$"), kernels.using_num_threads(num_threads):
        pass  # pragma: no cover
    assert kernels.get_num_threads() == before


@pytest.mark.parametrize(
    ("work_bytes", "expected"), [(0, 1), (2**20 - 1, 1), (2**20, 2), (5 * 2**19 - 1, 4), (2**30, 4)]
)
def test_each_thread_has_half_a_mebibyte_to_work_on(work_bytes: int, expected: int) -> None:
    with kernels.using_num_threads(4):
        number = num_threads_for(work_bytes)
    assert number == expected
    assert isinstance(number, int)


def test_a_number_of_threads_for_one_caller_is_not_another_callers() -> None:
    kernels.set_num_threads(3)
    with kernels.using_num_threads(5):
        assert kernels.get_num_threads() == 5
        with suppress(ArithmeticError), kernels.using_num_threads(4):
            assert kernels.get_num_threads() == 4
            raise ArithmeticError
        assert kernels.get_num_threads() == 5
        other: list[int] = []
        thread = threading.Thread(target=lambda: other.append(kernels.get_num_threads()))
        thread.start()
        thread.join()
        assert other == [3]
    assert kernels.get_num_threads() == 3


def test_blocks_after_a_failed_one_are_not_begun() -> None:
    kernels.set_num_threads(2)
    begun: list[int] = []

    def fail(block: int) -> None:
        begun.append(block)
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        parallel(fail, range(50))
    assert len(begun) <= 2


def test_when_the_caller_fails_others_begin_no_further_block() -> None:
    caller, joined, begun = threading.current_thread(), threading.Event(), list[int]()

    def work(block: int) -> None:
        begun.append(block)
        if threading.current_thread() is caller:
            assert joined.wait(60)
            raise ArithmeticError
        joined.set()
        time.sleep(0.2)

    kernels.set_num_threads(2)
    with pytest.raises(ArithmeticError):
        parallel(work, range(5))
    assert len(begun) == 2


INTERRUPTED = """
import signal, time
import numpy as np
from threadpoolctl import threadpool_info
from scratch_conv import kernels

class Interrupt(BaseException):
    pass

def interrupt(*_):
    raise Interrupt

rng = np.random.default_rng(0)
window = kernels.Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
x, w = rng.standard_normal((16, 8, 16, 16)), rng.standard_normal((16, 8, 3, 3))
y = kernels.conv2d(x, w, None, window, 1)
call = lambda: kernels.conv2d_grad_weight(y, x, window, 1)
kernels.set_num_threads(3)
expected, blas = call(), threadpool_info()
signal.signal(signal.SIGALRM, interrupt)
interrupted, until = 0, time.monotonic() + 20
while interrupted < 100 and time.monotonic() < until:
    began = time.perf_counter()
    np.testing.assert_array_equal(call(), expected)
    takes = time.perf_counter() - began
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, takes))
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupt:
        interrupted += 1
np.testing.assert_array_equal(call(), expected)
assert threadpool_info() == blas
print(interrupted)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals by a timer")
def test_an_interrupt_at_any_moment_leaves_nothing_behind() -> None:
    """No helper writes to what the next call uses, and the BLAS has its threads again."""
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 0


def test_a_signals_handler_may_call_a_kernel_while_the_pool_is_locked() -> None:
    x = np.ones((4, 4))
    with threads._pool.lock, threads._pool.single_threaded_blas():
        assert kernels.relu(x).sum() == 16
        parallel(lambda block: None, range(8))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals by a timer")
def test_a_kernel_in_a_signals_handler_does_not_change_the_one_it_interrupts() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 32, 8, 16, 16)), rng.standard_normal((8, 1, 3, 3))
    expected = [kernels.conv2d(each, w, None, WINDOW, 8) for each in x]
    in_handler: list[np.ndarray] = []
    before = signal.signal(
        signal.SIGALRM, lambda *_: in_handler.append(kernels.conv2d(x[1], w, None, WINDOW, 8))
    )
    try:
        until = time.monotonic() + 20
        while len(in_handler) < 20 and time.monotonic() < until:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 2e-3))
            np.testing.assert_array_equal(kernels.conv2d(x[0], w, None, WINDOW, 8), expected[0])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert in_handler
    for got in in_handler:
        np.testing.assert_array_equal(got, expected[1])


def test_while_python_shuts_down_the_caller_works_alone() -> None:
    program = """
import threading, time
import numpy as np
from scratch_conv import kernels

def train():
    threading.main_thread().join()
    time.sleep(0.2)
    x = np.ones((64, 8, 16, 16), np.float32)
    window = kernels.Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    y = kernels.conv2d(x, np.ones((8, 8, 3, 3), np.float32), None, window, 1)
    print("trained", y.sum(), flush=True)

kernels.set_num_threads(2)
threading.Thread(target=train).start()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""
    assert ended.stdout.startswith("trained")
