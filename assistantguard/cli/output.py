"""Where the commands write: results to standard output, all else to standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from assistantguard._text import clean, escaped, shown
from assistantguard.errors import (
    AssistantGuardError,
    ConfigurationError,
    LeaseLost,
    ThreadBusy,
    ThreadRefused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assistantguard.reports import BadLines

__all__ = [
    "DONE",
    "FAILED",
    "USAGE",
    "errors_as_text",
    "fail",
    "say",
    "say_bad_lines",
    "stderr",
    "stdout",
    "within",
    "write_json",
]

DONE = 0
FAILED = 1
USAGE = 2

_NARROWEST_FILE = 160
"""Columns of a table that goes to a file or a pipe."""


def stdout() -> Console:
    """Return the console for results; wide where nobody looks at it directly."""
    return Console(width=None if sys.stdout.isatty() else _NARROWEST_FILE)


def stderr() -> Console:
    """Return the console for progress and remarks."""
    return Console(stderr=True)


def say(message: str) -> None:
    """Write a remark."""
    stderr().print(Text(clean(message)), soft_wrap=True)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Write what is wrong and how to mend it, and end the command.

    Raises:
        typer.Exit: Always.
    """
    say(f"assistantguard: {message}")
    raise typer.Exit(code)


def within(least: int, most: int | None = None) -> Callable[[int | None], int | None]:
    """Return an option's check that names the value and the limit."""

    def check(value: int | None) -> int | None:
        if value is not None and value < least:
            raise typer.BadParameter(f"it is {value}, it must be at least {least}")
        if value is not None and most is not None and value > most:
            raise typer.BadParameter(f"it is {value}, it must be at most {most}")
        return value

    return check


def say_bad_lines(bad: BadLines) -> None:
    """Name the lines that were skipped."""
    for line in bad.first:
        say(f"skipped {shown(str(line), 300)}")
    if bad.count > len(bad.first):
        say(f"skipped {bad.count - len(bad.first):,} more lines")


def write_json(document: dict[str, Any]) -> None:
    """Write one JSON document."""
    sys.stdout.write(escaped(json.dumps(document, indent=2, ensure_ascii=False)) + "\n")


@contextlib.contextmanager
def errors_as_text() -> Iterator[None]:
    """Turn errors that say what is wrong into one line and an exit code."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (ThreadBusy, LeaseLost) as error:
        fail(str(error))
    except (ConfigurationError, ThreadRefused) as error:
        fail(str(error), USAGE)
    except AssistantGuardError as error:
        fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"cannot read {error.filename}: {error.strerror}", USAGE)
