"""Kills, interrupts, threads, forks, shutdown, memory and damaged files: `python -m benchmarks.robustness`.

Each row says what was tried, how often, and how often the result was wrong; the exit status is 1 if one was.
With `--only` the rows of the other parts are kept. Linux alone: signals by a timer, and /proc. Writes
robustness.json to benchmarks/results. The parts:

    kills       trainings killed at random times, then resumed: the end must equal that of an undisturbed one
    interrupts  KeyboardInterrupt at random times in kernels and in steps: the next results must be right
    handlers    kernels called by a signal's handler in the middle of other kernels
    threads     eight networks trained on eight threads must end as they do one after the other
    processes   forked and spawned processes, while another thread is at work
    shutdown    layers that run while Python shuts down
    growth      the memory that a process holds after many steps
    damage      damaged and foreign weights and checkpoints: refused, or read as they were
"""

import argparse
import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatch

from rich.console import Console
from rich.table import Table

from benchmarks import damaged_files, disturbed_calls, killed_runs
from benchmarks.measuring import RESULTS, keep
from benchmarks.trials import Row

PARTS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "kills": killed_runs.kills,
    "interrupts": disturbed_calls.interrupts,
    "handlers": disturbed_calls.handlers,
    "threads": disturbed_calls.threads,
    "processes": disturbed_calls.processes,
    "shutdown": disturbed_calls.shutdown,
    "growth": disturbed_calls.growth,
    "damage": damaged_files.damage,
}


def main() -> None:
    """Try, print a table, and write the raw figures; the exit status is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="*", help="a pattern of parts; the others keep their rows")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the trials")
    given = parser.parse_args()
    chosen = [part for part in PARTS if fnmatch(part, given.only)]
    if not chosen:
        parser.error(f"--only {given.only}: there is no such part")
    name = "robustness" + "-quick" * given.quick
    parts = kept_parts(name)
    for part in chosen:
        rows = []
        for row in PARTS[part](given.quick):
            print(json.dumps(row._asdict()), flush=True)
            rows.append(row._asdict())
        parts[part] = rows
        raw = keep(name, {"parts": parts})
    console = Console(highlight=False, width=120)
    console.print(table({part: parts[part] for part in PARTS if part in parts}))
    print(f"Raw figures: {raw}")
    raise SystemExit(any(row["wrong"] for part in chosen for row in parts[part]))


def kept_parts(name: str) -> dict[str, list[dict[str, object]]]:
    """Return the rows of earlier runs, by part."""
    path = RESULTS / f"{name}.json"
    parts: dict[str, list[dict[str, object]]] = (
        json.loads(path.read_text("utf-8"))["parts"] if path.exists() else {}
    )
    return parts


def table(parts: dict[str, list[dict[str, object]]]) -> Table:
    """Return the table of all parts."""
    shown = Table(title="Disturbed on purpose", header_style="")
    for column in ("part", "what", "tried", "wrong", ""):
        shown.add_column(column, justify="right" if column in ("tried", "wrong") else "left")
    for part, rows in parts.items():
        for row in rows:
            shown.add_row(part, str(row["what"]), f"{row['tried']:,}", str(row["wrong"]), str(row["notes"]))
    return shown


if __name__ == "__main__":
    main()
