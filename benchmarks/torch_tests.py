"""PyTorch's own tests, within `scratch_conv.override()`: `python -m benchmarks.torch_tests PATH...`.

Each path is a file of PyTorch's test suite, such as test/nn/test_convolution.py and test/nn/test_pooling.py
of a checkout whose version is that of the torch installed. Its tests on the CPU run twice, plain and within
`override()`, each file in a process of its own, with a limit of memory, and of processor time for each test.
Those that pass plain but not within are listed with their error, and the exit status is then 1. PyTorch's
tests need the package `expecttest`. Writes torch_tests.json to benchmarks/results.
"""

import argparse
import importlib.util
import multiprocessing
import os
import resource
import signal
import sys
import time
import unittest
import warnings
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import scratch_conv as sc
from benchmarks.measuring import keep

BYTES = 8 << 30


class TooLong(BaseException):
    """A test took more than the limit of processor time. No Exception: tests catch those."""


class Outcomes(unittest.TestResult):
    """What came of each test: passed, skipped, or the first lines of its error; and its seconds."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.by_name: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        signal.signal(signal.SIGPROF, _end)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self.seconds[test.id()] = -time.process_time()
        signal.setitimer(signal.ITIMER_PROF, self.limit)

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds[test.id()] = round(self.seconds[test.id()] + time.process_time(), 3)
        super().stopTest(test)

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self.by_name[test.id()] = "passed"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        self.by_name[test.id()] = "skipped"

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self.by_name[test.id()] = "passed"

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self.by_name[test.id()] = "passes unexpectedly"

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self.by_name[test.id()] = f"{err[0].__name__}: {str(err[1]).strip()[:300]}"

    addFailure = addError  # noqa: N815

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.addError(test, err)


def _end(*_: Any) -> None:
    raise TooLong


def outcomes(path: str, overridden: bool, limit: int) -> tuple[dict[str, str], dict[str, float]]:
    """Run the tests of a file in this process; return what came of each, and its seconds."""
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    os.environ.setdefault("PYTORCH_TESTING_DEVICE_ONLY_FOR", "cpu")
    warnings.simplefilter("ignore")
    sys.argv = [path]
    sys.path.insert(0, str(Path(path).parent))
    name = Path(path).stem
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    result = Outcomes(limit)
    with sc.override() if overridden else nullcontext():
        unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    return result.by_name, result.seconds


def main() -> None:
    """Run both ways, list the differences, and write the raw figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files of PyTorch's test suite")
    parser.add_argument("--seconds", type=int, default=60, help="of processor time, for a test")
    given = parser.parse_args()
    paths = [path for path in given.paths for _ in range(2)]
    if importlib.util.find_spec("expecttest") is None:
        parser.error("PyTorch's tests need expecttest: pip install expecttest")
    ways = [False, True] * (len(paths) // 2)
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        ran = pool.starmap(outcomes, zip(paths, ways, [given.seconds] * len(paths), strict=True), chunksize=1)
    plain, within = ({k: v for each, _ in half for k, v in each.items()} for half in (ran[::2], ran[1::2]))
    times = [{k: v for _, each in half for k, v in each.items()} for half in (ran[::2], ran[1::2])]
    differing = {name: outcome for name, outcome in within.items() if plain[name] == "passed" != outcome}
    console = Console(highlight=False, width=140)
    console.print(table(plain, within))
    for name, outcome in differing.items():
        console.print(f"passes plain, not within override(): {name}\n    {outcome}")
    others = {name: outcome for name, outcome in plain.items() if outcome not in ("passed", "skipped")}
    raw = {
        way: {name: {"outcome": each[name], "seconds": seconds.get(name, 0)} for name in each}
        for way, each, seconds in (("plain", plain, times[0]), ("within override()", within, times[1]))
    }
    console.print(f"{len(others)} fail plain; {len(differing)} pass plain but not within override()")
    console.print(f"Raw figures: {keep('torch_tests', raw)}")
    raise SystemExit(bool(differing))


def table(plain: dict[str, str], within: dict[str, str]) -> Table:
    """Return how many tests pass, by file."""
    shown = Table(title="PyTorch's own tests", header_style="")
    for column in ("file", "tests", "passed, plain", "passed, within override()", "skipped"):
        shown.add_column(column, justify="left" if column == "file" else "right")
    for file, count in Counter(name.split(".")[0] for name in plain).items():
        own = [name for name in plain if name.split(".")[0] == file]
        cells = [
            sum(plain[name] == "passed" for name in own),
            sum(within.get(name) == "passed" for name in own),
            sum(plain[name] == "skipped" for name in own),
        ]
        shown.add_row(file, str(count), *map(str, cells))
    return shown


if __name__ == "__main__":
    main()
