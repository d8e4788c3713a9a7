"""Hypothesis profiles of the suite: quick (the default), thorough, nightly and mutation.

Choose one with `--hypothesis-profile thorough` or the environment variable SCRATCH_CONV_PROFILE. The quick
one draws the same cases each time, so that a red test is red for everyone. Mutation testing draws a third as
many, the same each time too, and saves the search for a smallest one: it asks only that a mutant fails.
"""

import os

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "quick", max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=_SLOW
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what forks first and what compiles last.

    Once something was traced for a compiler, autograd may have threads, beside which no forked process can
    differentiate.
    """
    items.sort(key=lambda item: item.path.parent.name != "parity")
    items.sort(key=lambda item: item.get_closest_marker("compiles") is not None)
