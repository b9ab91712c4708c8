"""Workers on one database, killed with SIGKILL at random instants, hundreds of times: what is lost.

::

    python -m benchmarks.kill [--kills 300] [--database sqlite|postgresql|both] [--seed 0] [--dropin]
        [--lease 1.5] [--json]

Several processes make turns on the same threads, through guards of both colours, with answers made in the foreground
and in the background, streamed and not. One after another is killed, another takes its place, and every turn that was
under way is asked for again, under the same key, by whoever comes first. Half of the time the sandbox stops an answer
whose client is gone, half of the time it completes it. With PostgreSQL, the server is restarted in between too.

Every message carries a mark that no other message has. In the end each must stand in its conversation exactly once,
answered once; every request on the sandbox's bill must be on the books, exactly or estimated and not below; every
thread must answer once more; and no hold may be left open.

With ``--dropin`` the workers make runs through `assistantguard.drop_in`, as programs that were written for the
Assistants API do. Half of the runs are polled, and given their tool outputs, by another process than created them, and
those of a killed process by whoever comes next. Each message must stand once in the list of the thread's messages too,
answered once.

The exit code is 1 where anything is not as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._kill_dropin import DropInKillTest
from benchmarks._kill_test import MUST_BE_ZERO, KillTest
from benchmarks._kill_worker import LEASE_SECONDS
from benchmarks._postgres import PostgresServer

__all__ = ["MUST_BE_ZERO", "DropInKillTest", "KillTest", "main"]


@contextlib.contextmanager
def _databases(which: str) -> Iterator[Iterator[tuple[str, str, PostgresServer | None]]]:
    """Name, URL and server of two new databases of each kind."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kill")))
        server = stack.enter_context(PostgresServer()) if which != "sqlite" else None

        def found() -> Iterator[tuple[str, str, PostgresServer | None]]:
            for number in range(2 if which != "postgresql" else 0):
                yield "sqlite", f"sqlite:///{directory / f'guard_{number}.db'}", None
            for number in range(2 if server is not None else 0):
                assert server is not None
                server.psql(f"CREATE SCHEMA kill_{number}")
                yield "postgresql", server.url(f"kill_{number}"), server

        yield found()


def main(arguments: list[str] | None = None) -> None:
    """Run the kill test and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=300, help="processes to kill on each database (default 300)")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is random (default 0)")
    parser.add_argument(
        "--dropin", action="store_true", help="make runs through the drop-in, polled by other processes"
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=LEASE_SECONDS,
        metavar="SECONDS",
        help=f"after which a killed process counts as gone, more on a busy machine (default {LEASE_SECONDS})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    if options.kills < 2:
        parser.error(f"--kills is {options.kills}, the least is 2: give more")
    kind = DropInKillTest if options.dropin else KillTest
    figures: dict[str, dict[str, Any]] = {}
    with _databases(options.database) as databases:
        for number, (name, url, server) in enumerate(databases):
            completes = bool(number % 2)
            title = f"{name}, answers of the dead {'completed' if completes else 'stopped'}"
            test = kind(
                url,
                server,
                options.kills // 2,
                2 * options.seed + completes,
                completes=completes,
                lease_seconds=options.lease,
            )
            figures[title] = test.run()
            if not options.json:
                _show(title, figures[title])
    if options.json:
        print(json.dumps(figures, indent=2))
    if any(one["wrong"] for one in figures.values()):
        sys.exit(1)


def _show(title: str, figures: dict[str, Any]) -> None:
    print(title)
    for name, value in figures.items():
        if name != "details":
            print(f"  {name.replace('_', ' '):32}{', '.join(value) or 'nothing' if isinstance(value, list) else value}")
    for line in figures["details"]:
        print(f"  {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
