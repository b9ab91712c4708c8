"""Many users at once against a rate limit that does not suffice: what becomes of them, and when.

::

    python -m benchmarks.burst [--users 50 100 1000] [--load 1.18] [--json]

Nine tenths of the messages are those of heavy users, who ask nine each in the first moment; the others are those of
light users, who ask one each during the next 45 seconds. Every message counts about 2,350 tokens. ``load`` is how many
minutes' worth of the limit all messages are. Four sides meet a sandbox of the same limits one after another: the
official client with its own two retries; exponential back-off alone (`TransientRetry`); `Pacing`, which learns the
limits, in one process; the same in four processes that share a ledger in SQLite.

Rows: messages answered and refused, 429s that the server sent, the whole time as a multiple of the bound (tokens by the
limit), the time that messages took (median and 99th percentile), that of light and heavy users (99th percentile), and
tokens of messages that were billed more than once.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

from assistantguard.sandbox import Answer, ModelRequest, RateLimits, Sandbox
from benchmarks._burst_side import MODEL, Side, Told, ask_all, questions_of

__all__ = ["main", "measure"]

_PROCESSES = 4
_LATENCY = 1.0
"""Seconds that the sandbox takes for an answer."""
_MARK = re.compile(r"\[([^\]]+)\]")


def _answer(request: ModelRequest) -> Answer:
    mark = _MARK.search(request.last_user_text)
    return Answer(f"Your parcel {mark[1] if mark else ''} is on its way. " + "It is. " * 100, delay=_LATENCY)


def _tokens_of_one() -> int:
    """What a message counts under the limit."""
    with Sandbox(_answer) as sandbox:
        ask_all("sdk", sandbox.base_url, sandbox.api_key, None, questions_of(1)[:1])
        return sandbox.rate_limits.admitted[0].tokens


def _play(name: Side, users: int, limit: int) -> dict[str, Any]:
    questions = questions_of(users)
    processes = _PROCESSES if name == "pacing in 4 processes" else 1
    with (
        Sandbox(_answer, limits=RateLimits(tokens_per_minute=limit)) as sandbox,
        tempfile.TemporaryDirectory(prefix="burst") as directory,
        ProcessPoolExecutor(processes, get_context("spawn")) as pool,
    ):
        ledger = f"sqlite:///{Path(directory) / 'guard.db'}" if processes > 1 else None
        list(pool.map(_warm_up, range(processes)))
        began = time.time()
        parts = [
            pool.submit(ask_all, name, sandbox.base_url, sandbox.api_key, ledger, questions[number::processes])
            for number in range(processes)
        ]
        told = [one for part in parts for one in part.result()]
        counted = sum(one.tokens for one in sandbox.rate_limits.admitted)
        return _figures(told, began, counted / limit * 60.0, sandbox)


def _warm_up(_: int) -> None:
    import assistantguard.tokens

    assistantguard.tokens.estimate("word", MODEL)
    time.sleep(0.2)


def _figures(told: Sequence[Told], began: float, bound: float, sandbox: Sandbox) -> dict[str, Any]:
    refused = sandbox.rate_limits.refused
    calls = Counter(call.conversation_id for call in sandbox.billing.calls if call.billed)
    twice = [call for call in sandbox.billing.calls if call.billed and calls[call.conversation_id] > 1]
    seen: set[Any] = set()
    doubled = 0
    for call in twice:
        doubled += (call.input_tokens + call.output_tokens) if call.conversation_id in seen else 0
        seen.add(call.conversation_id)
    answered = [one.wait for one in told if one.answered]
    light = [one.wait for one in told if one.answered and one.is_light]
    heavy = [one.wait for one in told if one.answered and not one.is_light]
    seconds = max((one.ended_at for one in told), default=began) - began
    return {
        "finished": len(answered),
        "refused": len(told) - len(answered),
        "status_429": sum(refused.values()),
        "seconds": round(seconds, 1),
        "times_the_bound": round(seconds / bound, 3) if bound else None,
        "p50_wait": _percentile(answered, 50),
        "p99_wait": _percentile(answered, 99),
        "light_p99_wait": _percentile(light, 99),
        "heavy_p99_wait": _percentile(heavy, 99),
        "tokens_billed_twice": doubled,
    }


def _percentile(values: Sequence[float], percent: int) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2)


def measure(users: Sequence[int], load: float) -> dict[str, dict[str, dict[str, Any]]]:
    """Play all sides for each number of users; see the module."""
    each = _tokens_of_one()
    return {
        str(count): {
            name: _play(name, count, max(each + 1, int(len(questions_of(count)) * each / load)))
            for name in get_args(Side)
        }
        for count in users
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and print what it measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.burst", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--users", type=int, nargs="+", default=[50, 100, 1_000])
    parser.add_argument("--load", type=float, default=1.18, help="minutes' worth of the limit (default 1.18)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    if min(options.users) < 2 or options.load <= 0:
        parser.error("--users must be at least 2, and --load above 0")
    figures = measure(options.users, options.load)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for count, sides in figures.items():
        print(f"{count} users")
        names = list(next(iter(sides.values())))
        width = max(map(len, sides)) + 2
        print(" " * 22 + "".join(f"{name:>{width}}" for name in sides))
        for row in names:
            print(f"{row.replace('_', ' '):22}" + "".join(f"{one[row]!s:>{width}}" for one in sides.values()))


if __name__ == "__main__":
    main()
