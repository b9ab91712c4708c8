"""Run the whole matrix and print what came of it: ``python -m tests.matrix``.

With ``--dropin``, over the drop-in: the runs of an application that was written for the Assistants API, each polled
from a process other than the one that created it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.matrix import dropin_runner, dropin_table, runner, table
from tests.matrix.runner import Result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--only", default="", metavar="PATTERN", help="a regular expression that an id must match")
    parser.add_argument("--processes", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--quick", action="store_true", help="only what the test suite runs")
    parser.add_argument("--dropin", action="store_true", help="over the drop-in, each run polled from another process")
    options = parser.parse_args(arguments)
    over: Any = dropin_table if options.dropin else table
    run: Any = dropin_runner if options.dropin else runner
    chosen = [name for name in (over.CHOSEN if options.quick else over.COMBINATIONS) if re.search(options.only, name)]
    began = time.monotonic()
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, spawning, run.warm_up) as pool:
        results = list(pool.map(run.run_named, chosen, chunksize=4))
    seconds = time.monotonic() - began
    failed = sorted((result for result in results if result.broken), key=lambda result: result.id)
    if options.json:
        text = json.dumps(_document(results, failed, seconds), indent=2)
    else:
        text = "\n".join(_lines(results, failed, seconds))
    sys.stdout.write(f"{text}\n")
    return 1 if failed or not results else 0


def _by_row(results: Iterable[Result]) -> dict[str, list[Result]]:
    rows: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        rows[result.row].append(result)
    order = {row.name: None for row in table.ROWS}
    return {name: rows[name] for name in order if name in rows}


def _lines(results: Sequence[Result], failed: Sequence[Result], seconds: float) -> Iterator[str]:
    width = max((len(result.row) for result in results), default=5)
    yield f"{'fault':<{width}}  combinations  passed  ended in"
    for name, own in _by_row(results).items():
        ends = ", ".join(f"{end} {count}" for end, count in Counter(one.ended_in for one in own).most_common())
        yield f"{name:<{width}}  {len(own):>12}  {sum(not one.broken for one in own):>6}  {ends}"
    yield f"{len(results)} combinations, {len(results) - len(failed)} passed, in {seconds:.0f} s"
    for result in failed:
        yield f"\nFAILED {result.id}"
        yield from (f"    {promise}" for promise in result.broken)


def _document(results: Sequence[Result], failed: Sequence[Result], seconds: float) -> dict[str, object]:
    return {
        "combinations": len(results),
        "passed": len(results) - len(failed),
        "seconds": round(seconds, 1),
        "ended_in": dict(Counter(result.ended_in for result in results)),
        "faults": {
            name: {
                "combinations": len(own),
                "passed": sum(not one.broken for one in own),
                "ended_in": dict(Counter(one.ended_in for one in own)),
            }
            for name, own in _by_row(results).items()
        },
        "failed": {result.id: list(result.broken) for result in failed},
    }


if __name__ == "__main__":
    sys.exit(main())
