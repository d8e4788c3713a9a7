"""The `scratch-conv` command, as it is typed."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scratch_conv.cli import main

EPOCHS = 3

Command = Callable[..., tuple[int, str, str]]


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which nothing was downloaded before, and no server can be reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    cache = str(tmp_path / "cache")
    return {"XDG_CACHE_HOME": cache, "https_proxy": closed, "http_proxy": closed, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    offline: dict[str, str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Command:
    """Call the command in this process, from an empty folder, and return its status and what it printed."""
    for name, value in {**offline, "OMP_WAIT_POLICY": "PASSIVE"}.items():
        monkeypatch.setenv(name, value)
    # Or else the first import of matplotlib writes its list of fonts to XDG_CACHE_HOME.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp()))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scratch-conv", *map(str, arguments)])
        return main(), *capsys.readouterr()

    return call


def test_compare_from_start_to_report_and_resumed(
    tmp_path: Path, offline: dict[str, str], command: Command
) -> None:
    out = tmp_path / "new" / "run"
    options = (
        f"--precision 64-true --limit 200 --limit-test 40 --epochs {EPOCHS} --batch-size 10 --out".split()
    )
    process = run_python("-m", "scratch_conv.cli", "compare", *options, str(out), **offline)
    assert (process.returncode, process.stderr) == (0, "")
    assert_printed(process.stdout)
    assert_summary(json.loads((out / "summary.json").read_text()))
    assert_metrics(out)
    assert_report(out)

    results = {path: path.stat().st_mtime_ns for path in out.rglob("result.pt")}
    assert len(results) == 5
    status, stdout, _ = command("compare", *options, out, "--resume")
    assert status == 0
    assert "epoch 1/" not in stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.pt")} == results
    assert process.stdout[process.stdout.index("┏") :] in stdout  # the same tables


def assert_printed(stdout: str) -> None:
    """Check the message about the data set, a line for each epoch, and the tables."""
    first, second, *_ = stdout.splitlines()
    assert first.startswith("cifar10 cannot be downloaded (")
    assert first.endswith("); using the built-in shapes instead")
    assert "200 of 50,000 training and 40 of 10,000 test images of 10 classes" in second
    for backend in ("torch", "scratch"):
        assert f"{backend}  epoch {EPOCHS}/{EPOCHS}  loss " in stdout
    for name in ("test accuracy", "training loss", "seconds an epoch", "peak memory", "scratch / torch"):
        assert name in stdout
    for title in ("torch on 2 threads", "torch without oneDNN", "torch, batches reversed"):
        begins = stdout.index(f"\n{title}  50 steps begin\n")
        assert begins < stdout.index(f"\n{title}  50 steps done  loss ")
    assert "\nVerdict: no difference beyond " in stdout
    assert " in other orders of summation, within 50 steps: losses by " in stdout
    assert "; nor with the trained weights: predictions by " in stdout
    assert "; test accuracy, of one seed: torch " in stdout


def assert_summary(summary: dict[str, Any]) -> None:
    """Check every key that is promised."""
    assert (summary["dataset"], summary["model"]) == ("shapes", "simple-cnn")
    assert (summary["epochs"], summary["seed"]) == (EPOCHS, 0)
    assert (summary["data"]["train"], summary["data"]["test"]) == (200, 40)
    assert list(summary["backends"]) == ["torch", "scratch"]
    for figures in summary["backends"].values():
        for name in ("test_accuracy", "train_loss", "seconds_per_epoch"):
            assert len(figures[name]) == EPOCHS
        assert all(0 <= accuracy <= 1 for accuracy in figures["test_accuracy"])
        assert figures["parameters"] == 620_362
        assert 100e6 < figures["peak_memory_bytes"] < 10e9
    drift = summary["drift"]
    assert (drift["within_bound"], drift["is_torchs_own"]) == (True, True)
    steps = {"losses": 50, "norms of gradients": 50, "weights": 6}  # after 1, 2, 5, 10, 20, 50 steps
    trained = {"predictions": 1, "gradients": 1}
    for name, measured in {**drift["backends"], **drift["yardsticks"]}.items():
        counts = {measure: len(differences) for measure, differences in measured.items()}
        assert counts == (steps | trained if name in ("scratch", "torch without oneDNN") else steps)
    assert max(drift["backends"]["scratch"]["losses"].values()) <= 1e-8


def assert_metrics(out: Path) -> None:
    """Compare metrics.csv with summary.json."""
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["backend"], row["epoch"]) for row in rows] == [
        (backend, str(epoch)) for backend in ("torch", "scratch") for epoch in range(1, EPOCHS + 1)
    ]
    summary = json.loads((out / "summary.json").read_text())
    assert [float(row["train_loss"]) for row in rows[:EPOCHS]] == summary["backends"]["torch"]["train_loss"]


def assert_report(out: Path) -> None:
    """Check that the page is there, and that the images are complete."""
    page = (out / "report.html").read_text()
    assert "200 of 50,000 training and 40 of 10,000 test images" in page
    for name in ("curves", "drift"):
        Image.open(out / f"{name}.png").verify()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare --epochs 0", "--epochs 0: must be at least 1"),
        ("compare --epochs three", "Invalid value for '--epochs'"),
        ("compare --batch-size 0", "--batch-size 0: must be at least 1"),
        ("compare --lr 0", "--lr 0.0: must be a positive number"),
        ("compare --lr nan", "--lr nan: must be a positive number"),
        ("compare --seed -1", "--seed -1: must be at least 0"),
        ("compare --seed 4294967296", "--seed 4294967296: must be at least 0 and less than 2**32"),
        ("compare --limit 0", "--limit 0: must be at least 1"),
        ("compare --precision 16", "--precision 16: unknown, choose from 32, 64-true"),
        ("compare --optimizer rmsprop", "--optimizer rmsprop: unknown, choose from adam, sgd"),
        ("compare --model resnet-9000", "--model resnet-9000: unknown, choose from simple-cnn, mnist-cnn"),
        ("compare --schedule cosine", "--schedule cosine: unknown, choose from constant, one-cycle"),
        ("compare --model nowhere:net", "--model nowhere:net: ModuleNotFoundError"),
        ("compare --dataset shapes --model vit_b_16 --limit 20", "--model vit_b_16: cannot be trained on"),
        ("compare --dataset shapes --model resnet18 --limit 1", "batches of 1 images of 3x32x32: ValueError"),
        (
            "compare --dataset shapes --model resnet20 --numpy --limit 20",
            "--model resnet20 in NumPy alone: there is no layer in NumPy for Shortcut",
        ),
        (
            "train --dataset lines --model mnist-cnn",
            "mnist-cnn: cannot be trained on batches of 80 images",
        ),
        ("compare --resume", "--resume: needs --out, the folder of the run to continue"),
        (
            "compare --data-dir half --dataset mnist",
            "half: holds images in folders, not MNIST in torchvision's",
        ),
        ("train --dataset fashion-mnist", "or train on what is built in: --dataset shapes"),
        ("compare --dataset imagenet", "--dataset imagenet: unknown, choose from cifar10, cifar100"),
        ("compare --dataset folder", "--dataset folder: needs --data-dir"),
        ("compare --data-dir nowhere", "--data-dir nowhere: no such folder"),
        ("compare --data-dir empty", "--data-dir empty: the folder is empty"),
        ("compare --data-dir file", "--data-dir file: not a folder"),
        (
            "compare --data-dir other",
            "--data-dir other: holds neither train/ and test/ folders nor a complete cifar10",
        ),
        ("compare --data-dir MNIST", "--data-dir MNIST: name the folder that holds MNIST/"),
        ("compare --data-dir half", "--data-dir half: has no folder test/"),
        ("compare --data-dir damaged", "damaged/test/b/0.png: not an image that can be read"),
        ("compare --data-dir unequal", "different classes, see: c"),
        ("compare --data-dir other --dataset shapes", "--dataset shapes is drawn, not read"),
        ("compare --dataset mnist", "mnist cannot be downloaded"),
        ("compare --dataset cifar10", "cifar10 cannot be downloaded"),
        ("compare --dataset shapes --out file", "--out file: file is a file, not a folder"),
        ("compare --dataset shapes --out file/run", "--out file/run: "),
        ("compare --dataset shapes --out taken", "taken/checkpoints is a file, not a folder"),
        ("compare --dataset shapes --out /proc/run", "--out /proc/run: cannot be written"),
        ("compare --colour blue", "--colour"),
        ("report", "Missing argument 'DIR...'"),
        ("report nowhere", "nowhere: holds no finished run (summary.json: No such file or directory)"),
        ("report file", "file: holds no finished run (summary.json: Not a directory)"),
        ("train --backend jax", "--backend jax: unknown, choose from torch, scratch, numpy"),
        ("paint", "paint"),
        ("", "command"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    command: Command, tmp_path: Path, arguments: str, message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/checkpoints").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").touch()
    (tmp_path / "MNIST/raw").mkdir(parents=True)
    for path in (
        *(f"damaged/{split}/{label}" for split in ("train", "test") for label in "ab"),
        *("half/train/a", "half/train/b", "unequal/train/a", "unequal/train/b"),
        *("unequal/test/a", "unequal/test/b", "unequal/test/c"),
    ):
        (tmp_path / path).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / path / "0.png")
    (tmp_path / "damaged/test/b/0.png").write_bytes(b"\x89PNG")
    before = sorted(tmp_path.rglob("*"))

    status, stdout, stderr = command(*arguments.split())

    assert status == 2
    assert stderr.startswith("scratch-conv: ")
    assert stderr.count("\n") == 1, stderr
    assert message in stderr
    assert stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_compare_with_numpy_alone(command: Command, tmp_path: Path) -> None:
    limits = "--limit 60 --limit-test 20 --epochs 2 --batch-size 20"
    options = f"--dataset shapes --precision 64-true --numpy {limits} --out run"
    status, stdout, _ = command("compare", *options.split())
    assert status == 0
    for heading in ("torch", "scratch", "numpy", "numpy / torch"):
        assert heading in stdout
    assert "\nVerdict: no difference beyond " in stdout
    assert " in other orders of summation, within 6 steps: losses by " in stdout
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert list(summary["backends"]) == ["torch", "scratch", "numpy"]
    assert list(summary["drift"]["backends"]) == ["scratch", "numpy"]
    assert summary["drift"]["within_bound"] is True
    assert "numpy / torch" in (tmp_path / "run/report.html").read_text()


@pytest.mark.parametrize("model", ["mnist-cnn", "dense"])
def test_train_in_numpy_alone(command: Command, tmp_path: Path, model: str) -> None:
    out = tmp_path / "run"
    limits = "--limit 100 --limit-test 20 --epochs 2"
    options = f"--backend numpy --dataset shapes --model {model} {limits} --out {out}".split()
    status, stdout, _ = command("train", *options)
    assert status == 0
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["backends"]) == ["numpy"]
    assert (summary["settings"]["optimizer"], summary["settings"]["lr"]) == ("sgd", 0.01)
    assert "━" in stdout
    with (out / "metrics.csv").open(newline="") as file:
        assert [row["backend"] for row in csv.DictReader(file)] == ["numpy", "numpy"]
    Image.open(out / "curves.png").verify()
    assert "Nothing to compare: trained with numpy alone" in re.sub(
        "<[^>]*>", "", (out / "report.html").read_text()
    )
    assert (out / "checkpoints/numpy/epoch=1.npz").exists()


def test_runs_are_reported_on_one_page(command: Command, tmp_path: Path) -> None:
    limits = "--limit 20 --limit-test 10 --epochs 1"
    for seed in "12":
        options = f"--backend numpy --dataset lines --model dense {limits} --out run{seed} --seed {seed}"
        assert command("train", *options.split())[0] == 0
    before = sorted(tmp_path.rglob("*"))
    for name, message in (("run1", "is a folder, not a file"), ("run2/report.html", "is the page of a run")):
        status, stdout, stderr = command("report", "run1", "run2", "--out", name)
        assert (status, stdout) == (2, "")
        assert stderr.startswith(f"scratch-conv: --out {name}: {message}")
    assert sorted(tmp_path.rglob("*")) == before
    status, stdout, _ = command("report", "run1", "run2")
    assert (status, stdout.splitlines()[-1]) == (0, "The report is report.html")
    assert "run2: nothing to compare: trained with numpy alone.\n" in stdout
    page = (tmp_path / "report.html").read_text()
    for value in ("run1, numpy", "run2, numpy", "--seed", "sha256"):
        assert f">{value}<" in page


def test_seeds_are_added_to_a_run_and_left_out(command: Command, tmp_path: Path) -> None:
    """Only what is new is trained, and the report follows."""
    options = "train --backend numpy --dataset shapes --model dense --limit 40 --limit-test 20 --epochs 1"
    options += " --seed 4 --out run --resume --seeds"
    times: list[dict[Path, int]] = []
    accuracies = []
    for seeds in (2, 3, 1):
        assert command(*options.split(), str(seeds))[0] == 0
        times.append({path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("result.pt")})
        summary = json.loads((tmp_path / "run/summary.json").read_text())
        accuracies.append(summary["accuracies"]["numpy"]["values"])
    assert [len(results) for results in times] == [2, 3, 3]
    assert times[0].items() < times[1].items() == times[2].items()
    assert [len(values) for values in accuracies] == [2, 3, 1]
    assert accuracies[0] == accuracies[1][:2]
    assert command(*options.replace("--resume --seeds", "--overwrite").split())[0] == 0
    assert [path.parent.name for path in (tmp_path / "run").rglob("result.pt")] == ["numpy"]


def test_bad_input_ends_a_real_process_with_status_2(tmp_path: Path) -> None:
    process = run_python("-m", "scratch_conv.cli", "train", "--data-dir", str(tmp_path / "nowhere"))
    assert process.returncode == 2
    assert process.stderr == f"scratch-conv: --data-dir {tmp_path / 'nowhere'}: no such folder\n"


@pytest.mark.parametrize(
    "module", ["typer", "rich", "lightning", "torchvision", "matplotlib", "jinja2", "scipy"]
)
def test_a_missing_extra_is_named(module: str) -> None:
    code = f"import sys; sys.modules['{module}'] = None; from scratch_conv.cli import main; sys.exit(main())"
    process = run_python("-c", code, "compare", "--dataset", "shapes")
    assert process.returncode == 2
    assert process.stderr == f"scratch-conv: {module} is not installed: pip install 'scratch-conv[train]'\n"


@pytest.mark.parametrize("module", ["typer", "rich", "hypothesis"])
def test_a_missing_extra_of_the_parity_suite_is_named(module: str) -> None:
    code = f"import sys; sys.modules['{module}'] = None; from scratch_conv.cli import main; sys.exit(main())"
    process = run_python("-c", code, "parity", "--examples", "1")
    assert process.returncode == 2
    assert process.stderr == f"scratch-conv: {module} is not installed: pip install 'scratch-conv[parity]'\n"


def test_a_missing_torch_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None; from scratch_conv.cli import main; sys.exit(main())"
    process = run_python("-c", code, "demo", "filters")
    assert process.returncode == 2
    assert process.stderr == "scratch-conv: torch is not installed: pip install torch\n"


def test_help_loads_no_torch_and_the_wait_policy_is_set_before_it() -> None:
    code = (
        "import os, sys; os.environ.pop('OMP_WAIT_POLICY', None); from scratch_conv.cli import main; main();"
        "print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    )
    process = run_python("-c", code, "compare", "--help")
    assert process.stdout.splitlines()[-1] == "False PASSIVE"
    for option in ("--dataset", "--data-dir", "--model", "--epochs", "--batch-size", "--lr", "--seed"):
        assert option in process.stdout
    for option in ("--precision", "--limit", "--out", "--resume"):
        assert option in process.stdout


def test_a_wait_policy_of_the_users_own_is_kept() -> None:
    code = "import os; from scratch_conv.cli import main; main(); print(os.environ['OMP_WAIT_POLICY'])"
    process = run_python("-c", code, "--help", OMP_WAIT_POLICY="ACTIVE")
    assert process.stdout.splitlines()[-1] == "ACTIVE"


@pytest.mark.parametrize("options", [["--version"], ["-h"], ["train", "-h"], ["--show-completion", "bash"]])
def test_options_that_only_print(options: list[str]) -> None:
    # shellingham, which finds out the shell, has none to find in a test
    process = run_python("-m", "scratch_conv", *options, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (process.returncode, process.stderr) == (0, "")
    expected = {"--version": "scratch-conv 0.", "-h": "compare", "train": "--backend"}
    assert expected.get(options[0], "_SCRATCH_CONV_COMPLETE") in process.stdout


def test_a_shell_completes_commands() -> None:
    asked = {"_SCRATCH_CONV_COMPLETE": "complete_bash", "COMP_WORDS": "scratch-conv c", "COMP_CWORD": "1"}
    process = run_python("-m", "scratch_conv", **asked)
    assert (process.returncode, process.stdout.split()) == (0, ["compare"])


def test_resume_says_where_there_is_nothing_to_resume(command: Command) -> None:
    limits = "--limit 40 --limit-test 20 --epochs 1"
    options = f"--backend numpy --dataset lines --model small-cnn {limits} --out run --resume"
    status, stdout, _ = command("train", *options.split())
    assert status == 0
    assert "--resume: run holds no run yet; this is a new one" in stdout
    _, stdout, _ = command("train", *options.split())
    assert "holds no run" not in stdout
