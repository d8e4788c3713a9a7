"""The pages that `compare` and `report` write: their parts, and what a browser makes of them."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from scratch_conv.training.commands import command_line
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.reporting.page import part, render, text
from scratch_conv.training.reporting.runs import read_summaries, render_runs
from scratch_conv.training.settings import InputError, Settings

SECTIONS = (
    "Key figures",
    "Curves",
    "Accuracy over seeds",
    "Time",
    "Predictions",
    "Filters",
    "Feature maps",
    "Architecture",
    "How to reproduce it",
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
VOID = {"br", "img", "meta", "link", "input"}


class Outline(HTMLParser):
    """Reads a page, and checks that its elements are nested properly.

    Attributes:
        texts: by the tag: the text of each element.
        addresses: of images, links and the like.
        ids: of elements.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[tuple[str, list[str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        """Note an element."""
        for name, value in attributes:
            if name in ("src", "href", "xlink:href"):
                self.addresses.append(value or "")
            elif name == "id":
                self.ids.append(value or "")
        if tag not in VOID:
            self.open.append((tag, []))

    def handle_endtag(self, tag: str) -> None:
        """Note its text."""
        opened, texts = self.open.pop()
        assert opened == tag, self.getpos()
        self.texts.setdefault(tag, []).append("".join(texts).strip())

    def handle_startendtag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        """Note an element without any contents."""
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        """Note text of all elements around it."""
        for _, texts in self.open:
            texts.append(data)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison with two seeds."""
    out = tmp_path_factory.mktemp("compared") / "run"
    options = "--dataset shapes --model small-cnn --limit 64 --limit-test 32 --epochs 1 --seeds 2"
    process = subprocess.run(
        [sys.executable, "-m", "scratch_conv", "compare", *options.split(), "--out", str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr
    return out


@pytest.fixture(scope="session")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def summary(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "summary.json").read_text(encoding="utf-8")))


def test_a_page_has_all_sections_and_needs_nothing_else(page: str) -> None:
    outline = Outline(page)
    assert outline.texts["h2"] == [*SECTIONS]
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in outline.addresses)
    assert not re.search("https?:|<script|@import|url\\((?!#)", page)
    assert len(page) < 3_000_000
    sections = [name for name in outline.ids if name.startswith("section-")]
    assert [address[1:] for address in outline.addresses if address.startswith("#section")] == sections
    references = {*re.findall(r"(?:url\(|xlink:href=\")#([^)\"]*)", page)}
    assert references
    assert references <= {*outline.ids}


def test_a_page_says_what_the_summary_says(page: str, summary: dict[str, Any]) -> None:
    said = html.unescape(re.sub(r"<[^>]*>", "", page))
    verdict = summary["verdict"]["sentence"]
    assert verdict[1:] in said
    assert said.index(verdict[1:]) < said.index("Key figures")
    assert summary["command"] in said
    for facts in (summary["machine"], summary["versions"]):
        for name, value in facts.items():
            assert name in said
            assert value in said
    assert summary["data"]["sha256"] in said
    assert {"OMP_WAIT_POLICY", "NumPy's BLAS", "torch's threads", "system"} <= summary["machine"].keys()
    assert "seed 1" not in said  # of the seeds, tables and curves show both
    assert "once for each of the seeds 0, 1." in said
    assert "Of seed 0. Seconds an epoch:" in said
    for chart in ("Loss", "Test accuracy", "Loss of each step", "Difference of a step's loss to torch's"):
        assert f'aria-label="{html.escape(chart)}"' in page
    for chart in ("Distance of the weights to torch's", "Forward passes", "Backward passes"):
        assert f'aria-label="{html.escape(chart)}"' in page
    for name in ("torch", "scratch"):
        assert f'aria-label="Confusions of {name}"' in page
    assert re.search(r"the harness takes \d+\.\d% with torch and \d+\.\d% with scratch", said)
    assert re.search(r"The backends agree on (all 32|\d+\.\d\d% of the 32) test images", said)


def test_the_command_on_a_page_is_that_of_its_settings(summary: dict[str, Any]) -> None:
    assert summary["command"] == (
        "scratch-conv compare --dataset shapes --model small-cnn --epochs 1 --batch-size 128 --lr 0.001 "
        "--seed 0 --precision 32 --limit 64 --optimizer adam --augment --schedule constant --limit-test 32 "
        "--seeds 2"
    )
    settings = replace(Settings(**summary["settings"]), seeds=1, limit=None, augment=False)
    command = command_line(settings, ("numpy",), Path("my data"))
    assert command.startswith("scratch-conv train --backend numpy --dataset shapes ")
    assert command.endswith(" --no-augment --schedule constant --limit-test 32 --data-dir 'my data'")


def test_the_digest_on_a_page_is_that_of_the_images(summary: dict[str, Any]) -> None:
    images = open_images("shapes", None, 64, 0, 32)
    assert summary["data"]["sha256"] == images.digest()
    assert images.digest() != open_images("shapes", None, 64, 1, 32).digest()


def test_words_are_no_markup() -> None:
    rows = [("<i>", "&"), ("b", "c")]
    page = render(
        "<u>", [part("verdict", None, "<s>: 1")], {"<q>": [text("<tt>"), part("table", ["<a>"], rows)]}
    )
    assert not {"u", "s", "q", "tt", "a>", "i"} & {*re.findall(r"<(\w+>?)", page.replace("<a href", ""))}
    assert [text.replace("\n", "") for text in Outline(page).texts["td"]] == ["&", "c"]


@pytest.fixture
def other(run: Path, tmp_path: Path, summary: dict[str, Any]) -> Path:
    """Return the folder of a second run, with another learning rate, that diverged."""
    figures = {name: {**each, "test_loss": [None]} for name, each in summary["backends"].items()}
    changed = {**summary, "settings": {**summary["settings"], "lr": 0.125}, "backends": figures}
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(changed))
    return folder


def test_runs_are_compared_on_one_page(run: Path, other: Path, summary: dict[str, Any]) -> None:
    page = render_runs(read_summaries([run, other]))
    outline = Outline(page)
    sections = ["Verdicts", "Key figures", "Curves", "What differs", "How to reproduce them"]
    assert outline.texts["h2"] == sections
    assert page.count("No difference") + page.count("A difference") == 2
    differing = page[page.index(">What differs</h2>") : page.index(">How to reproduce them</h2>")]
    assert Outline(differing.partition("</h2>")[2].rpartition("</section>")[0]).texts["td"] == [
        "",
        "0.001",
        "0.125",
    ]
    figures = summary["backends"]["scratch"]
    assert f">{figures['test_accuracy'][-1]:.2%}</td><td>-</td>" in page  # the other's loss
    assert f">{figures['test_accuracy'][-1]:.2%}</td><td>{figures['test_loss'][-1]:.4f}</td>" in page
    assert not re.search('https?:|src="(?!data:)|<script', page)


def test_runs_that_are_named_alike_have_their_paths(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    summaries = read_summaries([run, tmp_path / "run"])
    assert [*summaries] == [str(run), str(tmp_path / "run")]
    assert "Options, data, machine and versions are the same." in render_runs(summaries)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "holds no finished run (summary.json: No such file or directory)"),
        ("{", "summary.json is damaged"),
        ("[" * 100_000, "summary.json is damaged"),
        ("[]", "summary.json is no run's, or that of another version"),
        ('{"model": "dense"}', "summary.json is no run's, or that of another version"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, written: str | None, message: str) -> None:
    if written is not None:
        (tmp_path / "summary.json").write_text(written)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: {message}")):
        read_summaries([tmp_path])


def inner(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every dictionary and list inside a value, with each of its keys."""
    if isinstance(value, dict | list):
        for key in [*value] if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from inner(value[key])


def test_a_summary_that_is_damaged_inside_is_refused_or_shown(
    tmp_path: Path, summary: dict[str, Any]
) -> None:
    summary = json.loads(json.dumps(summary))
    for measured in summary["drift"]["backends"].values():  # as many as make the point
        measured["losses"] = dict([*measured["losses"].items()][:2])
    accepted = []
    for container, key in inner(summary):
        kept, container[key] = container[key], [1] if isinstance(container[key], int | float) else 1
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        container[key] = kept
        try:
            accepted.append(read_summaries([tmp_path]))
        except InputError as error:
            assert str(error) == f"{tmp_path}: summary.json is no run's, or that of another version"  # noqa: PT017
    assert 20 < len(accepted) < 200
    # As many as fit on one page.
    render_runs({str(number): found[tmp_path.name] for number, found in enumerate(accepted[::12])})


def measured(folder: Path, page: str, width: int = 390) -> tuple[dict[str, Any], list[str]]:
    """Return the sizes of a page in a frame of some width, and what the browser's console says."""
    # A window of a headless browser can't be so narrow. The frame is of another origin: it sends a message.
    ask = (
        "<script>addEventListener('load', () => parent.postMessage({width: innerWidth, "
        "needed: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight, "
        "small: [...document.querySelectorAll('svg text')].filter("
        "text => text.getBoundingClientRect().height < 8).length, "
        "unmarked: [...document.querySelectorAll('*')].filter(each => "
        "each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflowX == 'auto' "
        "&& getComputedStyle(each).backgroundImage == 'none').length}, '*'))</script>"
    )
    (folder / "inside.html").write_text(page.replace("</body>", f"{ask}</body>"), encoding="utf-8")
    (folder / "around.html").write_text(
        f"<iframe src='inside.html' style='width: {width}px; height: 844px; border: 0'></iframe>"
        "<script>addEventListener('message', ({data}) => document.body.append(JSON.stringify(data)))</script>"
    )
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
    more = "--virtual-time-budget=10000", f"--user-data-dir={folder / 'profile'}"
    process = subprocess.run(
        [CHROMIUM, *options, *more, (folder / "around.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "HOME": str(folder)},
    )
    found = re.search(r"\{.*\}", process.stdout.rpartition("</script>")[2])
    assert found, process.stderr
    return json.loads(found[0]), [line for line in process.stderr.splitlines() if "CONSOLE" in line]


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")


@needs_browser
def test_a_page_fits_a_phone(tmp_path: Path, page: str) -> None:
    sizes, console = measured(tmp_path, page)
    assert sizes["width"] == 390
    assert sizes["needed"] <= 390
    assert sizes["height"] > 3000
    assert (sizes["small"], sizes["unmarked"]) == (0, 0)
    assert console == []


@needs_browser
def test_a_page_of_several_runs_fits_a_phone(tmp_path: Path, run: Path, other: Path) -> None:
    sizes, console = measured(tmp_path, render_runs(read_summaries([run, other])))
    assert (sizes["width"], sizes["small"], console) == (390, 0, [])
    assert sizes["needed"] <= 390


@needs_browser
def test_the_browser_finds_what_is_too_wide_and_what_fails(tmp_path: Path) -> None:
    wide = "<body><p style='width: 500px'>wide</p>"
    wide += "<div style='overflow-x: auto'><p style='width: 900px'>hidden</p></div>"
    wide += "<svg viewBox='0 0 900 9' width=300><text>a</text></svg>"
    sizes, console = measured(tmp_path, f"<!doctype html>{wide}<script>missing()</script></body>")
    assert sizes["width"] == 390
    assert sizes["needed"] > 390
    assert (sizes["small"], sizes["unmarked"]) == (1, 1)
    assert len(console) == 1
    assert "missing is not defined" in console[0]
