"""Many conversations at once on one event loop: how many turns it does, what the guard adds to each, what it keeps.

::

    python -m benchmarks.concurrency [--conversations 1000] [--turns 3] [--seed 0] [--json]

Both sides talk to servers in the process, which answer each model call after a scripted wait: the guard with its
default policies and telemetry, and the raw client, with the same calls and the same waits. Each conversation is a task
of its own; its second message has the model call a tool. A turn's own time is its latency less the scripted waits.
There are two loads:

- *rush*: first the raw client, then the guard. All conversations begin at once and answers come after about 50 ms, so
  that the loop is never idle. It gives the turns per second.
- *steady*: both sides side by side on one loop. Conversations begin one by one, and answers take so long that the loop
  is busy about half of the time, as a server that is not overloaded is. It gives what the guard adds to a turn, at the
  median and at the 99th percentile: its own time there less the raw client's. (Two sides that are equal add 0 to each
  other. The percentiles of the differences between single turns would show the machine's noise instead.)

An idle thread's memory is what stays allocated for each thread of a guard after its turn has ended and garbage is
collected, its row in the ledger and its share of caches included. Lost and doubled turns are counted by the server.
The exit code is 1 where any turn was lost, doubled, misplaced, out of order, refused or answered wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import openai

from assistantguard import AsyncAssistantGuard, tokens
from benchmarks._conversations import ConversationServer, answer_to, message_of
from benchmarks.overhead import assistant, raw_async_turns

__all__ = ["bytes_per_idle_thread", "main", "measure"]

RUSH_ANSWER_SECONDS = 0.05
STEADY_BUSY = 0.5
"""The part of the time for which a steady load keeps the loop busy, about."""
IDLE_THREADS = 1_000
_ROUNDS = 3
WARM_UP = 40
"""Conversations that are not counted, before the first load."""
TOOL_MESSAGE = 1
"""The number of the message that has the model call a tool."""

Turn = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Who talks to which server."""

    name: str
    server: ConversationServer
    begin: Callable[[], Turn]
    """Makes the turn function of a new conversation."""


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What a crowd of conversations does, the same for both sides."""

    conversations: int
    turns: int
    waits: list[list[float]]
    """Seconds until a model call is answered, by conversation and message."""
    spread: float
    """Seconds within which conversations begin."""
    seed: int

    def calls(self, number: int) -> int:
        """Model calls of a turn."""
        return 2 if number == TOOL_MESSAGE else 1


def load(conversations: int, turns: int, seconds: float, spread: float, seed: int) -> Load:
    """Script a crowd: turns that wait `seconds` on average, in conversations that begin within `spread` seconds."""
    dice = random.Random(seed)
    waits = [[dice.uniform(0.5, 1.5) * seconds for _ in range(turns)] for _ in range(conversations)]
    for row in waits:
        if len(row) > TOOL_MESSAGE:
            row[TOOL_MESSAGE] /= 2
    return Load(conversations, turns, waits, spread, dice.getrandbits(32))


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """What became of one side's conversations."""

    own: list[float]
    """Seconds of each turn without the scripted waits."""
    seconds: float
    """From the beginning of the first turn to the end of the last."""
    turns: dict[str, int]
    """Turns that did not go as they must, by what happened to them."""


async def hold_all(script: Load, side: Side) -> Crowd:
    """Hold all conversations at once."""
    server = side.server
    server.forget()
    server.wait = lambda conversation, number: script.waits[conversation][number]
    dice = random.Random(f"{script.seed} {side.name}")
    starts = [dice.uniform(0.0, script.spread) for _ in range(script.conversations)]
    own: list[float] = []
    wrong = 0

    async def hold(conversation: int) -> None:
        nonlocal wrong
        turn = side.begin()
        await asyncio.sleep(starts[conversation])
        for number in range(script.turns):
            text = message_of(conversation, number, asks_tool=number == TOOL_MESSAGE)
            began = time.perf_counter()
            answer = await turn(text)
            waited = script.waits[conversation][number] * script.calls(number)
            own.append(time.perf_counter() - began - waited)
            wrong += str(answer) != answer_to(conversation, number)

    began = time.perf_counter()
    await asyncio.gather(*map(hold, range(script.conversations)))
    seconds = time.perf_counter() - began
    losses = asdict(server.losses(script.conversations, script.turns))
    return Crowd(own, seconds, {**losses, "answered_wrongly": wrong})


def raw_beginning(client: openai.AsyncOpenAI) -> Callable[[], Turn]:
    """Conversations of the raw client. The first turn makes the conversation, as the guard's does."""

    def begin() -> Turn:
        turn: Turn | None = None

        async def say(message: str) -> str:
            nonlocal turn
            if turn is None:
                turn = await raw_async_turns(client)
            return str(await turn(message))

        return say

    return begin


async def measure_rush(script: Load, sides: Sequence[Side]) -> dict[str, Any]:
    """Run the sides one after the other, as fast as they can."""
    crowds: dict[str, Crowd] = {}
    cpu: dict[str, float] = {}
    count = script.conversations * script.turns
    for side in sides:
        gc.collect()
        began = time.process_time()
        crowds[side.name] = await hold_all(script, side)
        cpu[side.name] = round((time.process_time() - began) / count * 1e3, 3)
    rates = {name: round(count / crowd.seconds, 1) for name, crowd in crowds.items()}
    return {"turns_per_second": rates, "cpu_ms_per_turn": cpu, **_own(crowds)}


async def measure_steady(script: Load, sides: Sequence[Side]) -> dict[str, Any]:
    """Run the sides side by side."""
    gc.collect()
    done = await asyncio.gather(*(hold_all(script, side) for side in sides))
    return _own({side.name: crowd for side, crowd in zip(sides, done, strict=True)})


def _own(crowds: dict[str, Crowd]) -> dict[str, Any]:
    """Own time of each side, and how much more it is for the guard; turns that went wrong."""
    own = {name: _percentiles(crowd.own) for name, crowd in crowds.items()}
    added = {cut: round(own["guard"][cut] - own["raw"][cut], 2) for cut in own["guard"]}
    return {"own_ms": own, "added_ms": added, "turns": {name: crowd.turns for name, crowd in crowds.items()}}


def _percentiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(cuts[49] * 1e3, 2), "p99": round(cuts[98] * 1e3, 2)}


async def measure_loads(conversations: int, turns: int, seed: int) -> dict[str, Any]:
    """Measure both loads with one guard and one raw client."""
    servers = [ConversationServer(), ConversationServer()]
    clients = [server.client() for server in servers]
    bot = AsyncAssistantGuard(clients[1], assistant())
    sides = [
        Side("raw", servers[0], raw_beginning(clients[0])),
        Side("guard", servers[1], lambda: bot.thread().chat),
    ]
    await measure_rush(load(WARM_UP, 2, 0.01, 0.0, seed), sides)
    gc.collect()
    gc.freeze()  # a look through all that was imported would fall on whichever side is running
    try:
        rush = await measure_rush(load(conversations, turns, RUSH_ANSWER_SECONDS, 0.0, seed), sides)
        seconds = conversations * sum(rush["cpu_ms_per_turn"].values()) / 1e3 / STEADY_BUSY
        steady = await measure_steady(load(conversations, turns, seconds, seconds, seed), sides)
    finally:
        gc.unfreeze()
        for client in clients:
            await client.close()
        await bot.close()
    return {"rush": rush, "steady": {"answer_seconds": round(seconds, 2), **steady}}


async def bytes_per_idle_thread(threads: int) -> float:
    """Bytes that stay allocated for each of so many threads of a guard, once each has had a turn.

    The median of three rounds: what else the process allocates or frees meanwhile falls into one of them.
    """
    server = ConversationServer()
    client = server.client()
    bot = AsyncAssistantGuard(client, assistant())

    async def turn(number: int) -> None:
        await bot.thread().chat(message_of(number, 0, asks_tool=False))

    async def settled() -> int:
        server.forget()
        await asyncio.sleep(0)  # the loop lets go of the tasks that have ended
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        await asyncio.gather(*map(turn, range(WARM_UP)))
        sizes = [await settled()]
        for first in range(WARM_UP, WARM_UP + _ROUNDS * threads, threads):
            await asyncio.gather(*map(turn, range(first, first + threads)))
            sizes.append(await settled())
        return statistics.median((after - before) / threads for before, after in itertools.pairwise(sizes))
    finally:
        tracemalloc.stop()
        await client.close()
        await bot.close()


def measure(conversations: int, turns: int, seed: int) -> dict[str, Any]:
    """Measure everything.

    Args:
        conversations: How many are held at once.
        turns: Messages in each.
        seed: Of the scripted waits.
    """
    tokens.wait_until_ready()
    loads = asyncio.run(measure_loads(conversations, turns, seed))
    ours = [loads[name]["turns"]["guard"] for name in ("rush", "steady")]
    return {
        "conversations": conversations,
        "turns": turns,
        "seed": seed,
        "turns_per_second": loads["rush"]["turns_per_second"]["guard"],
        "added_ms_p50": loads["steady"]["added_ms"]["p50"],
        "added_ms_p99": loads["steady"]["added_ms"]["p99"],
        "bytes_per_idle_thread": round(asyncio.run(bytes_per_idle_thread(IDLE_THREADS))),
        **{f"turns_{name}": sum(losses[name] for losses in ours) for name in ours[0]},
        **loads,
    }


def went_wrong(figures: dict[str, Any]) -> bool:
    """Whether a turn of either side did not go as it must."""
    return any(
        count for name in ("rush", "steady") for losses in figures[name]["turns"].values() for count in losses.values()
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.concurrency", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--conversations", type=int, default=1_000, help="how many are held at once (default 1000)")
    parser.add_argument("--turns", type=int, default=3, help="messages in each (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the scripted waits (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    if options.conversations < 2:
        parser.error(f"--conversations is {options.conversations}, the least is 2: give more")
    if options.turns < 1:
        parser.error(f"--turns is {options.turns}, the least is 1: give more")
    figures = measure(options.conversations, options.turns, options.seed)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    if went_wrong(figures):
        sys.exit(1)


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    rush, steady = figures["rush"], figures["steady"]
    print(f"{figures['conversations']} conversations at once, {figures['turns']} turns each, seed {figures['seed']}")
    for title, part in (("rush", rush), (f"steady, answers after {steady['answer_seconds']:.2g} s", steady)):
        print(f"\n{title}")
        rows = {**part["own_ms"], "added": part["added_ms"]}
        for side in ("guard", "raw", "added"):
            row = f"  {side:6} own time p50 {rows[side]['p50']:9.2f} ms   p99 {rows[side]['p99']:9.2f} ms"
            if part is rush and side in rush["turns_per_second"]:
                row += f"   {rush['turns_per_second'][side]:8.1f} turns/s"
                row += f"   {rush['cpu_ms_per_turn'][side]:7.3f} ms CPU"
            print(row)
    print(f"\nmemory per idle thread   {figures['bytes_per_idle_thread']} bytes")
    print(
        "turns   " + "   ".join(f"{name.replace('_', ' ')} {figures[f'turns_{name}']}" for name in rush["turns"]["raw"])
    )


if __name__ == "__main__":
    main()
