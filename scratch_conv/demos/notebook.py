"""The guided notebook: `notebook.md` beside this file, written as cells for Jupyter."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from scratch_conv.layers.saving import replacing
from scratch_conv.training.reporting.writing import check_writable
from scratch_conv.training.settings import InputError


def run(out: Path, *, overwrite: bool = False) -> None:
    """Write the notebook to a file, and print how it is opened.

    Raises:
        InputError: it is not to be called so, is there already, or cannot be written.
    """
    if out.suffix != ".ipynb":
        raise InputError(f"--out {out}: a notebook's name ends in .ipynb")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder, not a file")
    if out.exists() and not overwrite:
        raise InputError(
            f"--out {out}: is there already; --overwrite replaces it, with what was changed in it"
        )
    check_writable(out.parent)
    try:
        with replacing(out) as file:
            file.write(json.dumps(notebook(source()), indent=1, ensure_ascii=False).encode())
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror})") from error
    print(f"The notebook is {out}; to open it: pip install notebook && jupyter notebook '{out}'")


def source() -> str:
    """Return the notebook as Markdown: each block of Python is a cell of code."""
    return (files(__package__) / "notebook.md").read_text(encoding="utf-8")


def notebook(markdown: str) -> dict[str, Any]:
    """Return Markdown as a notebook of format 4.5: one cell a block of Python, and one a section between.

    See https://nbformat.readthedocs.io/en/latest/format_description.html
    """
    cells: list[dict[str, Any]] = []
    for number, part in enumerate(
        re.split(r"^```python\n(.*?)^```\n", markdown, flags=re.DOTALL | re.MULTILINE)
    ):
        sections = [part] if number % 2 else re.split(r"^(?=##+ )", part, flags=re.MULTILINE)
        for text in filter(None, map(str.strip, sections)):
            code: dict[str, Any] = {"cell_type": "code", "execution_count": None, "outputs": []}
            cell = code if number % 2 else {"cell_type": "markdown"}
            lines = text.splitlines(keepends=True)
            cells.append({"id": f"cell-{len(cells)}", **cell, "metadata": {}, "source": lines})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
