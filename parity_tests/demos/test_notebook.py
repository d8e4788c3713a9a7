"""The guided notebook: it runs from top to bottom, and its exercises teach what they say."""

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from scratch_conv.demos.notebook import notebook, run, source

MISTAKES = {
    "MyConv": "kernel-flipped",
    "MyConvWithGradient": "weight-gradient-averaged",
    "MyConvWithBothGradients": "col2im-overwrites",
    "MyMaxPool": "ties-to-every-winner",
    "MyLoss": "gradient-of-the-sum",
}


def test_it_runs_and_its_exercises_teach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # without CIFAR-10
    monkeypatch.chdir(tmp_path)
    run(Path("course.ipynb"))
    read = nbformat.read("course.ipynb", as_version=4)
    nbformat.validate(read)
    first = next(cell for cell in read.cells if cell.cell_type == "code")
    for name, value in {"IMAGES, EPOCHS": "300, 2", "EXAMPLES": "40"}.items():
        first.source, count = re.subn(
            rf"^{name} = [\w, ]+?(?=  #)", f"{name} = {value}", first.source, flags=re.M
        )
        assert count == 1
    NotebookClient(read, timeout=300, kernel_name="python3").execute()

    outputs = [output for cell in read.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 17
    assert "[<Axes" not in str(outputs)
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    reports = re.split(r"^(?=\w+ like \w+: )", printed, flags=re.MULTILINE)[1:]
    for report, (name, mistake) in zip(reports, MISTAKES.items(), strict=False):
        assert report.startswith(f"{name} like ")
        assert f"diagnosis: equals a classic fault, {mistake}: " in report
    assert [": 40 examples, seed 0: equal to torch" in report for report in reports] == [False] * 5 + [
        True
    ] * 5
    assert printed.count("gradients equal: worst relative error") == 2
    assert "shapes are drawn instead" in printed
    assert "epoch 2/2: loss " in printed
    assert "Conv2D(in_channels=3, out_channels=16, kernel_size=3, padding=1)" in str(outputs)


def test_it_trains_on_a_folder_of_images_that_is_named(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / ("train", "test")[number % 2] / ("dark", "light")[number // 2 % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number, 0, 0)).save(path)
    cells = ["".join(cell["source"]) for cell in notebook(source())["cells"]]
    named = cells[1].replace("DATA = None", f"DATA = {str(tmp_path)!r}")
    opening = next(cell for cell in cells if "open_images(" in cell)
    known: dict[str, Any] = {}
    with plt.rc_context():
        exec(f"{named}\n{opening}", known)
    plt.close()
    assert known["data"].classes == ("dark", "light")
    assert known["images"].shape == (4, 3, 32, 32)


def test_every_exercise_has_a_solution() -> None:
    text, _, solutions = source().partition("## 12. Solutions")
    exercises = re.findall(r"^### Exercise (\d): ", text, flags=re.MULTILINE)
    assert exercises == re.findall(r"^\*\*Exercise (\d)\.\*\* ", solutions, flags=re.MULTILINE) == [*"12345"]


def test_text_and_code_become_cells_of_their_own() -> None:
    text = "# One\n\ntext\n\n## Two\n\n```python\nx = 1\n\ny = 2\n```\n\n```\nno code\n```\n"
    cells: list[dict[str, Any]] = notebook(text)["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == [
        ("markdown", "# One\n\ntext"),
        ("markdown", "## Two"),
        ("code", "x = 1\n\ny = 2"),
        ("markdown", "```\nno code\n```"),
    ]


def test_a_file_is_replaced_on_demand_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "course.ipynb"
    run(path)
    assert f"The notebook is {path}" in capsys.readouterr().out
    written = path.read_bytes()
    path.write_text("learned")
    run(path, overwrite=True)
    assert path.read_bytes() == written
    assert [each.name for each in path.parent.iterdir()] == ["course.ipynb"]
