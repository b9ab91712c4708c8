"""Hundreds of threads at once under random faults, kills and cancellations: what is lost, and what it costs.

::

    python -m benchmarks.soak --minutes 10 [--threads 300] [--seed 0] [--rate 0.1] [--events FILE] [--json]

Threads are driven by guards of both colours against one sandbox in another process, under a seeded random plan: faults
of every kind the sandbox knows happen to a share of its requests; turns are cancelled, left in mid-stream, let fall,
given too little time, sent two at once; conversations are deleted and broken behind the guards' backs; guards are
dropped and followed by others; processes with conversations of their own are killed, and others go on with those. The
same seed gives the same plan, as far as concurrency allows.

The soak goes in rounds. In each, everything goes wrong for a while. Then nothing goes wrong any more, and every thread
must answer one more message; the conversations at the server are looked through, and memory is measured.

Every message carries a mark, and every answer tells which marks the model saw: a message that was answered must stand
in its conversation exactly once (or be carried over by a rotation), and one that was not at most once. At the end the
books are held against the sandbox's bill, call by call. What killed processes were billed is told apart: their books
were in memory and died with them.

The exit code is 1 where anything is not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from assistantguard import tokens
from assistantguard.telemetry.jsonl import JsonLinesSink
from benchmarks._soak_books import Journal, WatchedLedger, audit
from benchmarks._soak_crowd import AsyncTalker, BlockingTalker, Group, Scene, Talker
from benchmarks._soak_guards import (
    KINDS,
    MODEL,
    WORKER_MODEL,
    AsyncSoakGuard,
    BlockingSoakGuard,
    Kind,
    Shared,
    async_client,
    blocking_client,
)
from benchmarks._soak_judge import Tally, ToolCounter
from benchmarks._soak_kills import kill_one
from benchmarks._soak_memory import MemoryWatch
from benchmarks._soak_report import MUST_BE_ZERO, figures_of, show
from benchmarks._soak_sandbox import SandboxProcess

__all__ = ["Soak", "main", "soak"]

_ROUNDS = 10
_SHORTEST_ROUND = 6.0
_LONGEST_ROUND = 60.0
_BLOCKING_SHARE = 0.06
"""The part of the threads that OS threads drive."""
_BLOCKING_KINDS = (Kind("blocking"), Kind("blocking, background", background=True))
_TELL_EVERY = 5.0
_TURNS_PER_SECOND = 25.0
"""At most; what a small machine does with time to spare, so that turns do not end in time-outs of its own making."""
_CACHED_TEXTS = 20_000
"""As many as `tokens` remembers the counts of."""
_AT_ONCE = 24
"""Turns at once while nothing goes wrong, for the same reason."""


class Soak:
    """One run.

    Args:
        seconds: How long things go wrong, in all.
        threads: How many conversations go on at once.
        seed: Of the plan.
        rate: Share of the sandbox's requests that a fault happens to.
        trace: Find out by `tracemalloc` where memory grows.
        events: A file to write telemetry events to, or None.
    """

    def __init__(
        self, seconds: float, threads: int, seed: int, rate: float, *, trace: bool = False, events: Path | None = None
    ) -> None:
        self._seconds = seconds
        self._threads = threads
        self._seed = seed
        self._dice = random.Random(f"{seed} soak")
        self._sandbox = SandboxProcess(seed, rate)
        self._tally = Tally()
        self._ledger = WatchedLedger()
        self._memory = MemoryWatch(trace=trace)
        self._events = None if events is None else JsonLinesSink(events)
        self._kills = 0
        self._left = seconds
        """Seconds for which things still go wrong."""

    async def run(self) -> dict[str, Any]:
        """Do everything, and return the figures."""
        try:
            with tempfile.TemporaryDirectory(prefix="soak") as folder:
                return await self._run(Path(folder))
        finally:
            await asyncio.to_thread(self._sandbox.close)
            if self._events is not None:
                self._events.close()

    async def _run(self, folder: Path) -> dict[str, Any]:
        journal = Journal(folder / "books.jsonl")
        think = 2 * self._threads / _TURNS_PER_SECOND
        scene = Scene(self._sandbox, journal, self._tally, think)
        shared = Shared(self._ledger, journal, ToolCounter(self._tally), self._events)
        blocking = max(2, round(self._threads * _BLOCKING_SHARE))
        await asyncio.to_thread(_fill_caches)
        async with async_client(self._sandbox.base_url) as client:
            with blocking_client(self._sandbox.base_url) as other, ThreadPoolExecutor(blocking) as pool:
                groups = [Group(kind.name, partial(AsyncSoakGuard, client, kind, shared)) for kind in KINDS]
                others = [Group(kind.name, partial(BlockingSoakGuard, other, kind, shared)) for kind in _BLOCKING_KINDS]
                crowd = [
                    AsyncTalker(groups[name % len(groups)], name, scene, self._seed)
                    for name in range(self._threads - blocking)
                ]
                callers = [
                    BlockingTalker(others[name % len(others)], name, scene, self._seed)
                    for name in range(self._threads - blocking, self._threads)
                ]
                telling = asyncio.create_task(self._tell())
                try:
                    await self._go_on(scene, crowd, callers, pool, partial(AsyncSoakGuard, client, KINDS[0], shared))
                    await asyncio.to_thread(self._memory.compare)
                finally:
                    telling.cancel()
        for talker in (*crowd, *callers):
            journal.note_thread(talker.thread_id, talker.conversation_id)
        return await asyncio.to_thread(self._figures, journal)

    async def _go_on(
        self,
        scene: Scene,
        crowd: list[AsyncTalker],
        callers: list[BlockingTalker],
        pool: ThreadPoolExecutor,
        make_guard: Any,
    ) -> None:
        length = min(_LONGEST_ROUND, max(_SHORTEST_ROUND, self._seconds / _ROUNDS))
        while self._left > 0:
            seconds = min(length, self._left)
            groups = list({talker.group.name: talker.group for talker in (*crowd, *callers)}.values())
            taken_up = await self._chaos(seconds, scene, crowd, callers, pool, groups, make_guard)
            await self._quiet([*crowd, *taken_up], callers, pool)
            self._left -= seconds
            self._memory.sample()

    async def _chaos(
        self,
        seconds: float,
        scene: Scene,
        crowd: list[AsyncTalker],
        callers: list[BlockingTalker],
        pool: ThreadPoolExecutor,
        groups: list[Group],
        make_guard: Any,
    ) -> list[AsyncTalker]:
        """Everything goes wrong for a while. Returns the conversations of killed processes."""
        loop = asyncio.get_running_loop()
        end = time.monotonic() + seconds
        await asyncio.to_thread(self._sandbox.begin_faults)
        self._kills += 1
        killed = asyncio.create_task(kill_one(scene, self._sandbox.base_url, self._kills, self._seed, make_guard, end))
        dropped = loop.call_later(self._dice.uniform(0, seconds), self._drop, self._dice.choice(groups))
        try:
            await asyncio.gather(
                *(talker.talk_until(end) for talker in crowd),
                *(loop.run_in_executor(pool, talker.talk_until, end) for talker in callers),
            )
            return await killed
        finally:
            killed.cancel()
            dropped.cancel()

    def _drop(self, group: Group) -> None:
        self._tally.add("guards_dropped")
        group.renew(group.version)

    async def _quiet(self, crowd: list[AsyncTalker], callers: list[BlockingTalker], pool: ThreadPoolExecutor) -> None:
        """Nothing goes wrong any more: every thread must answer, and everything must be in its place."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._sandbox.end_faults)
        places = asyncio.Semaphore(_AT_ONCE)

        async def must_answer(talker: AsyncTalker) -> None:
            async with places:
                await talker.must_answer()

        await asyncio.gather(
            *(must_answer(talker) for talker in crowd),
            *(loop.run_in_executor(pool, talker.must_answer) for talker in callers),
        )
        await asyncio.to_thread(self._look_through, [*crowd, *callers])

    def _look_through(self, talkers: list[Talker]) -> None:
        places = {talker: talker.conversation_id for talker in talkers}
        held = self._sandbox.held([place for place in places.values() if place is not None])
        for talker, place in places.items():
            if place is not None and talker.record.hold_against(held[place], place):
                self._tally.tell(f"{place} holds {self._sandbox.items(place)}")
                self._tally.tell(f"the last requests on it: {self._sandbox.last_requests(place)}")
        suspicions = [one for talker in talkers for one in talker.record.take_suspicions()]
        vanished = self._sandbox.vanished([name for one in suspicions for name in one.conversations])
        for one in suspicions:
            if not vanished.intersection(one.conversations):
                told = {name: self._sandbox.last_requests(name) for name in one.conversations}
                self._tally.wrong("turns_lost", f"{one.detail}; the last requests: {told}", one.turns)

    async def _tell(self) -> None:
        """Keep telling how it goes."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(_TELL_EVERY)
            status = await asyncio.to_thread(self._sandbox.status)
            counts = self._tally.counts
            wrong = {name: counts[name] for name in MUST_BE_ZERO if counts[name]}
            print(
                f"{time.monotonic() - began:6.0f} s  {self._left:5.0f} s of faults left"
                f"  {counts['turns']} turns  {status.faults.total()} faults  {counts['kills']} kills"
                f"  {wrong or 'nothing wrong'}",
                file=sys.stderr,
                flush=True,
            )

    def _figures(self, journal: Journal) -> dict[str, Any]:
        holds_open = len(self._ledger.open_holds())
        self._ledger.expire_all()
        bill = self._sandbox.bill()
        ours = [call for call in bill if call.model == MODEL]
        killed = [call for call in bill if call.model == WORKER_MODEL]
        return figures_of(
            self._tally,
            journal,
            self._ledger,
            audit(journal.rows(), ours, self._ledger.tokens_expired),
            self._memory,
            self._sandbox.status(),
            holds_open=holds_open,
            tokens_billed_by_killed=sum(call.input_tokens + call.output_tokens for call in killed),
        )


def _fill_caches() -> None:
    """Fill what is bounded, so that what grows afterwards is not."""
    tokens.wait_until_ready()
    for number in range(_CACHED_TEXTS):
        tokens.estimate(f"{number:0200}", MODEL)


def soak(
    seconds: float, threads: int, seed: int, rate: float, *, trace: bool = False, events: Path | None = None
) -> dict[str, Any]:
    """Run the soak and return its figures. See `Soak`."""
    return asyncio.run(Soak(seconds, threads, seed, rate, trace=trace, events=events).run())


def main(arguments: list[str] | None = None) -> None:
    """Run the soak and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--minutes", type=float, required=True, help="how long things go wrong")
    parser.add_argument("--threads", type=int, default=300, help="conversations at once (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is random (default 0)")
    parser.add_argument("--rate", type=float, default=0.1, help="share of requests that fail (default 0.1)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--events", type=Path, help="write telemetry events to this file")
    parser.add_argument("--trace", action="store_true", help="find out where memory grows; slow")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error(f"--minutes is {options.minutes:g}, it must be above 0: give more")
    if options.threads < 10:
        parser.error(f"--threads is {options.threads}, the least is 10: give more")
    if not 0 <= options.rate <= 0.5:
        parser.error(f"--rate is {options.rate:g}, it must be between 0 and 0.5: change it")
    figures = soak(
        options.minutes * 60, options.threads, options.seed, options.rate, trace=options.trace, events=options.events
    )
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    if figures["wrong"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
