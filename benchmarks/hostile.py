"""Hostile calls of every functional operator, by torch and by ours: `python -m benchmarks.hostile`.

Each call has arguments of odd types, sizes, dtypes and layouts (`hostile_calls.py`), and runs in a forked
process with a limit of time and memory. What differs from torch is reduced to the odd arguments that it
takes, grouped, and printed with an example; `results/hostile_explained.toml` says why a difference is left.
The exit status is 1 if one is left that isn't explained there. Writes hostile.json to benchmarks/results.
"""

import argparse
import importlib
import json
import linecache
import multiprocessing
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest where Python itself has none

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

import scratch_conv as sc
from benchmarks.hostile_calls import NAMES, Call, draw
from benchmarks.measuring import RESULTS, keep

SECONDS = 8
BYTES = 3 << 30
CALLS_A_PROCESS = 1000

SLOW = 1.0
MUCH = 256 << 10
"""KiB of resident memory."""


class Outcome(NamedTuple):
    """What came of a call: results by name, or the error; and what it took."""

    results: dict[str, Any]
    error: Exception | None
    seconds: float
    kibibytes: int


class Difference(NamedTuple):
    """How ours differs from torch: one of few kinds, and the details of this call."""

    kind: str
    detail: str


class _Torch:
    """The functions of `torch.nn.functional`, and those that only `torch` has."""

    def __getattr__(self, name: str) -> Any:
        return getattr(F, name, None) or getattr(torch, name)


def built(call: Call) -> dict[str, Any] | None:
    """Return a call's arguments; None where one of them cannot be made."""
    try:
        return {name: eval(text, dict(NAMES)) for name, text in call.arguments().items()}
    except Exception:
        return None


def observe(call: Call, ours: bool) -> Outcome:
    """Run a call by torch or by ours, and what is to be done then; the arguments are among the results."""
    lib: Any = sc.functional if ours and call.way == "functional" else _Torch()
    arguments = built(call)
    assert arguments is not None
    results: dict[str, Any] = {}
    error = None
    torch.manual_seed(0)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try:
        with sc.override() if ours and call.way == "override" else nullcontext(), _context(call.then):
            output = getattr(lib, call.operator)(**arguments)
            outputs = output if isinstance(output, tuple) else (output,)
            results |= {f"output {number}": each for number, each in enumerate(outputs)}
            _then(call.then, outputs[0], arguments, results)
    except Exception as caught:
        error = caught
    taken = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    for name, argument in arguments.items():
        if isinstance(argument, Tensor):
            results[f"argument {name}"] = argument
            if argument.is_leaf and argument.grad is not None:
                results[f"gradient of {name}"] = argument.grad
    return Outcome(results, error, taken, grown)


def _context(then: str) -> AbstractContextManager[Any]:
    contexts: dict[str, Any] = {
        "no_grad": torch.no_grad,
        "inference": torch.inference_mode,
        "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    }
    context: AbstractContextManager[Any] = contexts.get(then, nullcontext)()
    return context


def _then(then: str, output: Any, arguments: dict[str, Any], results: dict[str, Any]) -> None:
    if then == "output written":
        output.add_(1)
    if "backward" not in then or not (isinstance(output, Tensor) and output.requires_grad):
        return
    upstream = (torch.arange(output.numel()) % 5 - 2).reshape(output.shape).to(output.dtype)
    if then == "output written before backward":
        output.mul_(2)
    if then == "input written before backward":
        with torch.no_grad():
            arguments["input"].mul_(2)
    if then != "double backward":
        torch.autograd.backward([output], [upstream])
        if then == "backward twice":
            torch.autograd.backward([output], [upstream])
        return
    leaves = [each for each in arguments.values() if isinstance(each, Tensor) and each.requires_grad]
    first = torch.autograd.grad(output, leaves, upstream, create_graph=True, allow_unused=True)
    results |= {f"gradient {number}": each for number, each in enumerate(first)}
    graph = [(each * each).sum() for each in first if each is not None and each.requires_grad]
    if graph:
        torch.autograd.backward(graph)


def judge(call: Call, torchs: Outcome, ours: Outcome) -> Difference | None:
    """Return how ours differs from torch in a call; None where it doesn't."""
    if ours.error is not None and _is_internal(ours.error, torchs.error):
        return Difference("internal exception", f"{_shown(ours.error)}; torch: {_shown(torchs.error)}")
    if ours.seconds > SLOW and ours.seconds > 20 * torchs.seconds:
        return Difference("slow", f"{ours.seconds:.1f} s, torch {torchs.seconds:.3f} s")
    if ours.kibibytes > MUCH and ours.kibibytes > 4 * torchs.kibibytes:
        return Difference("memory", f"{ours.kibibytes >> 10} MiB, torch {torchs.kibibytes >> 10} MiB")
    if ours.error is not None:
        if torchs.error is None:
            return Difference("refused, torch computes", _shown(ours.error))
        if not isinstance(ours.error, type(torchs.error)):
            return Difference("another exception", f"{_shown(ours.error)}; torch: {_shown(torchs.error)}")
        return None
    if torchs.error is not None:
        return Difference("computed, torch refuses", _shown(torchs.error))
    for name in sorted({*torchs.results, *ours.results}):
        unlike = _unlike(torchs.results.get(name), ours.results.get(name))
        if unlike:
            argument = name.startswith("argument") and "running" not in name  # statistics are results
            kind = "changed argument" if argument else "another result"
            return Difference(kind, f"{name}: {unlike}")
    return None


def _is_internal(error: Exception, torchs: Exception | None) -> bool:
    """Return whether an exception comes out of a computation, not from a line that refuses arguments."""
    if torchs is not None and isinstance(error, type(torchs)):
        return False
    if isinstance(error, (ArithmeticError, AttributeError, MemoryError, AssertionError, KeyError)):
        return True
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(innermost.filename, innermost.lineno or 0).strip()
    refuses = line.startswith(("raise ", ") from")) or "saved_tensors" in line  # where autograd may refuse
    return "scratch_conv/" in innermost.filename and not refuses


def _shown(error: Exception | None) -> str:
    if error is None:
        return "a result"
    message = str(error).strip() or "."
    return f"{type(error).__name__}: {message.splitlines()[0][:160]}"


def _unlike(want: Any, got: Any) -> str:
    """Return in what a result differs; empty where it doesn't."""
    if not isinstance(want, Tensor) or not isinstance(got, Tensor):
        return "" if type(want) is type(got) else f"{type(got).__name__}, torch {type(want).__name__}"
    if want.is_nested and got.is_nested:
        return ""  # shapes of jagged tensors have names of their own
    for name in ("shape", "dtype", "device", "layout", "requires_grad", "is_leaf"):
        if getattr(want, name) != getattr(got, name):
            return f"{name} {getattr(got, name)}, torch {getattr(want, name)}"
    if want.layout != torch.strided or want.device.type == "meta" or want.is_quantized or want.is_nested:
        return ""
    if want.stride() != got.stride():
        return f"strides {got.stride()}, torch {want.stride()}"
    if want.numel() > 10**7 or "float8" in str(want.dtype):
        return ""
    return _unequal(_plain(want), _plain(got))


def _plain(tensor: Tensor) -> Tensor:
    """Return the values in one dimension: torch compares at most 64 of them."""
    return tensor.detach().flatten().resolve_conj().resolve_neg()


def _unequal(want: Tensor, got: Tensor) -> str:
    if not (want.dtype.is_floating_point or want.dtype.is_complex):
        return "" if torch.equal(want, got) else "other values"
    precision = torch.finfo(want.dtype).eps
    wide = torch.complex128 if want.dtype.is_complex else torch.float64
    want, got = want.to(wide), got.to(wide)
    finite = want.isfinite()
    scale = float(want[finite].abs().max()) if finite.any() else 1.0
    same = torch.isclose(
        got, want, rtol=64 * precision, atol=64 * precision * max(scale, 1.0), equal_nan=True
    )
    if bool(same.all()):
        return ""
    at = int((~same).nonzero()[0])
    return f"{got[at].item():.9g} at {at}, torch {want[at].item():.9g}"


def compare(call: Call) -> Difference | None:
    """Run a call by both, and return how they differ."""
    return judge(call, observe(call, ours=False), observe(call, ours=True))


def reduced(call: Call, difference: Difference, report: Callable[[], None]) -> tuple[Call, Difference]:
    """Return the call with no more odd arguments than the kind of difference takes, and how it differs."""
    simpler = [call.without(name) for name in call.odd]
    simpler += [call._replace(then="forward")] if call.then != "forward" else []
    simpler += [call._replace(way="functional")] if call.way != "functional" else []
    for candidate in simpler:
        if built(candidate) is None:
            continue
        report()
        found = compare(candidate)
        if found is not None and found.kind == difference.kind:
            return reduced(candidate, found, report)
    return call, difference


def work(numbers: list[int], seed: int, without_torch: bool, write: int) -> None:
    """Run calls in this process, and report each step as a line of JSON."""

    def report(*line: Any) -> None:
        os.write(write, (json.dumps(line) + "\n").encode())

    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for number in numbers:
        call = draw(seed, number)
        if built(call) is None:
            report(number, "unbuilt")
            continue
        report(number, "torch")
        torchs = Outcome({}, None, 0.0, 0) if without_torch else observe(call, ours=False)
        report(number, "ours")
        ours = observe(call, ours=True)
        report(number, "judged")
        difference = None if without_torch else judge(call, torchs, ours)
        if difference is not None and difference.kind == "slow":  # the machine may have been busy
            difference = compare(call)
        if difference is None:
            outcome = "computed" if torchs.error is None else "refused"
            report(number, "done", "torch crashes or hangs" if without_torch else f"same: {outcome}")
            continue
        small, found = call, difference
        if difference.kind not in ("slow", "memory"):
            small, found = reduced(call, difference, partial(report, number, "judged"))
        if found.kind == "another exception" and _has_other_reasons(small):
            report(number, "done", "same: refused, for another of several reasons")
            continue
        report(
            number,
            "done",
            found.kind,
            small.operator,
            small.odd,
            small.then,
            small.way,
            small.expression(),
            found.detail,
        )


def _has_other_reasons(call: Call) -> bool:
    """Return whether torch refuses a call for more than one of its arguments, of which it names one."""
    return len(call.odd) > 1 or observe(call._replace(odd={}), ours=False).error is not None


def lane(numbers: list[int], seed: int) -> list[list[Any]]:
    """Run calls in forked children, each until one crashes or hangs; return a line for each call.

    What crashes or hangs is run once more, alone and with more time.
    """
    lines = []
    without_torch = again = False
    _warm_up()
    while numbers:
        batch = numbers[:1] if without_torch or again else numbers[:CALLS_A_PROCESS]
        step: list[Any] = [batch[0], "torch"]
        for step in _child(batch, seed, without_torch, SECONDS * (6 if again else 1)):
            if step[1] in ("done", "unbuilt"):
                lines.append(step)
        last = step[0]
        numbers = [number for number in numbers if number > last]
        if step[1] in ("done", "unbuilt"):
            without_torch = again = False
            continue
        if not again or step[1] == "torch":
            numbers, without_torch, again = [last, *numbers], again and step[1] == "torch", True
            continue
        without_torch = again = False
        call = draw(seed, last)
        kind = "crash or hang"
        lines.append(
            [last, "done", kind, call.operator, call.odd, call.then, call.way, call.expression(), step[1]]
        )
    return lines


def _warm_up() -> None:
    """Import what first calls import, for the children not to."""
    importlib.import_module("torch._dynamo")
    torch.set_num_threads(1)
    images = torch.ones(1, 2, 4, 4, requires_grad=True)
    for compute in (_Torch(), sc.functional):
        compute.softmax(
            compute.avg_pool2d(compute.conv2d(images, torch.ones(2, 2, 1, 1)), 2), 1
        ).sum().backward()
    with sc.override():
        F.relu(images)


def _child(numbers: list[int], seed: int, without_torch: bool, seconds: int) -> Iterator[list[Any]]:
    """Yield the steps that a forked child reports, until it ends, or hangs and is killed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            work(numbers, seed, without_torch, write)
        finally:
            os._exit(0)
    os.close(write)
    rest = b""
    while select.select([read], [], [], seconds)[0]:
        received = os.read(read, 1 << 16)
        if not received:
            break
        *complete, rest = (rest + received).split(b"\n")
        for line in complete:
            yield json.loads(line)
    os.close(read)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main() -> None:
    """Run, print the differences, and write the raw figures; the exit status is 1 if one is unexplained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000, help="how many calls are drawn")
    parser.add_argument("--seed", type=int, default=0, help="what they are drawn by")
    parser.add_argument("--processes", type=int, default=2, help="how many run at a time")
    parser.add_argument(
        "--only", type=int, help="run the call of this number alone, and print what comes of it"
    )
    given = parser.parse_args()
    console = Console(highlight=False, width=160)
    if given.only is not None:
        warnings.simplefilter("ignore")
        call = draw(given.seed, given.only)
        print(call.expression(), call.then, call.way, compare(call), sep="\n")
        return
    shares = [list(range(start, given.calls, 4 * given.processes)) for start in range(4 * given.processes)]
    start = time.perf_counter()
    with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool:
        lines = [line for each in pool.map(lane, shares, [given.seed] * len(shares)) for line in each]
    counts = Counter(line[2] if line[1] == "done" else "arguments that cannot be made" for line in lines)
    kinds = grouped([line for line in lines if len(line) > 3])
    console.print(summary(counts))
    console.print(table(kinds))
    raw = {"calls": given.calls, "seed": given.seed, "seconds": round(time.perf_counter() - start)}
    unexplained = sum(not each["why"] for each in kinds)
    console.print(f"{len(kinds)} kinds of differences, {unexplained} of them unexplained")
    console.print(f"Raw figures: {keep('hostile', {**raw, 'outcomes': dict(counts), 'differences': kinds})}")
    raise SystemExit(unexplained > 0)


def grouped(lines: list[list[Any]]) -> list[dict[str, Any]]:
    """Group differences by operator, kind and reason: what explains them, or the odd arguments."""
    explained = read_explained(RESULTS / "hostile_explained.toml")
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for number, _, kind, operator, odd, then, way, expression, detail in sorted(lines):
        facts = {"operator": operator, "kind": kind, "detail": detail, "then": then, "way": way}
        facts["input"] = _state_of_input(expression)
        facts["odd"] = "; ".join(f"{name}={odd[name]}" for name in sorted(odd))
        why = next((entry["why"] for entry in explained if _fits(entry, facts)), "")
        reason = why or "; ".join(sorted(odd))
        group = groups.setdefault((kind, operator, reason, "" if why else then), {**facts, "why": why})
        group.setdefault("example", f"{expression}, {then}, {way} (call {number})")
        group["count"] = group.get("count", 0) + 1
        group.setdefault("seen", Counter()).update([facts["odd"]])
    for group in groups.values():
        group["seen"] = dict(group["seen"].most_common(12))
    return sorted(groups.values(), key=lambda group: (bool(group["why"]), group["kind"], -group["count"]))


class _Arguments:
    """Stands for a library in the text of a call, for its arguments."""

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        return lambda **arguments: arguments


def _state_of_input(expression: str) -> str:
    """Return whether the input of a call, a text, has elements."""
    value = eval(expression, {**NAMES, "lib": _Arguments()})["input"]
    if not isinstance(value, Tensor):
        return "no tensor"
    return "elements" if value.is_nested or value.numel() else "no elements"


def read_explained(path: Path) -> list[dict[str, str]]:
    """Return the explanations: patterns by field, and `why`."""
    return tomllib.loads(path.read_text("utf-8")).get("difference", []) if path.exists() else []


def _fits(entry: dict[str, str], facts: dict[str, str]) -> bool:
    return all(fnmatchcase(facts[name], pattern) for name, pattern in entry.items() if name != "why")


def summary(counts: Counter[str]) -> Table:
    """Return the table of outcomes."""
    shown = Table(title="Hostile calls", header_style="")
    shown.add_column("outcome")
    shown.add_column("calls", justify="right")
    for outcome, count in counts.most_common():
        shown.add_row(outcome, f"{count:,}")
    return shown


def table(kinds: list[dict[str, Any]]) -> Table:
    """Return the table of differences."""
    shown = Table(title="Differences from torch", header_style="", show_lines=True)
    for column in ("kind", "operator", "calls", "an example, and what differs", "why"):
        shown.add_column(column, justify="right" if column == "calls" else "left")
    for group in kinds:
        shown.add_row(
            group["kind"],
            group["operator"],
            str(group["count"]),
            f"{group['example']}\n{group['detail']}",
            group["why"] or "UNEXPLAINED",
        )
    return shown


if __name__ == "__main__":
    main()
