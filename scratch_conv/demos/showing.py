"""Show the texts, tables and figures of the demos."""

import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.console import Console
from rich.table import Table

from scratch_conv.kernels.windows import Array

BLUE, RED, GREEN, GREY = "#00798c", "#d1495b", "#5f8d3e", "#8a8f98"

Box = tuple[int, int, int, int]
"""The first row and column of some elements of a matrix, and how many rows and columns they are."""
Panel = tuple[Array, str] | tuple[Array, str, Iterable[Box]]
"""A matrix (H, W), its title, and boxes around some of its elements."""


def explain(text: str) -> None:
    """Print a paragraph, in lines that fit the terminal."""
    print(textwrap.fill(" ".join(text.split()), min(100, shutil.get_terminal_size().columns)))


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


def add_scale(figure: Any, axes: Iterable[Axes], label: str = "") -> None:
    """Draw one colour bar beside images that have one scale, that of the first."""
    drawn = list(axes)
    figure.colorbar(drawn[0].images[0], ax=drawn, label=label, aspect=30, fraction=0.05)


def show_signed(axes: Axes, values: Array, title: str = "", most: float | None = None) -> None:
    """Draw signed values (H, W): blue below zero, white at zero, red above; `most` has the full colour."""
    most = most or float(abs(values).max()) or 1.0
    show_image(axes, values, title, cmap="RdBu_r", vmin=-most, vmax=most)


def show_matrices(*panels: Panel, cell: float = 0.45) -> None:
    """Draw matrices in a row, all in squares of `cell` inches, in a new figure of pyplot's: for notebooks."""
    import matplotlib.pyplot as plt

    rows, columns = zip(*(values.shape for values, *_ in panels), strict=True)
    size = (cell * sum(columns) + 0.35 * len(panels), cell * max(rows) + 0.35)
    figure, _ = plt.subplots(1, len(panels), figsize=size, width_ratios=columns, layout="constrained")
    for axes, panel in zip(figure.axes, panels, strict=True):
        show_numbers(axes, *panel)


def show_numbers(axes: Axes, values: Array, title: str = "", boxes: Iterable[Box] = ()) -> None:
    """Draw a matrix (H, W) as numbers on squares that are coloured by sign, with boxes around some."""
    show_signed(axes, values, title, most=2.2 * float(abs(values).max()) or 1.0)
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, f"{value + 0.0:g}", ha="center", va="center", fontsize=9)  # 0.0: no -0
    for edge in range(1, values.shape[0]):
        axes.axhline(edge - 0.5, color=GREY, linewidth=0.3)
    for edge in range(1, values.shape[1]):
        axes.axvline(edge - 0.5, color=GREY, linewidth=0.3)
    for row, column, height, width in boxes:
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, width, height, fill=False, linewidth=2, clip_on=False))
