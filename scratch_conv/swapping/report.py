"""What `swap` did, layer by layer."""

from dataclasses import dataclass

ALREADY = "already swapped"


@dataclass(frozen=True)
class Row:
    """What `swap` did with one layer: `reason` is empty where it was swapped, else says why it was not."""

    name: str
    layer: str
    parameters: int
    reason: str

    @property
    def swapped(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class SwapReport:
    """One row for each layer that could be swapped, in the model's order; prints as a table.

    `unmatched` are the selectors that no layer of the model fits: misspelt, most likely.
    """

    rows: tuple[Row, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def swapped(self) -> tuple[str, ...]:
        """The names of the layers that were swapped."""
        return tuple(row.name for row in self.rows if row.swapped)

    def __str__(self) -> str:
        table = [("name", "layer", "parameters", "swapped")]
        table += [
            (row.name, row.layer, f"{row.parameters:,}", f"no: {row.reason}" if row.reason else "yes")
            for row in self.rows
        ]
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
