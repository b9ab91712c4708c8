"""What the commands share that read the guards' database: which one, how rows are written, and moments in time."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import enum
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from assistantguard._core import LEDGER_VARIABLE
from assistantguard._text import number, shown
from assistantguard.cli.output import errors_as_text, stdout, write_json
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from assistantguard.storage import Database

__all__ = [
    "Column",
    "DatabaseOption",
    "Format",
    "FormatOption",
    "PoliciesOption",
    "json_ready",
    "moment",
    "opened",
    "whole",
    "write",
]

_LENGTH = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help=f"The guards' database: sqlite:///guard.db or postgresql://…. Default: the variable {LEDGER_VARIABLE}.",
        show_default=False,
    ),
]

PoliciesOption = Annotated[
    str | None,
    typer.Option(
        "--policies",
        metavar="MODULE:NAME",
        help="Where the program has its policies (a list, or its guard), so that their own limits are shown, too."
        " The module is imported.",
    ),
]


class Format(str, enum.Enum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="How to write it.")]


@contextlib.contextmanager
def opened(url: str | None) -> Iterator[Database]:
    """Open the database, which must be there; errors become one line and an exit code."""
    from assistantguard.storage import open_database

    with errors_as_text():
        where = url or os.environ.get(LEDGER_VARIABLE)
        if not where:
            raise ConfigurationError(f"no database is named: give --database URL, or set {LEDGER_VARIABLE}")
        database = open_database(where, create=False)
        try:
            yield database
        finally:
            database.close()


def moment(name: str, text: str | None, zone: dt.tzinfo, now: float) -> float | None:
    """A moment that was given as a date, a date and time, or a length of time before now; in Unix seconds.

    Raises:
        ConfigurationError: It is none of these.
    """
    if text is None:
        return None
    length = _LENGTH.fullmatch(text)
    try:
        if length is not None:
            return now - dt.timedelta(**{_UNITS[length[2]]: int(length[1])}).total_seconds()
        given = dt.datetime.fromisoformat(text.removesuffix("Z") + "+00:00" if text.endswith("Z") else text)
        return (given if given.tzinfo is not None else given.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigurationError(
            f"{name} is {text[:40]!r}: give a date (2026-11-22), a date and time (2026-11-22T08:30), or how long ago"
            " (90m, 24h, 7d, 4w)"
        ) from error


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return number(value) if isinstance(value, int) and not isinstance(value, bool) else shown(str(value))


def whole(value: Any) -> str:
    """A name that people copy, however long it is."""
    return "-" if value is None else shown(str(value), sys.maxsize)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of rows."""

    key: str
    heading: str
    text: Callable[[Any], str] = _text
    """Shows a value to people."""
    right: bool = False


def write(
    form: Format,
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str,
    document: Mapping[str, Any],
    total: Mapping[str, Any] | None = None,
) -> None:
    """Write rows to standard output.

    Args:
        form: As a table, as JSON, or as CSV.
        columns: What to show of them; JSON and CSV have these keys, too.
        rows: Their values, by key.
        title: Of the table.
        document: What the JSON document holds.
        total: A last row of the table.
    """
    if form is Format.JSON:
        write_json(json_ready(document))
    elif form is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([column.key for column in columns])
        writer.writerows([_cell(row.get(column.key)) for column in columns] for row in rows)
    else:
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(column.text(row.get(column.key))) for column in columns))
        if total is not None:
            table.add_section()
            table.add_row(*(Text(column.text(total[column.key]) if column.key in total else "") for column in columns))
        stdout().print(table)


def json_ready(value: Any) -> Any:
    """`value` with sums of money as strings."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return {key: json_ready(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(each) for each in value]
    return value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return shown(", ".join(map(str, value)), sys.maxsize)
    return shown(str(json_ready(value)), sys.maxsize)
