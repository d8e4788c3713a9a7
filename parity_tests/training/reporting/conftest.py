"""A small run, whose files several tests look at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison with two seeds."""
    out = tmp_path_factory.mktemp("compared") / "run"
    options = "--dataset shapes --model small-cnn --limit 64 --limit-test 32 --epochs 1 --seeds 2"
    process = subprocess.run(
        [sys.executable, "-m", "scratch_conv", "compare", *options.split(), "--out", str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr
    return out
