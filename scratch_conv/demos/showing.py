"""Show the tables and figures of the demos."""

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
    """Print a table: a first column of text, then columns of numbers."""
    table = Table()
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(title, style="bold", soft_wrap=True, markup=False)
    console.print(table)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, and print its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"The figure is {path}")


def show_image(axes: Axes, image: Array, title: str = "", **options: Any) -> None:
    """Draw an image, (H, W) in grey or (H, W, 3) in RGB, in a thin frame."""
    axes.imshow(image, **{"cmap": "gray", "interpolation": "nearest", **options})
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    axes.spines[:].set(color=GREY, linewidth=0.5)


def show_signed(axes: Axes, values: Array, title: str = "") -> None:
    """Draw signed values (H, W): blue below zero, white at zero, red above."""
    most = float(abs(values).max()) or 1.0
    show_image(axes, values, title, cmap="RdBu_r", vmin=-most, vmax=most)
