"""`scratch-conv parity` and the pytest plugin, as they are typed."""

import inspect
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import scratch_conv
from scratch_conv.parity import check, plugin
from scratch_conv.parity.catalogue import FAULTS, SOUND
from scratch_conv.parity.commands import parity as command
from scratch_conv.parity.drawing.claims import DTYPES, FEATURES
from scratch_conv.parity.operators import OPERATORS
from scratch_conv.parity.options import CALLING, CLAIMS

ROOT = Path(scratch_conv.__file__).parent.parent
CANDIDATES = """
import torch.nn.functional as F

def right(input, weight, bias=None, **arguments):
    return F.conv2d(input, weight, bias, **arguments)

def wrong(input, weight, bias=None, **arguments):
    return F.conv2d(input, weight.flip(-1), bias, **arguments)

def square(input, weight, bias=None, stride=1, padding=0):
    return F.conv2d(input, weight, bias, stride + 0, padding + 0)

def mute(input, weight, bias=None, **arguments):
    return None

def affine(x, w, b):
    return x @ w + b, (x, w)

def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(0)

def talking(input):
    print("hello")
    return F.relu(input)

print("hello, on import")

def batched(input, weight, bias=None, **arguments):
    return F.conv2d(input if input.ndim == 4 else input[None], weight, bias, **arguments)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder that holds candidates."""
    (tmp_path / "candidates.py").write_text(CANDIDATES, encoding="utf-8")
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


def parity(place: Path, words: str) -> subprocess.CompletedProcess[str]:
    """Run `scratch-conv parity`."""
    return run(place, "scratch_conv.cli", "parity", *words.split())


def test_a_right_target_ends_with_status_0(place: Path) -> None:
    ended = parity(place, "--target candidates:right --like conv2d --examples 30")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "equal to torch" in ended.stdout


def test_a_wrong_target_ends_with_status_1_and_leaves_images(place: Path) -> None:
    ended = parity(place, "--target candidates:wrong --like conv2d --out out")
    assert ended.returncode == 1
    assert "output differs in" in ended.stdout
    report, _, written = ended.stdout.strip().rpartition("\n")
    assert (place / "out" / "conv2d.txt").read_text(encoding="utf-8").strip() == report.strip()
    assert written == "written: out/conv2d.txt, out/conv2d-output.png"
    assert (place / "out" / "conv2d-output.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--target candidates:absent --like conv2d", "absent"),
        ("--target candidates --like conv2d", "package.module:Name"),
        ("--target candidates:right", "--like"),
        ("--target candidates:right --like conv7d", "conv7d"),
        ("--examples 0", "examples"),
        ("--target candidates:right --like conv2d --without dilations,speed", "unknown 'dilations', 'speed'"),
        ("--target candidates:right --like conv2d --dtypes float8", "dtypes must be some of float32"),
        ("--without groups", "--target"),
        ("--target candidates:right --like conv2d --names a=b", "neither 'a' nor 'b' is a name of torch's"),
        ("--target candidates:right --like conv2d --layout nhwx", "no order of the letters nchw"),
        ("--target candidates:right --like conv2d --fix stride=0", "no call of conv2d has stride=0"),
        ("--target candidates:right --like conv2d --backward absent", "absent"),
        ("--self-test --out here", "--self-test"),
        ("--thorough", "--self-test"),
        ("--probe", "--target"),
        ("--audit --probe", "--audit"),
    ],
)
def test_what_cannot_run_ends_with_status_2(place: Path, words: str, said: str) -> None:
    ended = parity(place, words)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_what_is_not_claimed_is_left_out(place: Path) -> None:
    words = "--target candidates:square --like conv2d --examples 60"
    ended = parity(place, words)
    assert ended.returncode == 1
    assert "diagnosis: if this is not claimed, leave it out: --without " in ended.stdout
    *_, command = ended.stdout.strip().splitlines()
    assert command.startswith(f"scratch-conv parity {words} --seed 0 --without ")
    ended = parity(place, f"{words} --probe")
    assert ended.returncode == 0, ended.stdout
    *_, command = ended.stdout.strip().splitlines()
    assert command == f"scratch-conv parity {words} --seed 0 {ended.stderr.splitlines()[-1][8:]}"
    ended = parity(place, f"{words} --dtypes float64 --without string_padding,rectangular")
    assert ended.returncode == 0, ended.stdout
    assert "left out: dilation, groups: kept at torch's default" in ended.stdout
    assert "left out: rectangular, string_padding, float32: not claimed" in ended.stdout


def test_what_could_not_be_tested_ends_with_status_2(place: Path) -> None:
    ended = parity(place, "--target candidates:mute --like conv2d")
    assert ended.returncode == 2
    assert "could not be tested" in ended.stdout


def test_the_operators_are_listed(place: Path) -> None:
    ended = parity(place, "--list")
    assert ended.returncode == 0
    assert ended.stdout.split() == list(OPERATORS)


def test_the_faults_are_listed(place: Path) -> None:
    ended = parity(place, "--list-faults --like relu")
    assert ended.returncode == 0
    faults = [fault for fault in FAULTS if fault.like == "relu"]
    assert ended.stdout.splitlines() == [f"relu: {fault.name}: {fault.wrong}" for fault in faults]


def test_the_options_are_the_same_everywhere() -> None:
    shared = {*CLAIMS, *CALLING}
    assert {"added" if name == "with" else name for name in shared} <= {
        *inspect.signature(command).parameters
    }
    assert {"with_" if name == "with" else name for name in shared} <= {*inspect.signature(check).parameters}
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser)
    (group,) = (each for each in parser._groups if each.name == "parity")
    names = {
        name.removeprefix("--parity-").replace("-", "_") for each in group.options for name in each.names()
    }
    assert shared <= names


def test_a_published_layer_is_tested_by_one_command(place: Path) -> None:
    words = "--target candidates:affine --backward affine_backward --like linear --weights io --examples 20"
    ended = parity(place, f"{words} --without unbatched,empty,further_axes")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "equal to torch" in ended.stdout


def test_what_a_target_prints_is_held_back(place: Path) -> None:
    ended = parity(place, "--target candidates:talking --like relu --examples 5")
    assert ended.returncode == 0, ended.stdout
    assert "note: what it prints is held back" in ended.stdout
    assert "hello" not in ended.stdout + ended.stderr


def test_the_help_lists_claims_and_loads_no_torch() -> None:
    code = "import sys; from scratch_conv.cli import main; main(); print('torch' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code, "parity", "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.stdout.splitlines()[-1] == "False"
    for word in ("--list", *FEATURES, *DTYPES):
        assert word in ended.stdout


def test_the_self_test_prints_a_table(place: Path) -> None:
    ended = parity(place, "--self-test --like relu")
    assert ended.returncode == 0, ended.stdout
    assert "│ relu: gradient-at-zero" in ended.stdout
    faults, variants = (sum(each.like == "relu" for each in some) for some in (FAULTS, SOUND))
    summary = f"{faults} of {faults} faults found by one seed, 0 false alarms of {variants} sound variants"
    assert summary in ended.stdout


def test_a_self_test_that_misses_a_fault_ends_with_status_1(place: Path) -> None:
    ended = parity(place, "--self-test --like relu --examples 1")
    assert ended.returncode == 1
    assert "NOT found" in ended.stdout


def test_our_own_layers_are_listed(place: Path) -> None:
    ended = parity(place, "--examples 20")
    assert ended.returncode == 0, ended.stdout
    assert "conv2d" in ended.stdout
    assert "max_pool2d" in ended.stdout


# The plugin of an installed package loads by itself; in a bare checkout it is named.
INSTALLED = any(entry.name == "scratch-conv-parity" for entry in entry_points(group="pytest11"))
NAMED = "" if INSTALLED else "-p scratch_conv.parity.plugin "
PLUGIN = f"pytest -q {NAMED}-p no:cacheprovider --parity-like conv2d --parity-examples 150"


def test_the_plugin_tests_each_aspect(place: Path) -> None:
    ended = run(place, *PLUGIN.split(), "--parity-target", "candidates:right")
    assert ended.returncode == 0, ended.stdout
    assert "8 passed" in ended.stdout


def test_the_plugin_knows_what_is_listed(place: Path) -> None:
    (place / "known").write_text(
        "parity::conv2d::unbatched\nparity::conv2d::together # as well\nparity::conv2d::values\n",
        encoding="utf-8",
    )
    words = ("--parity-target", "candidates:batched", "--parity-xfails-file", "known")
    ended = run(place, *PLUGIN.split(), *words)
    assert ended.returncode == 1
    assert "1 failed, 5 passed, 2 xfailed" in ended.stdout
    assert "parity::conv2d::values" in ended.stdout
    assert "passes, though known lists it as known to fail: take it off" in ended.stdout


def test_the_plugin_covers_what_follows_from_what_is_listed(place: Path) -> None:
    (place / "known").write_text("parity::conv2d::unbatched\n", encoding="utf-8")
    words = ("--parity-target", "candidates:batched", "--parity-xfails-file", "known")
    ended = run(place, *PLUGIN.split(), *words, "-m", "xfail or not xfail", "-k", "unbatched or together")
    assert ended.returncode == 0, ended.stdout
    assert "1 passed, 6 deselected, 1 xfailed" in ended.stdout
    ended = run(place, *PLUGIN.split(), *words, "-m", "xfail", "--runxfail")
    assert "1 failed, 7 deselected" in ended.stdout


def test_the_plugin_leaves_out_what_is_not_claimed(place: Path) -> None:
    words = ("--parity-target", "candidates:square", "--parity-without", "string_padding,rectangular,empty")
    ended = run(place, *PLUGIN.split(), *words, "--parity-dtypes", "float64", "--collect-only")
    tests = [line.rpartition("::")[2] for line in ended.stdout.splitlines() if "parity::conv2d::" in line]
    assert tests == ["float64", "gradients", "layouts", "unbatched", "special-values", "together"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--parity-target candidates:absent", "absent"),
        ("--parity-target candidates:right --parity-without speed", "unknown 'speed'"),
        (
            "--parity-target candidates:right --parity-xfails-file candidates.py",
            "the tests are parity::conv2d::values",
        ),
        ("--parity-target candidates:right --parity-xfails-file absent", "--parity-xfails-file"),
    ],
)
def test_the_plugin_refuses_what_it_cannot_use(place: Path, words: str, said: str) -> None:
    ended = run(place, *PLUGIN.split(), *words.split())
    assert ended.returncode == 4
    assert said in ended.stderr


def test_the_plugin_leaves_the_names_of_options_to_others(place: Path) -> None:
    conftest = """
def pytest_addoption(parser):
    for name in ("--like", "--examples", "--max-examples", "--xfails-file", "--with", "--dtypes"):
        parser.addoption(name)
"""
    (place / "conftest.py").write_text(conftest, encoding="utf-8")
    words = ("--parity-target", "candidates:right", "--max-examples", "7", "--xfails-file", "none")
    ended = run(place, *PLUGIN.split(), *words, "--collect-only")
    assert ended.returncode == 0, ended.stderr
    assert "parity::conv2d::values" in ended.stdout


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['hypothesis'] = None\nfrom scratch_conv.parity import check"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "pip install 'scratch-conv[parity]'" in ended.stderr.splitlines()[-1]
