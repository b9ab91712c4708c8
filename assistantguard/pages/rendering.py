"""Templates, and what they are filled with."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from assistantguard._text import clean, dollars, number, share, shown, when

__all__ = [
    "Column",
    "Figure",
    "Table",
    "content_security_policy",
    "environment",
    "render",
    "script_text",
    "style_text",
]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    heading: str
    right: bool = False
    """Whether it holds numbers."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text. The first cell of each names the row."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=tuple)
    """Sentences below it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that stands for itself."""

    name: str
    value: str
    note: str = ""


@functools.cache
def environment() -> jinja2.Environment:
    """The templates of this package; they escape everything that they are given.

    Filters are `dollars`, `number`, `share`, `shown` and `when` of the command line.
    """
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("assistantguard.pages", "templates"),
        autoescape=True,
        finalize=_printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"dollars": dollars, "number": number, "share": share, "shown": shown, "when": when}
    made.globals |= {"style_text": style_text, "script_text": script_text}
    return made


def render(template: str, **context: Any) -> str:
    """Fill a template of this package.

    Args:
        template: Its file name, such as ``report.html.jinja``.
        **context: Its variables.
    """
    return environment().get_template(template).render(**context)


@functools.cache
def style_text() -> str:
    """The stylesheet."""
    return _source("style.css")


@functools.cache
def script_text() -> str:
    """The script that every page has: the choice of light and dark."""
    return _source("script.js")


def content_security_policy(*styles: str, scripts: Sequence[str] = (), **more: str) -> str:
    """A policy that allows nothing but the inline styles and scripts that are given, by their hashes.

    Args:
        *styles: Texts of style elements.
        scripts: Texts of script elements.
        **more: Further directives, with ``_`` for ``-``, or other values: ``form_action="'self'"``.
    """
    directives = {
        "default-src": "'none'",
        "style-src": " ".join(map(_hash, styles)) or "'none'",
        "script-src": " ".join(map(_hash, scripts)) or "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    directives |= {name.replace("_", "-"): value for name, value in more.items()}
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def _printable(value: Any) -> Any:
    """A text without control characters; what is markup already is ours."""
    return clean(value) if type(value) is str else value


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _source(name: str) -> str:
    text, _, _ = environment().loader.get_source(environment(), name)  # type: ignore[union-attr]
    return text
