"""What `advise` says that changes would save, beside what they save when the same traffic is played with them.

::

    python -m benchmarks.advise [--json] [--conversations FOLDER] [--most N]
    python -m benchmarks.advise --events FILE

Traffic is played through guards on the sandbox, which bills as the API does, and its events are kept. `advise` reckons
on those events alone, or on the conversations where they are recorded ones. Then each suggestion is followed, the same
traffic is played once more, and the two bills are compared. ``off`` is how far the computed saving lies from the
replayed one. With ``--events`` the file is what ``benchmarks.soak --events`` wrote, faults and all; what its events say
of the plans of its messages is played with nothing going wrong.

A pause longer than the cache's lifetime, storage, and limits cannot be replayed.

The exit code is 1 where a computed saving is off by more than a tenth.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistantguard._text import share
from assistantguard.advice import History, read_events
from benchmarks._advise_replay import Compared, compare
from benchmarks._advise_traffic import TRAFFIC, Traffic, recorded, soak_of

__all__ = ["main", "measure"]

_ALLOWED = 0.1
_CHAIN = 20


def measure(traffic: Traffic, history: History | None = None) -> dict[str, Any]:
    """Advise on traffic, or on a history of it, and follow what is said."""
    began = time.process_time()
    advice, compared = compare(traffic, history)
    return {
        "traffic": traffic.name,
        "calls": advice.calls,
        "cost": format(advice.cost, "f"),
        "error": advice.error,
        "suggestions": [_line(each) for each in compared],
        "seconds": time.process_time() - began,
    }


def _line(each: Compared) -> dict[str, Any]:
    one = each.suggestion
    return {
        "kind": one.kind,
        "setting": one.setting,
        "computed": None if one.saving is None else format(one.saving, "f"),
        "low": None if one.low is None else format(one.low, "f"),
        "high": None if one.high is None else format(one.high, "f"),
        "replayed": None if each.replayed is None else format(each.replayed, "f"),
        "off": each.off,
        "sureness": one.sureness,
    }


def _all(events: Path | None, folder: Path | None, most: int | None) -> Iterator[tuple[Traffic, History | None]]:
    if events is not None:
        history = read_events(events)
        yield soak_of(history), history
        return
    for file in sorted(folder.glob("*.jsonl")) if folder is not None else ():
        yield recorded(file, chain=_CHAIN, most=most), None
    for make in TRAFFIC:
        yield make(), None


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.advise", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--conversations", type=Path, help="a folder of recorded conversations, one a line of *.jsonl")
    parser.add_argument("--events", type=Path, help="events of a soak, in place of all other traffic")
    parser.add_argument("--most", type=int, help="of each file, at most so many conversations")
    options = parser.parse_args(arguments)
    results = []
    for traffic, history in _all(options.events, options.conversations, options.most):
        results.append(measure(traffic, history))
        if not options.json:
            _show(results[-1])
    if options.json:
        print(json.dumps({"traffic": results}, indent=2))
    if any((line["off"] or 0) > _ALLOWED for result in results for line in result["suggestions"]):
        sys.exit(1)


def _show(result: dict[str, Any]) -> None:
    print(f"{result['traffic']}: {result['calls']} calls, ${float(result['cost']):.6f}, {share(result['error'])} off")
    for line in result["suggestions"]:
        computed, replayed = (
            "-" if line[name] is None else f"${float(line[name]):.6f}" for name in ("computed", "replayed")
        )
        print(f"  {line['kind']:<14} computed {computed:>12}  replayed {replayed:>12}  off {share(line['off']):>6}")
        print(f"    {line['setting']}")
    print(flush=True)


if __name__ == "__main__":
    main()
