"""A pytest plugin: `pytest --parity-target package.module:Name --like conv2d` adds the suite to one's own
tests.

Each aspect of the operator is one test. A file of known failures (`--xfails-file`) lists the names of tests,
one a line, as they are printed (`parity::conv2d::layouts`); # starts a comment. A listed test that passes is
an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_PLAIN = {"layouts": False, "unbatched": False, "empty": False, "special_values": False, "gradients": False}
ASPECTS: dict[str, dict[str, Any]] = {
    "values": {"dtypes": ("float32",)},
    "float64": {"dtypes": ("float64",)},
    "gradients": {"gradients": True},
    "layouts": {"layouts": True},
    "unbatched": {"unbatched": True},
    "empty": {"empty": True},
    "special-values": {"special_values": True},
    "together": dict.fromkeys(_PLAIN, True),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suite."""
    group = parser.getgroup("parity", "equality with torch's operators (scratch_conv.parity)")
    group.addoption("--parity-target", help="what to test, as package.module:Name")
    group.addoption("--like", help="the operator of torch.nn.functional that it should equal")
    group.addoption("--max-examples", type=int, default=500, help="configurations to draw for each test")
    group.addoption("--xfails-file", type=Path, help="a file that lists the tests known to fail")


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add one test for each aspect of the operator."""
    target, like = config.getoption("--parity-target"), config.getoption("--like")
    if target is None:
        return
    if like is None:
        raise pytest.UsageError("--parity-target needs --like, the name of the operator that it should equal")
    candidate = _load(target, like)
    known = _known_failures(config.getoption("--xfails-file"))
    for aspect, claims in ASPECTS.items():
        item = ParityItem.from_parent(session, name=f"parity::{like}::{aspect}")
        item.prepare(candidate, like, {**_PLAIN, **claims}, config.getoption("--max-examples"))
        if item.name in known:
            item.add_marker(pytest.mark.xfail(reason="listed as known to fail", strict=True))
        items.append(item)


def _load(target: str, like: str) -> Any:
    from scratch_conv.parity.operators import find_operator
    from scratch_conv.parity.targets import load_target

    try:
        find_operator(like)
        return load_target(target)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def _known_failures(file: Path | None) -> set[str]:
    if file is None:
        return set()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise pytest.UsageError(f"--xfails-file: {error}") from error
    return {line.partition("#")[0].strip() for line in lines} - {""}


class DifferenceError(Exception):
    """Carries the report of a candidate that is not torch."""


class ParityItem(pytest.Item):
    """One aspect of one operator, checked."""

    def prepare(self, candidate: Any, like: str, claims: dict[str, Any], examples: int) -> None:
        """Say what the test checks."""
        self.candidate, self.like, self.claims, self.examples = candidate, like, claims, examples

    def runtest(self) -> None:
        """Check the candidate."""
        from scratch_conv.parity.checking import check

        report = check(self.candidate, self.like, self.examples, supports=self.claims)
        if not report.passed:
            raise DifferenceError(str(report))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the report alone for a difference, without the traceback."""
        if isinstance(excinfo.value, DifferenceError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where the test stands: nowhere in a file, hence its name."""
        return self.path, None, self.name
