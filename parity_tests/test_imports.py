"""The directions of the imports, and what each part of the package needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import scratch_conv

PACKAGE = Path(scratch_conv.__file__).parent

MAY_IMPORT = {
    "kernels": {"kernels"},
    "layers": {"kernels", "layers"},
    "autograd": {"autograd", "kernels"},
    "functional": {"autograd", "functional", "kernels"},
    "nn": {"functional", "nn"},
    "swapping": {"functional", "nn", "swapping"},
    "parity": {"functional", "parity"},
    "training": {"__version__", "kernels", "layers", "nn", "swapping", "training"},
    "demos": {"demos", "kernels", "layers", "training"},
    "cli.py": {"demos", "parity", "training"},
}

MAY_IMPORT_INSIDE = {
    "training": {
        "settings.py": set(),
        "data": {"data", "settings"},
        "backends": {"backends", "data", "settings"},
        "run_folder.py": {"backends", "settings"},
        "seeds.py": {"backends"},
        "comparison.py": {"backends", "data", "run_folder", "seeds", "settings"},
        "reporting": {"backends", "comparison", "data", "reporting", "seeds", "settings"},
        "commands.py": {"backends", "comparison", "data", "reporting", "run_folder", "settings"},
    },
    "parity": {
        "drawing": {"drawing"},
        "operators": {"drawing", "operators"},
        "candidates": {"candidates", "drawing", "operators"},
        "catalogue": {"catalogue", "drawing", "operators"},
        "judging": {"candidates", "drawing", "judging", "operators"},
        "reporting": {"candidates", "catalogue", "drawing", "judging", "operators", "reporting"},
        "searching.py": {"drawing", "judging"},
        "suspects.py": {"drawing", "operators"},
        "auditing.py": {"candidates", "drawing", "judging", "operators", "searching", "suspects"},
        "options.py": {"candidates", "drawing", "operators"},
        "answering.py": {"candidates", "drawing", "judging", "operators", "reporting", "searching"},
        "checking.py": {
            "answering",
            "candidates",
            "drawing",
            "judging",
            "operators",
            "options",
            "reporting",
            "searching",
        },
        "probing.py": {"checking", "options", "reporting"},
        "self_testing.py": {"catalogue", "checking", "reporting"},
        "plugin.py": {"candidates", "checking", "drawing", "operators", "options"},
        "commands.py": {
            "auditing",
            "candidates",
            "catalogue",
            "checking",
            "drawing",
            "operators",
            "options",
            "probing",
            "reporting",
            "self_testing",
        },
    },
}
INSIDE = [(package, room) for package, rooms in MAY_IMPORT_INSIDE.items() for room in rooms]


def run(code: str) -> None:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_kernels_work_where_torch_cannot_be_imported() -> None:
    run(
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from scratch_conv import kernels\n"
        "window = kernels.Window((2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))\n"
        "kernels.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), None, window, 1)\n"
    )


def test_layers_work_where_torch_cannot_be_imported() -> None:
    run(
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from scratch_conv.layers import *\n"
        "network = Sequential(Conv2D(1, 2, 3), Flatten(), Dense(8, 3))\n"
        "loss, optimizer = SoftmaxCrossEntropy(), SGD(network)\n"
        "loss.forward(network.forward(np.ones((1, 1, 4, 4))), np.array([2]))\n"
        "network.backward(loss.backward())\n"
        "optimizer.step()\n"
    )


def test_demos_work_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    run(
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from scratch_conv.demos import edges, gradcheck, lines, notebook\n"
        f"edges.run(None, Path({str(tmp_path)!r}))\n"
        f"notebook.run(Path({str(tmp_path)!r}) / 'course.ipynb')\n"
    )


@pytest.mark.parametrize(
    ("names", "loaded"),
    [("sc", {"scratch_conv"}), ("sc.swap, sc.verify, sc.nn", {"numpy", "scratch_conv", "threadpoolctl"})],
)
def test_importing_loads_nothing_else(names: str, loaded: set[str]) -> None:
    """Beside torch; and of torch what counts operations, not the compiler."""
    run(
        "import sys, torch, torch.utils.flop_counter\n"
        "before = {*sys.modules}\n"
        f"import scratch_conv as sc; {names}\n"
        "new = {name.partition('.')[0] for name in {*sys.modules} - before}\n"
        f"assert new - {{*sys.stdlib_module_names}} == {loaded}, new\n"
    )


def test_importing_the_package_does_not_load_torch() -> None:
    run("import sys, scratch_conv; assert not {'torch', 'numpy'} & {*sys.modules}")


def test_the_core_needs_no_extra() -> None:
    extras = ["hypothesis", "lightning", "matplotlib", "torchvision", "typer", "rich", "jinja2"]
    block = "".join(f"sys.modules[{name!r}] = None\n" for name in extras)
    names = "sc.swap, sc.restore, sc.override, sc.nn, sc.functional, sc.set_num_threads, sc.free_scratch"
    run(f"import sys\n{block}import scratch_conv as sc\n{names}")


def test_every_room_has_its_directions() -> None:
    rooms = {
        path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__.py", "__main__.py"} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room: str) -> None:
    place = PACKAGE / room
    for file in place.rglob("*.py") if place.is_dir() else [place]:
        assert imported_rooms(file) <= MAY_IMPORT[room], file


@pytest.mark.parametrize(("package", "room"), INSIDE)
def test_imports_inside_a_package_point_one_way(package: str, room: str) -> None:
    place, allowed = PACKAGE / package / room, MAY_IMPORT_INSIDE[package][room]
    for file in place.rglob("*.py") if place.is_dir() else [place]:
        assert imported_rooms(file, f"scratch_conv.{package}") <= allowed, file


@pytest.mark.parametrize("package", MAY_IMPORT_INSIDE)
def test_no_room_inside_a_package_is_forgotten(package: str) -> None:
    rooms = {path.name for path in (PACKAGE / package).iterdir() if path.suffix == ".py" or path.is_dir()}
    known = {"__init__.py", "__pycache__"}
    assert rooms - known == set(MAY_IMPORT_INSIDE[package])


def test_a_report_needs_no_trainer() -> None:
    run("import sys, scratch_conv.training.reporting.report; assert 'lightning' not in sys.modules")


def imported_rooms(file: Path, package: str = "scratch_conv") -> set[str]:
    rooms, prefix = set(), f"{package}."
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        if isinstance(node, ast.ImportFrom) and node.module == package:
            modules = [f"{prefix}{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        rooms |= {each.removeprefix(prefix).split(".")[0] for each in modules if each.startswith(prefix)}
    return rooms
