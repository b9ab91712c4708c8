"""Takes the pictures of the report for the README: ``python -m tests.screenshots [FOLDER]``.

The figures are made up. It needs a Chromium on the machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from assistantguard.reports import read_report
from assistantguard.reports.page import report_page
from benchmarks._events import write_events
from tests.support.browser import find_chromium, open_visitor

__all__ = ["main"]

SIZE = (1120, 1180)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    chromium = find_chromium()
    if chromium is None:
        sys.exit("there is no Chromium on this machine: install the distribution's package")
    with tempfile.TemporaryDirectory() as place, open_visitor(chromium) as visitor:
        events, page = Path(place) / "events.jsonl", Path(place) / "report.html"
        write_events(events, 20_000, threads=120, users=24)
        page.write_text(report_page(read_report(events), sources="events.jsonl", most=5), encoding="utf-8")
        for name, dark in (("report-light.png", False), ("report-dark.png", True)):
            picture = visitor.visit(page.as_uri(), lambda shown: shown.screenshot(), dark=dark, size=SIZE)
            (folder / name).write_bytes(picture)
            print(f"{folder / name}: {len(picture) // 1000} kB")  # noqa: T201  it is a program


if __name__ == "__main__":
    main()
