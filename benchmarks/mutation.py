"""Mutation testing of the kernels: `python -m benchmarks.mutation`.

mutmut changes one operator, number or argument at a time and runs the tests that reach it, but leaves out
code outside of functions, and decorated functions. A mutant that survives is equivalent to the original, and
listed with the reason in results/equivalent_mutants.toml; otherwise this program fails: a test is missing.
What a run of some files finds (`--only`) is kept together with what earlier runs found in the others.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import RESULTS, keep

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest where Python itself has none

CHECKOUT = Path(__file__).parent.parent
EQUIVALENT = RESULTS / "equivalent_mutants.toml"
SCRATCH = re.compile(r"""scratch\((None|"[^"]*")""")
ZIP = re.compile(r",( strict=\w+)?\s*(?=\)|$)")
EINSUM = re.compile(r'einsum\("[A-Za-z,>-]*"')


class Mutant(NamedTuple):
    """A change, identified by the text of the changed lines, so that it is found again when they move."""

    file: str
    function: str
    before: str
    after: str


@dataclass
class Outcome:
    """The results of one file's mutants; `survived` are those without an explanation.

    An interrupted run leaves some `untested`; these are not counted elsewhere.
    """

    killed: int = 0
    timed_out: int = 0
    untested: int = 0
    equivalent: list[Mutant] = field(default_factory=list)
    survived: list[Mutant] = field(default_factory=list)

    @property
    def mutants(self) -> int:
        """The number of mutants that were tested."""
        return self.killed + self.timed_out + len(self.equivalent) + len(self.survived)

    @property
    def raw_score(self) -> float:
        """The fraction of all mutants that the tests detect; those that time out count as detected."""
        return (self.killed + self.timed_out) / max(1, self.mutants)

    @property
    def score(self) -> float:
        """The detected fraction of those that are not equivalent."""
        return (self.killed + self.timed_out) / max(1, self.mutants - len(self.equivalent))


def main() -> None:
    """Run mutmut, print a table, keep the raw figures; exit with 1 if a mutant is unexplained or untested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1, help="how many mutants are tested at a time")
    parser.add_argument("--read", action="store_true", help="only read what the last run left in mutants/")
    parser.add_argument("--only", nargs="+", metavar="FILES", help="such as scratch_conv/kernels/pooling/*")
    options = parser.parse_args()
    if not options.read:
        # mutmut keeps its results while a function stays the same, whatever became of the tests.
        shutil.rmtree(CHECKOUT / "mutants", ignore_errors=True)
        names = [pattern.removesuffix(".py").replace("/", ".") + "*" for pattern in options.only or []]
        command = [mutmut(), "run", "--max-children", str(options.processes), *names]
        subprocess.run(command, cwd=CHECKOUT, check=True)
    listed = equivalent_mutants()
    outcomes = read_outcomes(listed, options.only or ["*"])
    merged = {**kept_outcomes(), **outcomes}
    console = Console(highlight=False)
    console.print(table(merged))
    print_mutants(console, outcomes, listed)
    merged["in all"] = in_all(merged.values())
    raw = {name: raw_figures(outcome) for name, outcome in merged.items()}
    console.print(f"Raw figures: {keep('mutation', raw)}", soft_wrap=True)
    tested = in_all(outcomes.values())
    sys.exit(1 if tested.survived or tested.untested else 0)


def print_mutants(console: Console, outcomes: dict[str, Outcome], listed: Collection[Mutant]) -> None:
    """Print the mutants that nothing explains, and those that are listed though a test detects them."""
    for outcome in outcomes.values():
        for mutant in outcome.survived:
            console.print("Survived", *mutant, sep="\n    ", markup=False, soft_wrap=True)
    found = {mutant for outcome in outcomes.values() for mutant in outcome.equivalent}
    for mutant in [each for each in listed if each.file in outcomes and each not in found]:
        console.print("Listed, but not survived", *mutant, sep="\n    ", markup=False, soft_wrap=True)


def mutmut() -> str:
    """Return the path of mutmut, beside this Python or on the PATH."""
    found = shutil.which("mutmut", path=str(Path(sys.executable).parent)) or shutil.which("mutmut")
    if found is None:
        sys.exit("mutmut is missing: pip install '.[mutation]'")
    return found


def equivalent_mutants() -> dict[Mutant, str]:
    """Return the equivalent mutants, each with the reason."""
    entries = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["equivalent"]
    return {
        Mutant(entry["file"], entry["function"], entry["before"], after): entry["reason"]
        for entry in entries
        for after in entry["after"]
    }


def kept_outcomes() -> dict[str, Outcome]:
    """Return what earlier runs found in the files that still exist."""
    path = RESULTS / "mutation.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        name: Outcome(
            *(figures[count] for count in ("killed", "timed_out", "untested")),
            *([Mutant(**mutant) for mutant in figures[kind]] for kind in ("equivalent", "survived")),
        )
        for name, figures in kept.items()
        if name.endswith(".py") and (CHECKOUT / name).exists()
    }


def read_outcomes(listed: Collection[Mutant], only: list[str]) -> dict[str, Outcome]:
    """Return the outcomes of the last run by file, of the files that match a pattern."""
    lines = ask("results", "--all", "true").splitlines()
    outcomes: dict[str, Outcome] = {}
    for name, status in (line.strip().split(": ") for line in lines if "__mutmut_" in line):
        file, function = file_and_function(name)
        if not any(fnmatch(file, pattern) for pattern in only):
            continue
        outcome = outcomes.setdefault(file, Outcome())
        if status in ("killed", "segfault"):
            outcome.killed += 1
        elif status == "timeout":
            outcome.timed_out += 1
        elif status in ("survived", "no tests"):
            mutant = Mutant(file, function, *changed_lines(ask("show", name)))
            explained = mutant in listed or follows_a_rule(mutant)
            (outcome.equivalent if explained else outcome.survived).append(mutant)
        else:
            outcome.untested += 1
    return outcomes


def follows_a_rule(mutant: Mutant) -> bool:
    """Return whether a mutant only renames scratch memory or einsum's axes, or has `zip` check no lengths.

    Any name will do that no other array of the same moment has; and lengths are never unequal.
    """
    before, after = (
        ZIP.sub("", EINSUM.sub(lambda found: found[0].lower(), SCRATCH.sub("scratch(name", text)))
        for text in (mutant.before, mutant.after)
    )
    return before == after


def ask(*arguments: str) -> str:
    """Return the output of a command of mutmut."""
    return subprocess.run(
        [mutmut(), *arguments], cwd=CHECKOUT, check=True, capture_output=True, encoding="utf-8"
    ).stdout


def file_and_function(name: str) -> tuple[str, str]:
    """Split mutmut's names: package.module.x_function__mutmut_1, package.module.xǁClassǁmethod__mutmut_1."""
    module, _, mangled = name.rpartition(".")
    function = re.sub(r"__mutmut_\d+$", "", mangled)
    function = function[2:].replace("ǁ", ".") if function.startswith(("x_", "xǁ")) else function
    return module.replace(".", "/") + ".py", function


def changed_lines(difference: str) -> tuple[str, str]:
    """Return the text before and after a change from its unified diff, each on one line."""
    lines = [line for line in difference.splitlines() if not line.startswith(("---", "+++"))]
    before, after = ([line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+")
    return " ".join(before), " ".join(after)


def in_all(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the sum of all files."""
    total = Outcome()
    for outcome in outcomes:
        total.killed += outcome.killed
        total.timed_out += outcome.timed_out
        total.untested += outcome.untested
        total.equivalent += outcome.equivalent
        total.survived += outcome.survived
    return total


def raw_figures(outcome: Outcome) -> dict[str, object]:
    """Return the counts, the scores and the surviving mutants of a file."""
    scores = {"mutants": outcome.mutants, "score": outcome.score, "raw_score": outcome.raw_score}
    mutants = {
        kind: [mutant._asdict() for mutant in getattr(outcome, kind)] for kind in ("equivalent", "survived")
    }
    return {**scores, **asdict(outcome), **mutants}


def table(outcomes: dict[str, Outcome]) -> Table:
    """Return the table of counts, file by file."""
    shown = Table(
        "file", "mutants", "killed", "timed out", "survived", "equivalent", "untested", "score", "raw score"
    )
    for name, outcome in {**outcomes, "in all": in_all(outcomes.values())}.items():
        counts = [outcome.mutants, outcome.killed, outcome.timed_out]
        counts += [len(outcome.survived), len(outcome.equivalent), outcome.untested]
        scores = [f"{score:.1%}" for score in (outcome.score, outcome.raw_score)]
        shown.add_row(name.removeprefix("scratch_conv/kernels/"), *map(str, counts), *scores)
    return shown


if __name__ == "__main__":
    main()
