"""No candidate reaches what it is judged by, and none takes anything with it."""

import os
import pickle
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import scratch_conv
from scratch_conv.parity import check
from scratch_conv.parity.judging.isolate import Isolated, _fork, _serve

ROOT = Path(scratch_conv.__file__).parent.parent
EXAMPLES = 12


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


def halved(input: Tensor, inplace: bool = False) -> Tensor:
    """Return half of what is right."""
    return input.clamp_min(0) / 2


def test_a_function_put_in_torchs_place_is_not_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "relu", halved)
    monkeypatch.setattr(torch, "relu", halved)
    report = check(halved, "relu", EXAMPLES, further=False)
    assert "differs in" in report.differences[0].message, str(report)


@pytest.mark.parametrize("name", ["equal", "allclose", "isclose"])
def test_a_comparison_put_in_torchs_place_compares_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch, name, lambda *tensors, **arguments: True)
    monkeypatch.setattr(Tensor, "all", lambda *tensors, **arguments: torch.ones((), dtype=torch.bool))
    assert not check(halved, "relu", EXAMPLES, further=False)


def test_gradients_that_a_candidate_switches_off_are_missed() -> None:
    def forgetting(input: Tensor) -> Tensor:
        torch.set_grad_enabled(False)
        return F.relu(input)

    report = check(forgetting, "relu", 30, further=False)
    assert [each.message for each in report.differences] == ["grad_input is unknown to autograd"]
    torch.set_grad_enabled(False)
    assert "unknown to autograd" in str(check(F.relu, "relu", 30, further=False))


def test_torchs_modes_are_those_of_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float64)
    assert check(F.linear, "linear", EXAMPLES)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert check(F.linear, "linear", EXAMPLES)


def test_a_copy_of_the_process_does_not_answer_for_the_candidate() -> None:
    def forking(input: Tensor) -> Tensor:
        if os.fork() == 0:
            return F.relu(input)
        time.sleep(0.05)
        return input.clamp_min(0) / 2

    assert "differs in" in check(forking, "relu", 3, further=False).differences[0].message


def test_what_a_candidate_writes_where_it_answers_is_skipped() -> None:
    def noisy(input: Tensor) -> Tensor:
        for path in Path("/proc/self/fd").iterdir():
            if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
                os.write(int(path.name), b"\x80\x04 nothing that could be read" * 50)
        return F.relu(input)

    assert check(noisy, "relu", EXAMPLES)


def test_a_candidate_that_closes_what_it_answers_by_is_reported() -> None:
    def closing(input: Tensor) -> Tensor:
        os.closerange(3, 300)
        return F.relu(input)

    assert "closed the file descriptor by which it answers" in str(check(closing, "relu", 3, further=False))


def test_what_a_candidate_has_started_is_ended_with_it(tmp_path: Path) -> None:
    file = tmp_path / "started"

    def starting(input: Tensor) -> Tensor:
        if not file.exists():
            file.write_text(str(subprocess.Popen(["sleep", "300"]).pid))
        return F.relu(input)

    assert check(starting, "relu", 3)
    running = Path(f"/proc/{file.read_text()}")
    while running.exists() and " Z " not in (running / "stat").read_text():
        time.sleep(0.01)


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "scratch_conv.cli", "parity", *words]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("leaving", ["sys.exit(0)", "os._exit(0)", "raise KeyboardInterrupt"])
def test_a_target_that_leaves_on_import_could_not_be_tested(tmp_path: Path, leaving: str) -> None:
    (tmp_path / "leaving.py").write_text(f"import os, sys\n{leaving}\n")
    ended = run(tmp_path, "--target", "leaving:f", "--like", "relu")
    assert ended.returncode == 2
    assert "cannot load leaving:f: " in ended.stderr


def test_a_target_that_changes_torch_on_import_is_found(tmp_path: Path) -> None:
    code = (
        "import torch\nfrom torch.nn import functional\n"
        "def relu(input):\n    return 1.5 * input.clamp_min(0)\n"
        "functional.relu = torch.relu = relu\ntorch.equal = lambda *both: True\n"
    )
    (tmp_path / "mine.py").write_text(code)
    ended = run(tmp_path, "--target", "mine:relu", "--like", "relu", "--examples", "20")
    assert ended.returncode == 1
    assert "output differs in" in ended.stdout


class Compiling:
    """Takes long over the first request."""

    called = False

    def __call__(self, request: tuple[str]) -> str:
        """Return the request's word."""
        if not self.called:
            time.sleep(1.5)
        self.called = True
        return request[0]


def test_a_longer_first_call_is_waited_for() -> None:
    with Isolated(Compiling, time_limit=1.0) as isolated:
        assert [isolated(("observe",)) for _ in range(3)] == ["observe"] * 3


class Spinning:
    """Works for a second over each request."""

    def __call__(self, request: tuple[str]) -> str:
        """Return the request's word."""
        before = time.process_time()
        while time.process_time() < before + 1.0:
            pass
        return request[0]


@pytest.mark.skipif(sys.platform != "linux", reason="tells by /proc whether a process waits for a processor")
def test_who_waits_for_a_processor_is_told_from_who_works_and_who_waits_for_something_else() -> None:
    child = _fork(_serve, Spinning)
    try:
        child.channel.send(pickle.dumps(("work",)))
        while child.is_kept_waiting(1.0):  # until it has worked for half a second
            time.sleep(0.01)
        assert child.is_kept_waiting(1000.0)
        child.channel.receive(60.0)
        time.sleep(0.1)
        assert not child.is_kept_waiting(1000.0)  # it waits for a request
    finally:
        child.stop()
