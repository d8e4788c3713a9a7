"""Where a demo's pictures and tables go."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from scratch_conv.kernels.windows import Array

BLUE, RED, GREY = "#00798c", "#d1495b", "#8a8f98"


def show_table(title: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table; numbers stand to the right of a first column of words."""
    table = Table()
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(title, style="bold", soft_wrap=True, markup=False)
    console.print(table)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"The picture is {path}")


def show_picture(axes: Axes, picture: Array, title: str = "", **options: Any) -> None:
    """Draw a picture (H, W) in grey, or (H, W, 3) in colours, in a thin frame."""
    axes.imshow(picture, **{"cmap": "gray", "interpolation": "nearest", **options})
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    axes.spines[:].set(color=GREY, linewidth=0.5)


def show_signed(axes: Axes, values: Array, title: str = "") -> None:
    """Draw values (H, W) of both signs: blue below zero, white at zero, red above."""
    most = float(abs(values).max()) or 1.0
    show_picture(axes, values, title, cmap="RdBu_r", vmin=-most, vmax=most)
