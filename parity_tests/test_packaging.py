"""The source distribution: built, installed from, and used where no checkout is."""

import os
import subprocess
import sys
from pathlib import Path

import scratch_conv as sc

ROOT = Path(__file__).parents[1]

USE = """
import importlib.metadata
import sys
from pathlib import Path

import torch
import scratch_conv as sc

assert Path(sc.__file__).parent == Path(sys.argv[1]) / "scratch_conv", sc.__file__
for name in ("py.typed", "parity/README.md", "layers/README.md"):
    assert (Path(sc.__file__).parent / name).is_file(), name

about = importlib.metadata.metadata("scratch-conv")
assert (about["Version"], about["License-Expression"]) == (sc.__version__, "MIT")
assert "Layers of a convolutional network" in about.get_payload()
[plugin] = importlib.metadata.entry_points(group="pytest11", name="scratch-conv-parity")
assert plugin.load().__file__ == f"{sys.argv[1]}/scratch_conv/parity/plugin.py"

model, x = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU()), torch.randn(1, 1, 5, 5)
expected = model(x)
assert sc.swap(model).swapped == ("0", "1")
torch.testing.assert_close(model(x), expected)
"""


def test_an_installed_source_distribution_works(tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def run(*command: str | Path, folder: Path = elsewhere) -> str:
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, folder=ROOT)
    [sdist] = tmp_path.glob("scratch_conv-*.tar.gz")
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", target)
    run(sys.executable, "-m", "pip", "install", *options, sdist)

    run(sys.executable, "-c", USE, target)
    command = target / "bin/scratch-conv"
    assert run(command, "--version") == f"scratch-conv {sc.__version__}\n"
    run(command, "demo", "edges", "--out", "images")
    assert (elsewhere / "images/edges.png").is_file()
    run(command, "demo", "notebook")
    assert (elsewhere / "convolution.ipynb").stat().st_size > 10_000
