"""The pool itself: when it has threads, and how many cores it counts."""

import os
import threading
import time

import pytest
import test_threads

from scratch_conv import kernels
from scratch_conv.kernels import threads
from scratch_conv.kernels.threads import parallel

pytestmark = pytest.mark.mutation


@pytest.mark.parametrize("blocks", [0, 1])
def test_less_than_two_blocks_need_no_pool(blocks: int) -> None:
    kernels.free_scratch()
    workers: list[threading.Thread] = []
    with kernels.using_num_threads(4):
        parallel(lambda _: workers.append(threading.current_thread()), range(blocks))
    assert workers == [threading.current_thread()] * blocks
    assert threads._pool.size == 0


def test_the_pool_grows_as_it_is_needed_and_is_kept_until_it_is_freed() -> None:
    def used(num_threads: int) -> set[threading.Thread]:
        with kernels.using_num_threads(num_threads):
            parallel(time.sleep, [0.001] * 8)
        return {thread for thread in test_threads.own_threads() if thread not in ended}

    ended: set[threading.Thread] = set()
    kernels.free_scratch()
    ended = {*test_threads.own_threads()}
    for thread in ended:
        thread.join(5)
    small = used(3)
    assert len(small) == 2
    assert used(3) == used(2) == small
    large = used(4)
    assert len(large) == 3
    assert used(3) == large > small
    kernels.free_scratch()
    for thread in large:
        thread.join(5)
        assert not thread.is_alive()
    assert len(used(2)) == 1


def test_a_pool_can_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a forked child's does: with threads, and a hold on the BLAS, of its own."""
    monkeypatch.setattr(threads, "_pool", before := threads._pool)
    threads._start_anew()
    assert threads._pool is not before
    test_threads.test_as_many_threads_work_at_once_as_are_set_and_no_more(3)
    test_threads.test_the_blas_is_held_to_one_thread_within_a_block_only()
    kernels.free_scratch()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind threads to cores")
def test_there_are_as_many_threads_as_cores_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    assert threads._cores() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert threads._cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("count", [5, None])
def test_where_threads_cannot_be_bound_the_machines_cores_count(
    monkeypatch: pytest.MonkeyPatch, count: int | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert threads._cores() == (count or 1)


def test_the_first_number_of_omp_num_threads_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in (("3", 3), (" 5 ,2", 5)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert threads._cores() == expected
    unset = {}
    for text in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        unset[text] = threads._cores()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert set(unset.values()) == {threads._cores()}
