"""How long ``assistantguard report`` takes over many events, and how much memory.

::

    python -m benchmarks.report [--events 1000000] [--threads 20000] [--users 5000] [--json]

It is measured twice: with as many threads as were asked for, and with a thread of its own for each run, which is the
most that can be. Each time the command writes the page (``--html``) in a process of its own. ``seconds`` is the whole
process, ``cpu_seconds`` its part of the processor, ``peak_mb`` what it says of itself.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._events import runs_in, write_events

__all__ = ["main", "measure"]

MOST_SECONDS = 60.0
"""Per million events."""
MOST_MB = 300.0


def measure(events: int, *, threads: int, users: int) -> dict[str, Any]:
    """Write that many events into a temporary file, and have the command read them."""
    with tempfile.TemporaryDirectory() as folder:
        file, page = Path(folder) / "events.jsonl", Path(folder) / "out.html"
        write_events(file, events, threads=threads, users=users)
        command = [sys.executable, "-m", "assistantguard.cli", "report", str(file), "--html", str(page)]
        begun, used = time.perf_counter(), _cpu_of_children()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - begun
        told = re.search(r"([\d,]+) events in [\d.]+ s, with at most ([\d,]+) MB", " ".join(done.stderr.split()))
        assert told is not None, done.stderr
        return {
            "events": int(told[1].replace(",", "")),
            "threads": min(threads, runs_in(events)),
            "users": min(users, runs_in(events)),
            "file_mb": round(file.stat().st_size / 1e6),
            "page_kb": round(page.stat().st_size / 1e3),
            "seconds": round(seconds, 1),
            "cpu_seconds": round(_cpu_of_children() - used, 1),
            "peak_mb": int(told[2].replace(",", "")),
        }


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=20_000)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--json", action="store_true", help="print JSON")
    wanted = parser.parse_args()
    rows = {
        "as_asked": measure(wanted.events, threads=wanted.threads, users=wanted.users),
        "a_thread_each": measure(wanted.events, threads=wanted.events, users=wanted.events),
    }
    if wanted.json:
        print(json.dumps(rows, indent=2))
        return
    for name, row in rows.items():
        figures = f"{row['events']:,} events, {row['threads']:,} threads: {row['seconds']} s"
        figures += f" ({row['cpu_seconds']} of CPU), {row['peak_mb']} MB"
        print(f"{name:14} {figures} (aim: {MOST_SECONDS:g} s a million, {MOST_MB:g} MB)")


if __name__ == "__main__":
    main()
