"""A page: one HTML file that needs no other and no network."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from scratch_conv import __version__

Sections = Mapping[str, Sequence[Markup]]  # by their titles: the parts of each


@cache
def _template(name: str) -> Template:
    loader = PackageLoader("scratch_conv.training", "reporting")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template(name)


def render(title: str, lead: Sequence[Markup], sections: Sections) -> str:
    """Return a page.

    Args:
        title: its title.
        lead: the parts between the title and the first section.
        sections: all that follows.
    """
    written = f"{datetime.now():%Y-%m-%d %H:%M}"
    return _template("page.html.jinja").render(
        title=title, lead=lead, sections=sections, written=written, version=__version__
    )


def part(macro: str, *values: Any, **named: Any) -> Markup:
    """Return a part of a page, by the name of a macro in parts.html.jinja and its arguments."""
    return getattr(_template("parts.html.jinja").module, macro)(*values, **named)


def text(words: str, tag: str = "p") -> Markup:
    """Return words as an element."""
    return Markup("<{0}>{1}</{0}>\n").format(Markup(tag), words)
