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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    """Sends what comes of each test: that it starts, then its outcome and its seconds."""

    def __init__(self, limit: int, send: Callable[[tuple[str, str, float]], None]) -> None:
        super().__init__()
        self.limit = limit
        self.send = send
        self.outcome = ""
        self.start = 0.0
        signal.signal(signal.SIGPROF, _end)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self.send((test.id(), "crashed", 0.0))
        self.outcome, self.start = "passed", time.process_time()
        signal.setitimer(signal.ITIMER_PROF, self.limit)

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.send((test.id(), self.outcome, round(time.process_time() - self.start, 2)))
        super().stopTest(test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        self.outcome = "skipped"

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self.outcome = "passes unexpectedly"

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self.outcome = f"{err[0].__name__}: {str(err[1]).strip()[:300]}"

    addFailure = addError  # noqa: N815

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.addError(test, err)


def _end(*_: Any) -> None:
    raise TooLong


def work(path: str, overridden: bool, limit: int, done: set[str], pipe: Any) -> None:
    """Run the tests of a file, but those that are done, in this process."""
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
    classes: Any = unittest.defaultTestLoader.loadTestsFromModule(module)
    tests = [test for each in classes for test in each]
    left = unittest.TestSuite(test for test in tests if test.id() not in done)
    with sc.override() if overridden else nullcontext():
        left.run(Outcomes(limit, pipe.send))
    pipe.send(None)


def outcomes(path: str, overridden: bool, limit: int) -> dict[str, tuple[str, float]]:
    """Run the tests of a file; return the outcome of each, and its seconds. Go on after what crashes."""
    found: dict[str, tuple[str, float]] = {}
    context = multiprocessing.get_context("spawn")
    while True:
        receiving, sending = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(path, overridden, limit, set(found), sending))
        child.start()
        sending.close()
        before = len(found)
        try:
            while (line := receiving.recv()) is not None:
                found[line[0]] = line[1:]
                print(*line, overridden, file=sys.stderr, flush=True)
        except EOFError:  # it crashed, in the last test that started
            child.join()
            if len(found) == before:
                raise SystemExit(f"{path} cannot be run") from None
            continue
        child.join()
        return found


def main() -> None:
    """Run both ways, list the differences, and write the raw figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files of PyTorch's test suite")
    parser.add_argument("--seconds", type=int, default=300, help="of processor time, for a test")
    given = parser.parse_args()
    paths = [path for path in given.paths for _ in range(2)]
    if importlib.util.find_spec("expecttest") is None:
        parser.error("PyTorch's tests need expecttest: pip install expecttest")
    ways = [False, True] * len(given.paths)
    with ThreadPoolExecutor(2) as pool:
        ran = list(pool.map(outcomes, paths, ways, [given.seconds] * len(paths)))
    raw = {
        way: {name: each for file in files for name, each in file.items()}
        for way, files in (("plain", ran[::2]), ("within override()", ran[1::2]))
    }
    plain, within = ({name: outcome for name, (outcome, _) in each.items()} for each in raw.values())
    differing = {name: outcome for name, outcome in within.items() if plain[name] == "passed" != outcome}
    console = Console(highlight=False, width=140)
    console.print(table(plain, within))
    for name, outcome in differing.items():
        console.print(f"passes plain, not within override(): {name}\n    {outcome}")
    others = {name: outcome for name, outcome in plain.items() if outcome not in ("passed", "skipped")}
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
