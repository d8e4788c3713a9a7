"""Hypothesis profiles of the suite: quick (the default), thorough, nightly and mutation.

Choose one with `--hypothesis-profile thorough` or the environment variable SCRATCH_CONV_PROFILE. The quick
one draws the same cases each time, so that a red test is red for everyone. Mutation testing draws the same
each time too, and saves the search for a smallest one: it asks only that a mutant fails.
"""

import multiprocessing
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

from scratch_conv.parity.searching import same_draws

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "quick", max_examples=80, derandomize=True, database=None, deadline=None, suppress_health_check=_SLOW
)
settings.register_profile("thorough", max_examples=2_000, deadline=None, suppress_health_check=_SLOW)
settings.register_profile("nightly", max_examples=100_000, deadline=None, suppress_health_check=_SLOW)
settings.register_profile(
    "mutation",
    settings.get_profile("quick"),
    max_examples=50,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("SCRATCH_CONV_PROFILE", "quick"))

torch.set_num_threads(1)  # the tensors are small, and each worker of pytest-xdist has one core


@pytest.fixture(scope="session", autouse=True)
def _same_draws() -> Iterator[None]:
    with same_draws():
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run what is marked `compiles` in a forked child.

    Once something was traced for a compiler, autograd may have threads in that process, and no process forked
    from it can differentiate. `parity.check` forks, and so do tests of the kernels, in whatever order.
    """
    if pyfuncitem.get_closest_marker("compiles") is None:
        return None
    torch.compiler.list_backends()  # loads the compiler, which takes seconds that the children save
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(
        target=_answer, args=(pyfuncitem.obj, arguments, there)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
        child.start()
    there.close()
    try:
        outcome, said = here.recv()
    except EOFError:
        outcome, said = "failed", "its process ended"
    child.join()
    if outcome == "skipped":
        pytest.skip(said)
    if outcome == "failed":
        pytest.fail(said, pytrace=False)
    return True


def _answer(test: Callable[..., None], arguments: dict[str, Any], pipe: Connection) -> None:
    """Run a test and send how it ended."""
    torch.set_num_threads(1)  # makes anew a pool that autograd's threads, at their start, would race to make
    try:
        test(**arguments)
    except pytest.skip.Exception as skipped:
        pipe.send(("skipped", str(skipped)))
    except BaseException:
        pipe.send(("failed", traceback.format_exc()))
    else:
        pipe.send(("passed", ""))
