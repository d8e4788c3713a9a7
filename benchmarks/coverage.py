"""Which share of whole models ours computes: `python -m benchmarks.models --coverage`.

All of torchvision's models of convolutions for classification, segmentation, detection and video (its
transformers, and those for optical flow, are left out), and 60 of timm's, in training mode, after `swap` and
within `override`: the share of layers, of calls and of floating point operations, and by name what is left.
`benchmarks.counting` says what counts. A layer is ours if all that it computes but arithmetic is; layers that
compute nothing (an identity, dropout of nothing) are not counted, those of arithmetic alone apart.

One forward pass is counted, on fake tensors, which have shapes and no numbers; models for detection, whose
shapes depend on the numbers, compute it. As a check of the counting, the products of matrices and the
convolutions in a model must take as many operations by ours as by torch.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table
from torch._subclasses.fake_tensor import FakeTensorMode

import scratch_conv as sc
from benchmarks.counting import ARITHMETIC_ALONE, OURS, TORCHS, Call, counting
from benchmarks.measuring import RESULTS, as_text, keep
from benchmarks.zoo import GROUPS, build, group_of

WAYS = ("swap", "override")
LEAST_LAYERS, LEAST_FLOPS = 0.98, 0.995
"""The goals: which shares are to be ours in each group."""

KINDS = (OURS, TORCHS, ARITHMETIC_ALONE)
MEASURES = ("layers", "calls", "flops")
Row = dict[str, Any]


def measure(names: list[str]) -> None:
    """Count in these models, print tables, and write the raw figures; others keep their rows.

    The exit status is 1 if a group is below its goal, or a model could not be counted.
    """
    rows = kept_rows()
    for name in track(names, "models", transient=True):
        rows[name] = cover(name)
        raw = keep("coverage", {"torchvision": torchvision.__version__, "models": rows})
    groups = {group: {name: rows[name] for name in names if name in rows} for group, names in GROUPS.items()}
    tables = [*shown(groups)]
    for each in tables:
        Console(highlight=False, width=140).print(each)
    (RESULTS / "coverage.txt").write_text("\n".join(map(as_text, tables)), encoding="utf-8")
    print(f"Raw figures: {raw}")
    raise SystemExit(not all(map(reached, groups.values())))


def kept_rows() -> dict[str, Row]:
    """Return the rows of earlier runs."""
    path = RESULTS / "coverage.json"
    rows: dict[str, Row] = json.loads(path.read_text("utf-8"))["models"] if path.exists() else {}
    return rows


def cover(name: str) -> Row:
    """Count what computes in one model, each way; or say why that failed."""
    torch.manual_seed(0)
    try:
        return _cover(name)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}


def _cover(name: str) -> Row:
    model, inputs = build(name)
    report = sc.swap(model)
    sc.restore(model)
    layers = {row.name: model.get_submodule(row.name) for row in report.rows}
    classes = {row.name: row.layer for row in report.rows}

    def calls() -> list[Call]:
        torch.manual_seed(1)
        by_numbers = group_of(name) == "detection"
        mode = nullcontext() if by_numbers else FakeTensorMode(allow_non_fake_inputs=True)
        with mode, torch.no_grad(), counting(layers) as found:
            model(*inputs)
        return found

    plain = calls()
    with sc.override():
        overridden = calls()
    sc.swap(model)
    swapped = calls()
    products = [sum(call.products for call in each) for each in (plain, swapped, overridden)]
    if len({*products}) > 1:
        return {"failed": f"operations of products by torch, swapped and overridden: {products}"}
    return {"swap": summary(swapped, classes), "override": summary(overridden, classes)}


def summary(calls: list[Call], classes: dict[str, str]) -> Row:
    """Return the numbers of layers, calls and operations: by who computes them, and by name."""
    found: Row = {measure: {kind: Counter() for kind in KINDS} for measure in MEASURES}
    layers: dict[str, set[str]] = {}
    for call in calls:
        found["calls"][call.kind][call.name] += 1
        found["flops"][call.kind][call.name] += call.flops
        if call.layer:
            layers.setdefault(call.layer, set()).add(call.kind)
    for layer, kinds in layers.items():
        kind = next(kind for kind in (TORCHS, OURS, ARITHMETIC_ALONE) if kind in kinds)
        found["layers"][kind][classes[layer]] += 1
    return found


def total(rows: dict[str, Row], way: str, measure: str, kind: str) -> Counter[str]:
    """Return the numbers of a measure in a group, by name."""
    return sum((Counter(row[way][measure][kind]) for row in rows.values() if way in row), Counter())


def share(rows: dict[str, Row], way: str, measure: str, arithmetic: bool = False) -> float:
    """Return which part is ours, of what ours and torch compute in layers, or of all; 1 of nothing."""
    numbers = {kind: total(rows, way, measure, kind).total() for kind in KINDS}
    of = sum(numbers.values()) - (0 if arithmetic else numbers[ARITHMETIC_ALONE])
    return numbers[OURS] / of if of else 1.0


def reached(rows: dict[str, Row]) -> bool:
    """Return whether all models of a group are counted, and their shares reach the goals."""
    if any("failed" in row for row in rows.values()):
        return False
    layers = [share(rows, way, "layers") for way in WAYS]
    flops = [share(rows, way, "flops", arithmetic=True) for way in WAYS]
    return min(layers) >= LEAST_LAYERS and min(flops) >= LEAST_FLOPS


def shown(groups: dict[str, dict[str, Row]]) -> Iterator[Table]:
    """Yield a table of the shares in each group, and for each group a table of what is left."""
    counted = {
        group: {name: row for name, row in rows.items() if "failed" not in row}
        for group, rows in groups.items()
    }
    heads = ("models", "layers", "calls", "FLOPs", "least of a model", "layers of all", "FLOPs of all")
    shares = Table("", "", *(Column(head, justify="right") for head in heads), title="Computed by ours, in %")
    for group, rows in counted.items():
        for way in WAYS if rows else ():
            figures = (
                *(share(rows, way, measure) for measure in MEASURES),
                min(share({name: row}, way, "flops") for name, row in rows.items()),
                *(share(rows, way, measure, arithmetic=True) for measure in ("layers", "flops")),
            )
            shares.add_row(group, way, str(len(rows)), *(f"{100 * figure:.2f}" for figure in figures))
    shares.caption = (
        "Plain arithmetic, which is torch's, counts in the last two columns alone. "
        f"Goals: {LEAST_LAYERS:.1%} of layers, {LEAST_FLOPS:.1%} of all FLOPs"
    )
    yield shares
    for group, rows in counted.items():
        if groups[group]:
            yield left(group, rows)
    failed = Table("", "", title="Could not be counted")
    for group, rows in groups.items():
        for name in rows.keys() - counted[group].keys():
            failed.add_row(name, rows[name]["failed"])
    if failed.row_count:
        yield failed


def left(group: str, rows: dict[str, Row]) -> Table:
    """Return a table of what ours does not compute in a group, by name: torch's, and plain arithmetic."""
    heads = (*WAYS, *(f"{way}, % of FLOPs" for way in WAYS), "models")
    numbers_of = (Column(head, justify="right") for head in heads)
    table = Table("", Column("", overflow="fold"), *numbers_of, title=f"{group}: what is left")
    of_all = {way: sum(total(rows, way, "flops", each).total() for each in KINDS) for way in WAYS}
    for kind in (TORCHS, ARITHMETIC_ALONE):
        for measure in ("layers", "calls"):
            numbers = {way: total(rows, way, measure, kind) for way in WAYS}
            flops = {way: total(rows, way, "flops", kind) for way in WAYS}
            for name, _ in (numbers["swap"] | numbers["override"]).most_common():
                parts = [f"{100 * flops[way][name] / of_all[way]:.3f}" for way in WAYS]
                models = sum(any(name in row[way][measure][kind] for way in WAYS) for row in rows.values())
                table.add_row(
                    f"{kind}, {measure}",
                    name,
                    *(str(numbers[way][name]) for way in WAYS),
                    *(parts if measure == "calls" else ("", "")),
                    str(models),
                )
    return table
