"""The ``scan`` command."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from assistantguard._text import shown
from assistantguard.cli.output import FAILED, errors_as_text, fail, say, stderr, stdout, write_json

if TYPE_CHECKING:
    from assistantguard.dropin.calls import Use
    from assistantguard.dropin.scan import Scan

__all__ = ["scan"]

_MOST_NAMED = 20
_LONGEST = 500
"""Characters of a cell."""
_COLOURS = {"served": "green", "served with a difference": "yellow", "not served": "red"}


def scan(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Python files, notebooks, and directories of them.")
    ],
    *,
    failing: Annotated[bool, typer.Option("--fail", help="Exit with code 1 where something is not served.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List a program's calls to the Assistants API, and whether the drop-in serves them.

    The program is read, never run. A client is known by its `.beta.assistants` or `.beta.threads`, whatever it is
    called, and is followed through names, attributes and functions of one file; where it leaves the file, that is
    said. Virtual environments, version control and caches are left out; what cannot be read is named and skipped.
    """
    from assistantguard.dropin import scan as scanning
    from assistantguard.dropin.surface import NOT_SERVED

    with errors_as_text():
        with _progress() as progress:
            result = scanning.scan(paths, progress=progress)
        for one in result.skipped[:_MOST_NAMED]:
            say(f"skipped {shown(f'{one.file}: {one.reason}', 300)}")
        if len(result.skipped) > _MOST_NAMED:
            say(f"skipped {len(result.skipped) - _MOST_NAMED:,} more (--json)")
        if not result.files and not as_json:
            fail(f"no Python file was read in {', '.join(map(str, paths))}: give a file or a directory that holds some")
    if as_json:
        write_json(_document(result))
    else:
        if result.findings:
            stdout().print(_view(result))
        stdout().print(Text(_summary(result)), soft_wrap=True)
    if failing and result.count(NOT_SERVED):
        raise typer.Exit(FAILED)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None] | None]:
    """The file that is being read, where somebody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    with stderr().status("Reading") as status:
        yield lambda file: status.update(Text(f"Reading {shown(file)}"))


def _view(result: Scan) -> Table:
    table = Table("where", "what", "verdict", "what differs, and what to do", title="The old API", title_justify="left")
    table.columns[0].overflow = table.columns[1].overflow = "fold"
    for finding in result.findings:
        use = finding.use
        table.add_row(
            Text(shown(finding.place, _LONGEST)),
            Text(shown(use.name, _LONGEST)),
            Text(_word(use), style=_COLOURS.get(_word(use), "")),
            Text(shown(_notes(use), 4 * _LONGEST)),
        )
    return table


def _word(use: Use) -> str:
    return use.verdict or {"kept": "kept"}.get(use.kind, "not followed")


def _notes(use: Use) -> str:
    notes = [f"{remark.about}=…: {remark.note}" if remark.about else remark.note for remark in use.remarks]
    return " ".join(notes) or "-"


def _summary(result: Scan) -> str:
    from assistantguard.dropin.surface import DIFFERENT, NOT_SERVED, SERVED

    calls = result.calls()
    summary = (
        f"{_counted(result.files, 'file')} read, {_counted(calls, 'call')} found: {result.calls(SERVED):,} served,"
        f" {result.calls(DIFFERENT):,} served with a difference, {result.calls(NOT_SERVED):,} not served"
    )
    fields = sum(finding.use.kind == "field" for finding in result.findings)
    unfollowed = sum(finding.use.kind == "unfollowed" for finding in result.findings)
    if fields:
        summary += f"; {_counted(fields, 'field')} read that {'differs' if fields == 1 else 'differ'}"
    if unfollowed:
        summary += f"; {_counted(unfollowed, 'part')} of the client handed on, and not followed"
    if result.skipped:
        summary += f"; {len(result.skipped):,} skipped"
    return summary


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _document(result: Scan) -> dict[str, Any]:
    from assistantguard.dropin.surface import DIFFERENT, NOT_SERVED, SERVED

    return {
        "files": result.files,
        "calls": {
            "found": result.calls(),
            "served": result.calls(SERVED),
            "served_with_a_difference": result.calls(DIFFERENT),
            "not_served": result.calls(NOT_SERVED),
        },
        "findings": [
            {
                "file": finding.file,
                "cell": finding.cell,
                "line": finding.use.line,
                "column": finding.use.column,
                "kind": finding.use.kind,
                "name": finding.use.name,
                "verdict": finding.use.verdict,
                "remarks": [
                    {"about": remark.about or None, "verdict": remark.verdict, "note": remark.note}
                    for remark in finding.use.remarks
                ],
            }
            for finding in result.findings
        ],
        "skipped": [{"file": one.file, "reason": one.reason} for one in result.skipped],
    }
