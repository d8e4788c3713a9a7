"""What `verify` found, layer by layer and for the whole model."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Errors:
    """The greatest errors of two computations, ours and torch's.

    They are shares of what rounding explains where a bound is known (`judged`); else the error of ours is
    its greatest difference from torch's, as a share of the greatest value, and torch's is 0.
    """

    ours: float = 0.0
    torchs: float = 0.0
    judged: bool = True

    def __or__(self, other: Errors) -> Errors:
        """Return the greater ones."""
        judged = self.judged and other.judged
        return Errors(_greater(self.ours, other.ours), _greater(self.torchs, other.torchs), judged)

    @property
    def within(self) -> bool:
        """Whether ours is within the bound; in half precision torch's own may exceed it, and ours with it."""
        return not self.judged or self.ours <= max(1.0, self.torchs)


@dataclass(frozen=True)
class VerifiedLayer:
    """One layer: its errors and seconds (forward and backward), over all calls in a forward pass.

    `failure` says what went wrong, and is empty where nothing did.
    """

    name: str
    layer: str
    calls: int = 0
    values: Errors = Errors()
    gradients: Errors = Errors()
    seconds: float = 0.0
    torchs_seconds: float = 0.0
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether values and gradients are within the rounding bound, where one is known."""
        return not self.failure and self.values.within and self.gradients.within


@dataclass(frozen=True, repr=False)
class Verification:
    """What `verify` found; true if all layers passed, and prints as a table.

    Attributes:
        rows: the layers that the forward pass called.
        model: the whole model, from its input on: not judged, since errors grow from layer to layer.
        uncalled: the names of the layers that the forward pass did not call.
        torchs: the layers that stay torch's, by class, and how many there are.
        functions: the functions that the model calls itself, which swap does not reach, and how often.
    """

    rows: tuple[VerifiedLayer, ...]
    model: VerifiedLayer
    uncalled: tuple[str, ...] = ()
    torchs: dict[str, int] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether layers were compared, and all of them and the whole model passed."""
        return bool(self.rows) and all(row.passed for row in (*self.rows, self.model))

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"<Verification: {'passed' if self.passed else 'failed'}, {len(self.rows)} layers>"

    def __str__(self) -> str:
        cells = f"{'ours':>8}{'torch':>8}{'ours':>8}{'torch':>8}{'ours':>10}{'torch':>10}"
        head = [f"{'':46}{'values':>16}{'gradients':>16}{'ms':>20}", f" {'layer':45}{cells}"]
        rule, rows = "-" * len(head[1]), [line for row in self.rows for line in _lines(row)]
        return "\n".join([*head, rule, *rows, rule, *_lines(self.model), "", *self._remarks()])

    def _remarks(self) -> list[str]:
        good = sum(row.passed for row in self.rows)
        lines = [f"{good} of {len(self.rows)} layers passed" if self.rows else "no layer was compared"]
        lines.append("the greatest errors, against torch in float64, as shares of the rounding bound;")
        lines.append("after ~ the relative difference between ours and torch's")
        functions = "called by the model itself, which scratch_conv.override() alone reaches:"
        for title, names in (
            ("not called:", self.uncalled),
            ("stay torch's:", [_times(*each) for each in self.torchs.items()]),
            (functions, [_times(*each) for each in self.functions.items()]),
        ):
            text = f"{title} {', '.join(names)}"
            lines += textwrap.wrap(text, 98, subsequent_indent="    ") if names else []
        return lines


def _lines(row: VerifiedLayer) -> list[str]:
    """Return a row of the table, and what went wrong; a `!` stands before what did not pass."""
    name, room = row.name or "model", 44 - len(row.layer)
    name = name if len(name) <= room else f"…{name[len(name) - max(room, 2) + 1 :]}"
    title = f"{' ' if row.passed else '!'}{name} {row.layer}"[:46]
    times = f"{1e3 * row.seconds:10.2f}{1e3 * row.torchs_seconds:10.2f}"
    line = f"{title:46}{_cells(row.values)}{_cells(row.gradients)}{times}"
    return [line, f"    {row.failure}"[:98]] if row.failure else [line]


def _cells(errors: Errors) -> str:
    if not errors.judged:
        return f"{f'~{errors.ours:.0e}':>8}{'':8}"
    return "".join(
        f"{error:8.3f}" if error < 1e3 else f"{error:8.0e}" for error in (errors.ours, errors.torchs)
    )


def _times(name: str, count: int) -> str:
    return name if count == 1 else f"{name} x{count}"


def _greater(one: float, other: float) -> float:
    """Return the greater of two numbers; NaN if either is."""
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)
