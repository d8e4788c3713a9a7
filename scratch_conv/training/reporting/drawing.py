"""How charts are drawn: as SVG that takes the page's colours, or as PNG for other documents."""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

Panel = Callable[[Axes], None]  # draws one chart
Style = dict[str, Any]  # matplotlib's names for colour, marker and line


class Look(NamedTuple):
    """How a backend looks in every chart: told apart by colour, by marker, and by hatching."""

    color: str
    marker: str
    hatch: str

    def style(self, linestyle: str = "-") -> Style:
        """Return the style of a line."""
        return {"color": self.color, "marker": self.marker, "linestyle": linestyle}


# Okabe and Ito's palette, which the colour-blind can tell apart, a little lighter, to show on black as well.
PALETTE = ("#d55e00", "#1a8fd8", "#a56fc4", "#009e73", "#b58900", "#cc79a7")
MARKERS = "o^sDvPX"
BACKENDS = {
    name: Look(*look)
    for name, *look in zip(("torch", "scratch", "numpy"), PALETTE, MARKERS, ("", "///", "..."), strict=False)
}
GREY = "#858b93"
YARDSTICKS: tuple[Style, ...] = tuple(
    {"color": GREY, "marker": marker, "linestyle": line, "linewidth": 1.0}
    for marker, line in zip(MARKERS[3:], ("--", ":", "-.", (0, (6, 1, 1, 1))), strict=True)
)
_INK = "#010203"  # stands for the colour of the page's text, whatever it is
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, legible at any size, and found by a search
    "svg.hashsalt": "report",  # the same figure gives the same file
    "text.parse_math": False,  # a class may be named "$"
    "font.size": 10.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.35,
    "grid.color": GREY,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "figure.constrained_layout.use": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), _INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), GREY),
}


def svgs(panels: Mapping[str, Panel], note: str = "", height: float = 3.4) -> list[tuple[Markup, str]]:
    """Draw charts as <svg> elements, whose text has its natural size on a phone of 390 pixels.

    Args:
        panels: by what they show.
        note: what else there is to say of each.
        height: in inches; the width is 4.8, as many points as a phone has pixels between its margins.

    Returns:
        Of each: the element, and the lines below it.
    """
    return [(_svg(panel, title, height), f"{title}. {note}".strip()) for title, panel in panels.items()]


def _svg(panel: Panel, title: str, height: float) -> Markup:
    file = io.StringIO()
    with matplotlib.rc_context(_RC):
        figure = Figure((4.8, height))
        _draw(figure, panel)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])  # on one page they would not be unique
    text = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", text).replace(_INK, "currentColor")
    opening = rf'<svg \1 role="img" aria-label="{html.escape(title)}"'
    return Markup(re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*', opening, text, count=1).replace("\n", " "))


def as_png(panels: Sequence[Panel]) -> bytes:
    """Draw charts side by side, on white."""
    file = io.BytesIO()
    with matplotlib.rc_context(_RC):
        figure = Figure((5 * len(panels), 4))
        parts = figure.subfigures(1, len(panels), squeeze=False).ravel()
        for part, panel in zip(parts, panels, strict=True):
            _draw(part, panel)
        figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _draw(figure: Figure | SubFigure, panel: Panel) -> None:
    axes = figure.subplots()
    panel(axes)
    handles, labels = axes.get_legend_handles_labels()
    if handles:  # above the axes, where it hides nothing
        figure.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=9.5)
