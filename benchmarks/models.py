"""Whole models, swapped, against torch in float64: `python -m benchmarks.models`.

Torchvision's models for classification, segmentation, detection and video (but video transformers), and 60 of
timm's, with random weights, in training mode, forward and backward; each by `swap` and by `override`. The
outputs must be equal within 1e-8 of the largest output, every parameter's gradient within 1e-6 of its largest
element plus 1e-9 of the model's largest. Each model runs in a process of its own, as the largest need most of
a machine's memory.

With `--coverage`: which share of these models ours computes (`benchmarks.coverage`).
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from typing import Any

import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import scratch_conv as sc
from benchmarks import coverage
from benchmarks.measuring import RESULTS, as_text, keep
from benchmarks.zoo import GROUPS, HAS_TIMM, build, is_transformer

OUTPUT_BOUND = 1e-8
GRADIENT_BOUND, GRADIENT_FLOOR = 1e-6, 1e-9


def main() -> None:
    """Compare, print tables, and write the raw figures; the exit status is 1 if a model differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="a pattern of model names; others keep their rows")
    parser.add_argument(
        "--coverage", action="store_true", help="count which share of the models ours computes"
    )
    options = parser.parse_args()
    if not HAS_TIMM:
        print("timm is not installed, its models are left out: pip install '.[bench]'")
    names = [name for group in GROUPS if HAS_TIMM or group != "timm" for name in GROUPS[group]]
    without = names if options.coverage else GROUPS["video"]  # these groups' transformers
    names = [name for name in names if not (is_transformer(name) and name in without)]
    chosen = [name for name in names if fnmatch(name, options.only)]
    if not chosen:
        parser.error(f"--only {options.only}: there is no such model")
    if options.coverage:
        coverage.measure(chosen)
    rows = kept_rows()
    for name in track(chosen, "models", transient=True):
        rows[name] = in_own_process(compare, name)
        print(json.dumps({name: rows[name]}), flush=True)
        raw = keep("models", {"torchvision": torchvision.__version__, "models": rows})
    rows = {name: rows[name] for group in GROUPS.values() for name in group if name in rows}
    of_timm = {name: row for name, row in rows.items() if name in GROUPS["timm"]}
    of_torchvision = {name: row for name, row in rows.items() if name not in of_timm}
    tables = [
        table(library, models)
        for library, models in (("torchvision", of_torchvision), ("timm", of_timm))
        if models
    ]
    for each in tables:
        Console(highlight=False).print(each)
    (RESULTS / "models.txt").write_text("\n".join(map(as_text, tables)), encoding="utf-8")
    print(f"Raw figures: {raw}")
    raise SystemExit(not all(map(passed, rows.values())))


def kept_rows() -> dict[str, dict[str, Any]]:
    """Return the rows of earlier runs."""
    path = RESULTS / "models.json"
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))["models"] if path.exists() else {}
    return rows


def compare(name: str) -> dict[str, Any]:
    """Run one model by torch, by `swap` and by `override`; return how far these are from torch."""
    torch.manual_seed(0)
    model, inputs = build(name, small=True, dtype=torch.float64)
    row: dict[str, Any] = {"parameters": count(model)}
    start = {name: buffer.clone() for name, buffer in model.named_buffers()}
    outputs, gradients = run(model, inputs)
    largest = max(float(gradient.abs().max()) for gradient in gradients)

    def differences() -> dict[str, float]:
        for name, buffer in model.named_buffers():
            buffer.copy_(start[name])
        got_outputs, got_gradients = run(model, inputs)
        return {
            "output": max(map(relative_difference, got_outputs, outputs)),
            "gradient": max(
                float((got - want).abs().max() / bound(want, largest))
                for got, want in zip(got_gradients, gradients, strict=True)
                if want.numel()
            ),
        }

    with sc.override():
        row["override"] = differences()
    row["layers"] = len(sc.swap(model).swapped)
    row["swap"] = differences()
    return row


def bound(gradient: Tensor, largest: float) -> Tensor:
    """Return how far the gradient of a parameter may be from torch's."""
    return GRADIENT_BOUND * gradient.abs().max() + GRADIENT_FLOOR * largest


def relative_difference(got: Tensor, want: Tensor) -> float:
    """Return the greatest difference / the largest output, beyond one rounding of what is in float32.

    Some losses of torchvision's detectors are, since their targets are, whatever the model is.
    """
    if not want.numel():
        return 0.0
    rounding = torch.finfo(want.dtype).eps if want.dtype == torch.float32 else 0.0
    return max(0.0, float((got - want).abs().max() / want.abs().max()) - rounding)


def run(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """Return a model's outputs, and the gradients of the mean of their squares."""
    torch.manual_seed(1)
    model.zero_grad(set_to_none=True)
    outputs = [output for output in tensors(model(*inputs)) if output.is_floating_point()]
    torch.autograd.backward([torch.stack([output.pow(2).mean() for output in outputs]).sum()])
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    for parameter in model.parameters():
        parameter.grad = None
    return [output.detach() for output in outputs], gradients


def tensors(result: Any) -> Iterator[Tensor]:
    """Yield the tensors in a model's result, however nested."""
    if isinstance(result, Tensor):
        yield result
    elif result is not None:
        nested: Iterable[Any] = result.values() if isinstance(result, dict) else result
        for each in nested:
            yield from tensors(each)


def count(model: nn.Module) -> int:
    """Return the number of a model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def passed(row: dict[str, Any]) -> bool:
    """Return whether a model is equal to torch's within the bounds, both ways."""
    return "failed" not in row and all(
        row[way]["output"] <= OUTPUT_BOUND and row[way]["gradient"] <= 1 for way in ("swap", "override")
    )


def in_own_process(function: Callable[[str], dict[str, Any]], name: str) -> dict[str, Any]:
    """Call a function in a fresh process; if the process dies, return a row that says so."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(function, name, sending))
    process.start()
    sending.close()
    try:
        row: dict[str, Any] = receiving.recv()
    except EOFError:
        row = {"failed": "the process died"}
    process.join()
    return row


def _call(function: Callable[[str], dict[str, Any]], name: str, sending: Any) -> None:
    try:
        sending.send(function(name))
    except Exception as error:
        sending.send({"failed": f"{type(error).__name__}: {error}"})


def table(library: str, rows: dict[str, dict[str, Any]]) -> Table:
    """Return the table of results for the models of a library."""
    shown = Table(title=f"{library}, float64: greatest difference to torch")
    for column in (
        "model",
        "parameters",
        "layers",
        "outputs, swap",
        "override",
        "gradients, swap",
        "override",
    ):
        shown.add_column(column, justify="left" if column == "model" else "right")
    shown.add_column("")
    for name, row in rows.items():
        if "failed" in row:
            shown.add_row(name, *[""] * 6, row["failed"])
            continue
        shown.add_row(
            name,
            f"{row['parameters']:,}",
            str(row["layers"]),
            *(f"{row[way]['output']:.0e}" for way in ("swap", "override")),
            *(f"{row[way]['gradient']:.0e}" for way in ("swap", "override")),
            "equal" if passed(row) else "OFF",
        )
    equal = sum(passed(row) for row in rows.values())
    shown.caption = (
        f"{equal} of {len(rows)} equal: output differences / the largest output, at most {OUTPUT_BOUND:.0e}; "
        f"gradient differences / their bound, {GRADIENT_BOUND:.0e} of the parameter's largest "
        f"plus {GRADIENT_FLOOR:.0e} of the model's"
    )
    return shown


if __name__ == "__main__":
    main()
