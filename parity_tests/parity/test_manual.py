"""The parity tool's manual: its files, commands and outputs."""

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import scratch_conv
from scratch_conv.parity import check

ROOT = Path(scratch_conv.__file__).parent.parent
MANUAL = (ROOT / "scratch_conv" / "parity" / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```(?:python)?\n# (\S+)\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^    \$ (\S[^\n]*)\n(?:\n```\n(.*?)^```)?", MANUAL, re.MULTILINE | re.DOTALL)
STATUS = {
    "my_functions:relu": 1,
    "my_modules:Linear": 0,
    "my_layers:Conv": 1,
    "stepping:Dense": 0,
    "pair:affine_forward": 0,
    "last_axis:Conv2D": 0,
    "from_arrays:Affine": 0,
}
PLUGIN = (
    [] if entry_points(group="pytest11", name="scratch-conv-parity") else ["-p", "scratch_conv.parity.plugin"]
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder that holds the manual's files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python in a folder."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("form", STATUS)
def test_each_form_is_tested_as_the_manual_shows(place: Path, form: str) -> None:
    ((command, shown),) = (
        each for each in COMMANDS if each[0].startswith(f"scratch-conv parity --target {form} ")
    )
    ended = run(place, "scratch_conv.cli", *command.split()[1:])
    assert ended.returncode == STATUS[form], ended.stderr
    lines = [line for line in shown.splitlines() if line and not line.startswith("[")]
    assert lines
    assert all(line in ended.stdout for line in lines), ended.stdout


def test_pytest_adds_the_aspects_to_ones_own_tests(place: Path) -> None:
    (command,) = (command for command, _ in COMMANDS if command.startswith("pytest"))
    ended = run(place, "pytest", "-p", "no:cacheprovider", *PLUGIN, *command.split()[1:])
    assert ended.returncode == 0, ended.stdout
    assert "2 xfailed" in ended.stdout


def test_the_manuals_layer_is_right_once_it_is_mended() -> None:
    right = {"__name__": "my_layers"}
    exec(FILES["my_layers.py"].replace("] = taps", "] += taps"), right)
    assert check(right["Conv"], "conv2d", 80, supports={"unbatched": False}).passed
