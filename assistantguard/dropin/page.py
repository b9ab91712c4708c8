"""The table of what the drop-in serves as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from assistantguard.dropin.boundary import BOUNDARY
from assistantguard.dropin.surface import (
    ADDRESSES,
    FIELDS,
    METHODS,
    OTHER_NAMESPACES,
    PARAMETERS,
    SERVED,
    MethodRow,
    ParameterRow,
)

__all__ = ["boundary", "differences", "markdown"]

_HEAD = """\
# What the drop-in serves

This page is printed by `python -m assistantguard.dropin` from the table that `assistantguard scan` goes by; a test
compares the two.

`assistantguard.drop_in(client)` serves what stands below `client.beta.assistants` and `client.beta.threads`, also
through `with_raw_response` and `with_streaming_response`, blocking and asynchronous alike. All else is passed through
to OpenAI untouched, also what stands below `client.beta` and is not the old API:
{others}.

Assistants, threads, messages, runs and steps are kept in the guard's ledger. With a database they outlive the process,
and all processes that open it share them.
"""


def markdown() -> str:
    """The page, as it stands in ``docs/assistants.md``."""
    namespaces = [f"`client.beta.{name}`" for name in OTHER_NAMESPACES]
    methods = [(_call(row), row.verdict, row.note) for row in METHODS]
    parameters = [(_parameter(row), _takers(row), row.verdict, row.note) for row in PARAMETERS]
    fields = [(_field(row.name), row.verdict, row.note) for row in FIELDS]
    return "\n".join(
        (
            _HEAD.format(others=", ".join(namespaces)),
            "## Methods\n",
            _table(("Method", "Verdict", "What differs, and what to do"), [*methods, _addresses()]),
            "## Parameters\n\nAll that are not named here are served as they were.\n",
            _table(("Parameter", "Of", "Verdict", "What differs, and what to do"), parameters),
            "## Answers\n\nAll fields that are not named here are as they were.\n",
            _table(("Field", "Verdict", "What differs, and what to do"), fields),
        )
    )


def differences() -> str:
    """The README's table: what is not served as it was."""
    rows = [
        *((_call(row), row.verdict, row.note) for row in METHODS),
        _addresses(),
        *((_parameter(row), row.verdict, row.note) for row in PARAMETERS),
        *((_field(row.name), row.verdict, row.note) for row in FIELDS),
    ]
    return _table(("What", "Verdict", "What differs, and what to do"), [row for row in rows if row[1] != SERVED])


def boundary() -> str:
    """The README's table of what `guard_calls` bounds."""
    return _table(("Entry point", "Verdict", "How, and what to know"), [(r.entry, r.verdict, r.note) for r in BOUNDARY])


def _addresses() -> tuple[str, str, str]:
    return ", ".join(f"`{address}`" for address in ADDRESSES.name.split(", ")), ADDRESSES.verdict, ADDRESSES.note


def _call(row: MethodRow) -> str:
    return f"`client.beta.{row.name}`"


def _parameter(row: ParameterRow) -> str:
    return f"`{row.name}`" + (f" with `{row.value}`" if row.value else "")


def _field(name: str) -> str:
    return name if " " in name else f"`{name}`"


def _takers(row: ParameterRow) -> str:
    return row.takers or ", ".join(f"`{name}`" for name in row.methods)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
