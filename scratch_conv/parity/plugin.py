"""A pytest plugin: `pytest --parity-target package.module:Name --parity-like conv2d` adds tests to yours.

Each aspect of the operator is one test; what `--parity-without` names is not tested, as in the command
`scratch-conv parity --without`. A file of known failures (`--parity-xfails-file`) lists the names of tests,
one a line, as they are printed (`parity::conv2d::layouts`); # starts a comment. A listed test that passes is
an error, so that the list stays true. Listed tests have the mark xfail (`-m "not xfail"`, `--runxfail`).
What follows from them need not be listed: where gradients fail, so do second derivatives; `together` is
tested without what is listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scratch_conv.parity.options import CALLING, CLAIMS

if TYPE_CHECKING:
    from scratch_conv.parity.drawing.claims import Supports

# Each test takes one of these besides the plain case; "together" takes all.
_ASPECTS = (
    "gradients",
    "layouts",
    "unbatched",
    "empty",
    "special_values",
    "second_derivatives",
    "memory_format",
    "errors",
)
_NEEDS = {"second_derivatives": ("gradients",)}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suite."""
    group = parser.getgroup("parity", "equality with torch's operators (scratch_conv.parity)")
    group.addoption("--parity-target", help="what to test, as package.module:Name")
    group.addoption(
        "--parity-like",
        help="the operator of torch.nn.functional that it should equal, such as conv2d; "
        "`scratch-conv parity --list` names them all",
    )
    group.addoption("--parity-examples", type=int, default=500, help="configurations to draw for each test")
    group.addoption("--parity-seed", type=int, default=0, help="the same seed draws the same configurations")
    for name, text in {**CLAIMS, **CALLING}.items():
        group.addoption(f"--parity-{name.replace('_', '-')}", metavar="WORDS", help=text.replace("%", "%%"))
    group.addoption(
        "--parity-xfails-file",
        type=Path,
        help="a file that lists the tests known to fail, one a line, such as parity::conv2d::layouts; "
        "# starts a comment; a listed test that passes fails",
    )


@pytest.hookimpl(tryfirst=True)  # so that -k and -m see them
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add one test for each aspect of the operator."""
    target, like = config.getoption("--parity-target"), config.getoption("--parity-like")
    if target is None:
        return
    if like is None:
        raise pytest.UsageError("--parity-target needs --parity-like, the operator that it should equal")
    candidate, supports, shown, calling = _load(target, like, config)
    listed = config.getoption("--parity-xfails-file")
    prefix = f"parity::{like}::"
    tests = {f"{prefix}{aspect}": claims for aspect, claims in _aspects(supports, shown).items()}
    known = {name.removeprefix(prefix) for name in _known_failures(listed, tests)}
    examples, seed = config.getoption("--parity-examples"), config.getoption("--parity-seed")
    for name, claims in tests.items():
        aspect = name.removeprefix(prefix)
        item = ParityItem.from_parent(session, name=name)
        options = {**calling, "examples": examples, "seed": seed}
        item.prepare(candidate, like, _without_known(aspect, claims, known), options)
        if aspect in known:
            item.known = str(listed)
            mark = pytest.mark.xfail(reason=f"listed in {listed}", raises=KnownError, strict=False)
            item.add_marker(mark)
        elif _follows(aspect, known):
            item.follows = f"follows from what {listed} lists"
        items.append(item)


def _follows(aspect: str, known: set[str]) -> bool:
    """Return whether a test fails because another one does, which is known."""
    needed = {each.replace("_", "-") for each in _NEEDS.get(aspect.replace("-", "_"), ())}
    return bool(needed & known) or ("values" in known and aspect != "values")


def _without_known(aspect: str, claims: Supports, known: set[str]) -> Supports:
    """Return a test's claims; those of all together, unless it is listed, without what is known to fail."""
    if aspect != "together" or aspect in known:
        return claims
    names = {each.replace("-", "_") for each in known}
    dtypes = tuple(each for each in claims.dtypes if each not in names) or claims.dtypes
    failing: dict[str, Any] = dict.fromkeys(names & set(_ASPECTS), False)
    return replace(claims, dtypes=dtypes, **failing)


def _load(target: str, like: str, config: pytest.Config) -> tuple[Any, Supports, Supports, dict[str, Any]]:
    """Return the candidate, what is claimed for it, what of that it shows, and how it is called."""
    try:
        from scratch_conv.parity.candidates.kinds import as_candidate
        from scratch_conv.parity.candidates.targets import Target, load_target
        from scratch_conv.parity.operators import find_operator
        from scratch_conv.parity.options import stated

        operator = find_operator(like)
        candidate = load_target(target)
        options = {
            name: config.getoption(f"--parity-{name.replace('_', '-')}") for name in (*CLAIMS, *CALLING)
        }
        if options["backward"] is not None:
            options["backward"] = Target(target).beside(options["backward"]).load()
        supports, adapter = stated(operator, None, options)
        calling = {name: options[name] for name in CALLING if options[name] is not None}
        return candidate, supports, as_candidate(candidate, operator, adapter).narrow(supports)[0], calling
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        needed = "--parity-target needs Hypothesis: pip install 'scratch-conv[parity]'"
        raise pytest.UsageError(needed) from error
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(str(error)) from error


def _aspects(supports: Supports, shown: Supports) -> dict[str, Supports]:
    """Return the claims of each test, by its name: a test for each that the signature shows."""
    none: dict[str, Any] = dict.fromkeys(_ASPECTS, False)
    plain = replace(supports, **none)
    aspects = {
        "values" if dtype == "float32" else dtype: replace(plain, dtypes=(dtype,)) for dtype in shown.dtypes
    }
    for aspect in _ASPECTS:
        needed: dict[str, Any] = dict.fromkeys((aspect, *_NEEDS.get(aspect, ())), True)
        if all(getattr(shown, name) for name in needed):
            aspects[aspect.replace("_", "-")] = replace(plain, **needed)
    return {**aspects, "together": supports}


def _known_failures(file: Path | None, tests: Iterable[str]) -> set[str]:
    """Return the names that a file lists.

    Raises:
        pytest.UsageError: it cannot be read, or lists what is no test.
    """
    if file is None:
        return set()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise pytest.UsageError(f"--parity-xfails-file: {error}") from error
    known = {line.partition("#")[0].strip() for line in lines} - {""}
    if known - set(tests):
        unknown, tests = ", ".join(sorted(known - set(tests))), ", ".join(tests)
        raise pytest.UsageError(f"{file} lists {unknown}; the tests are {tests}")
    return known


class DifferenceError(Exception):
    """Carries what a failed test has to say: the report of a candidate that is not torch, mostly."""


class KnownError(DifferenceError):
    """Carries the report of a test that is known to fail."""


class ParityItem(pytest.Item):
    """One aspect of one operator, checked."""

    def prepare(self, candidate: Any, like: str, claims: Supports, options: dict[str, Any]) -> None:
        """Set what the test checks, and how."""
        self.candidate, self.like, self.claims, self.options = candidate, like, claims, options
        self.known = ""  # the file that lists it as known to fail
        self.follows = ""  # why it fails where another test does

    def runtest(self) -> None:
        """Check the candidate."""
        from scratch_conv.parity.checking import check

        report = check(self.candidate, self.like, supports=self.claims, further=False, **self.options)
        if self.known and report.passed:
            raise DifferenceError(f"passes, though {self.known} lists it as known to fail: take it off")
        if not report.passed and self.follows:
            pytest.xfail(self.follows)
        if not report.passed:
            raise (KnownError if self.known else DifferenceError)(str(report))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the report alone for a difference, without the traceback."""
        if isinstance(excinfo.value, DifferenceError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where the test stands: nowhere in a file, hence its name."""
        return self.path, None, self.name
