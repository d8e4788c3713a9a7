"""What a user's type checker makes of the public names."""

import re
import subprocess
import sys
from pathlib import Path

import scratch_conv as sc

ROOT = Path(__file__).parents[1]

EXPECTED = {
    "sc.swap(model)": "scratch_conv.swapping.report.SwapReport",
    "sc.swap(model).swapped": "tuple[str, ...]",
    "sc.restore(model)": "None",
    "sc.is_swapped(model)": "bool",
    "sc.verify(model, x)": "scratch_conv.swapping.verification.Verification",
    "bool(sc.verify(model, x))": "bool",
    "sc.verify(model, x).rows[0].name": "str",
    "sc.nn.Conv2d(1, 2, 3)": "scratch_conv.nn.convolution.Conv2d",
    "sc.nn.Conv2d(1, 2, (3, 3), padding='same').weight": "torch._tensor.Tensor",
    "sc.functional.conv2d(x, x, stride=[1, 2], padding='valid')": "torch._tensor.Tensor",
    "sc.functional.avg_pool2d(x, (2, 2), [1, 1])": "torch._tensor.Tensor",
    "sc.parity.check(torch.nn.functional.relu, like='relu')": "scratch_conv.parity.reporting.report.Report",
    "sc.parity.check(torch.nn.functional.relu, like='relu').passed": "bool",
    "sc.set_num_threads(2)": "None",
    "sc.layers.Conv2D(1, 2, 3).weight": "numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]",
    "sc.layers.ReLU()(a)": "numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]",
    "sc.layers.Sequential(sc.layers.ReLU()).backward(a)": "numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]",
    "sc.layers.accuracy(sc.layers.ReLU(), a, a)": "float",
}
ERRORS = {
    "sc.swop(model)": "attr-defined",
    "sc.swap('model')": "arg-type",
    "sc.nn.Conv2D": "attr-defined",
    "sc.functional.conv2d(x)": "call-arg",
    "sc.layers.Conv2D(1, 2)": "call-arg",
}
FUNCTIONS = {
    f"sc.{room}.{name}"
    for room in ("functional", "nn", "layers", "kernels", "parity")
    for name in getattr(sc, room).__all__
    if callable(getattr(getattr(sc, room), name))
}
POOLING = {
    f"sc.functional.{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)
}  # torch's own return Any, since they return indices too, if asked


def test_a_strict_type_checker_knows_the_public_names(tmp_path: Path) -> None:
    lines = ["import numpy as np", "import torch", "import scratch_conv as sc"]
    lines += ["model, x, a = torch.nn.ReLU(), torch.zeros(1), np.zeros(1)"]
    lines += [f"reveal_type({expression})" for expression in (*EXPECTED, *FUNCTIONS)]
    lines += [*ERRORS, "with sc.override(), sc.using_num_threads(2), sc.using_winograd(True):", "    pass"]
    file = tmp_path / "users.py"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    # This package's own settings are strict, and what is known from checking it is not computed again.
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    types, errors = {}, {}
    for number, kind, said in re.findall(r"users\.py:(\d+): (note|error): (.*)", result.stdout):
        line = lines[int(number) - 1]
        if kind == "error":
            errors[line] = said.rpartition("[")[2].rstrip("]")
        elif said.startswith("Revealed"):
            types[line.removeprefix("reveal_type(")[:-1]] = said.split('"')[1]
    assert errors == ERRORS, result.stdout + result.stderr
    assert {name: types[name] for name in EXPECTED} == EXPECTED
    unknown = {name for name in FUNCTIONS if not types[name].startswith(("def (", "def [", "Overload("))}
    assert unknown == set()
    assert {name for name in FUNCTIONS if types[name].endswith("-> Any")} == POOLING
