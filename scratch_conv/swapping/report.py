"""What `swap` did, layer by layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

ALREADY = "already swapped"
ABSENT = "no such layer here"
NEVER_CALLED = "torch.nn.MultiheadAttention takes its weights, and never calls it"


@dataclass(frozen=True)
class Row:
    """What `swap` did with one layer.

    Attributes:
        name: where it stands in the model.
        layer: its class.
        parameters: how many numbers it has learned.
        reason: why it was not swapped; empty where it was.
        own_forward: whether its class has a forward pass of its own, of which NumPy computes what `override`
            reaches.
    """

    name: str
    layer: str
    parameters: int
    reason: str
    own_forward: bool = False

    @property
    def swapped(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class SwapReport:
    """One row for each layer of a model, in the model's order; prints as a table.

    `unmatched` are the selectors that no layer of the model fits: misspelt, most likely. Functions that a
    model's own code calls are no layers, and not listed: `scratch_conv.override` reaches them.
    """

    rows: tuple[Row, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def swapped(self) -> tuple[str, ...]:
        """The names of the layers that were swapped."""
        return tuple(row.name for row in self.rows if row.swapped)

    @property
    def left(self) -> tuple[str, ...]:
        """The names of the layers that stay torch's."""
        return tuple(row.name for row in self.rows if row.reason not in ("", ALREADY))

    def __str__(self) -> str:
        table = [("name", "layer", "parameters", "swapped"), *self._lines()]
        widths = [max(len(line[column]) for line in table) for column in range(4)]
        lines = [
            f"{name:<{widths[0]}}  {layer:<{widths[1]}}  {parameters:>{widths[2]}}  {swapped}"
            for name, layer, parameters, swapped in table
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        already = sum(row.reason == ALREADY for row in self.rows)
        lines.append(f"{len(self.swapped)} of {len(self.rows)} layers swapped")
        lines[-1] += f", {already} were already" if already else ""
        lines += [f"no layer matches {selector}" for selector in self.unmatched]
        return "\n".join(lines)

    def _lines(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield a line for each layer that was swapped; those left for one reason share one, at the end."""
        for row in self.rows:
            if row.swapped:
                swapped = "yes, in its own forward pass" if row.own_forward else "yes"
                yield row.name, row.layer, f"{row.parameters:,}", swapped
        others = [row for row in self.rows if not row.swapped]
        kinds = list(dict.fromkeys((row.layer, row.reason) for row in others))
        others.sort(key=lambda row: kinds.index((row.layer, row.reason)))
        for (layer, reason), group in groupby(others, lambda row: (row.layer, row.reason)):
            alike = list(group)
            name = alike[0].name + (f" and {len(alike) - 1} more" if len(alike) > 1 else "")
            yield name, layer, f"{sum(row.parameters for row in alike):,}", f"no: {reason}"
