"""README's code runs, and what it names is there."""

import re
from pathlib import Path

import pytest
import torch

import scratch_conv

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names = {"Conv": torch.nn.functional.conv2d}
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(code, names)
    assert "52 of 52 layers swapped" in capsys.readouterr().out


def expanded(name: str) -> list[str]:
    """Return the names that `Conv{1,2,3}d` stands for."""
    before, _, rest = name.partition("{")
    numbers, _, after = rest.partition("}")
    return [f"{before}{number}{after}" for number in numbers.split(",")]


def test_the_table_of_layers_is_complete() -> None:
    before = README.partition("## Test your own")[0]
    rows = re.findall(r"^\| \w+ \| (`.*?) \| (`.*`) \|$", before, re.MULTILINE)
    columns = [re.findall(r"`([\w{},]+)`", " ".join(column)) for column in zip(*rows, strict=True)]
    modules, functions = ({each for name in names for each in expanded(name)} for names in columns)
    assert functions == {*scratch_conv.functional.__all__}
    assert modules == {name for name in scratch_conv.nn.__all__ if not name.startswith("Lazy")}


def test_the_files_that_it_names_are_there() -> None:
    for name, section in re.findall(r"\]\(([\w/.-]+)(?:#([\w-]+))?\)", README):
        assert (ROOT / name).exists(), name
        if section:
            heading = "## " + section.replace("-", " ")
            assert heading in (ROOT / name).read_text(encoding="utf-8").lower().splitlines(), heading
    held = README.partition("| promise | held by |")[2].partition("\n\n")[0]
    for name in re.findall(r"`([\w/]+\.(?:py|txt))`", held):
        assert list(ROOT.glob(f"**/{Path(name).name}")), name
