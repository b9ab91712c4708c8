"""CPU time that the guard adds to a turn or a stream, and time that it adds to the import.

::

    python -m benchmarks.overhead [--json] [--turns N] [--stream]

Both sides talk to one canned server in the process and send the same requests: the guard with its default policies and
telemetry, and the raw client with the parameters that the guard sends (checked before anything is measured). A *plain*
turn is a message and a text, one model call; a *tool* turn is a message, a tool call, its output and a text, two model
calls. A round is a batch of each kind on each side, one after the other; a ratio is taken within a round, where both
sides met the same machine, and the median round counts. The overall ``ratio`` is over one plain and one tool turn
together. CPU time is that of the whole process, with all its threads.

Import times are CPU times of fresh interpreters: of openai, and of assistantguard with it. ``ratio`` is that of warm
byte code, as an installed package has it; ``cold_ratio`` is that of a first import, which compiles both from source.

With ``--stream``, answers of several hundred pieces are read to their end instead. ``first_delta`` is the time from the
question to the first piece of text, where the server itself takes no time. ``cpu_per_delta`` is the CPU time of the
whole stream, request and settlement included, for each of its pieces; ``cpu_per_later_delta`` leaves out what came
before the first piece.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from assistantguard import AssistantGuard, AsyncAssistantGuard, tokens
from benchmarks._sides import BATCH, WARM_UP, assistant, check_same, outputs, parameters
from benchmarks._streams import measure_streams
from benchmarks.canned import TOOL_MARK, CannedServer

__all__ = ["assistant", "check_same", "main", "measure"]

MESSAGES = {
    "plain": "Thank you. And the parcel, when is it going to be here? I am at home on Thursday morning only.",
    "tool": f"{TOOL_MARK} Where is order W2378156? I ordered two kettles and a grinder last week, and paid by card.",
}

Turn = Callable[[str], Any]
AsyncTurn = Callable[[str], Awaitable[Any]]


def raw_turns(client: Any) -> Turn:
    """A new conversation of the raw client."""
    conversation = client.conversations.create(metadata={"assistantguard_thread": "thread"}).id
    thread = f"thread_{uuid.uuid4().hex}"

    def turn(message: str) -> str:
        run, number = f"run_{uuid.uuid4().hex}", 0
        items: list[Any] = [{"type": "message", "role": "user", "content": message}]
        while True:
            response = client.responses.create(**parameters(conversation, items, thread, run, number))
            items, number = outputs(response), number + 1
            if not items:
                text: str = response.output_text
                return text

    return turn


async def raw_async_turns(client: Any) -> AsyncTurn:
    """A new conversation of the raw async client."""
    conversation = (await client.conversations.create(metadata={"assistantguard_thread": "thread"})).id
    thread = f"thread_{uuid.uuid4().hex}"

    async def turn(message: str) -> str:
        run, number = f"run_{uuid.uuid4().hex}", 0
        items: list[Any] = [{"type": "message", "role": "user", "content": message}]
        while True:
            response = await client.responses.create(**parameters(conversation, items, thread, run, number))
            items, number = outputs(response), number + 1
            if not items:
                text: str = response.output_text
                return text

    return turn


class Book:
    """CPU seconds of each round's batches, by kind of turn and side."""

    def __init__(self) -> None:
        self._rounds: list[dict[tuple[str, str], float]] = []

    def add(self, seconds: dict[tuple[str, str], float]) -> None:
        """Book one round."""
        self._rounds.append(seconds)

    def figures(self) -> dict[str, Any]:
        """Medians over the rounds."""
        return {**self._row(*MESSAGES), **{kind: self._row(kind) for kind in MESSAGES}}

    def _row(self, *kinds: str) -> dict[str, float]:
        """Mean turn of these kinds: the ratio within each round, and microseconds, as medians over the rounds."""
        guard, raw = (
            [sum(seconds[kind, side] for kind in kinds) / len(kinds) / BATCH * 1e6 for seconds in self._rounds]
            for side in ("guard", "raw")
        )
        return {
            "ratio": round(statistics.median(ours / theirs for ours, theirs in zip(guard, raw, strict=True)), 4),
            "guard_us": round(statistics.median(guard), 1),
            "raw_us": round(statistics.median(raw), 1),
        }


def batches(number: int) -> list[tuple[str, str]]:
    """The batches of a round: the two sides of each kind next to each other, in an order that changes."""
    sides = ("raw", "guard") if number % 2 else ("guard", "raw")
    return [(kind, side) for kind in MESSAGES for side in sides]


def measure_sync(turns: int) -> dict[str, Any]:
    """Measure blocking turns."""
    server, book = CannedServer(), Book()
    client = server.client()
    bot = AssistantGuard(client, assistant())
    tokens.wait_until_ready()
    for message in MESSAGES.values():
        check_same(server, lambda: raw_turns(client)(message), lambda: bot.thread().chat(message))  # noqa: B023
    for number in range(-WARM_UP, turns // BATCH):
        seconds: dict[tuple[str, str], float] = {}
        made: dict[tuple[str, str], int] = {}
        for kind, side in batches(number):
            turn = raw_turns(client) if side == "raw" else bot.thread().chat
            message = MESSAGES[kind]
            turn(message)
            gc.collect()
            before, began = server.requests, time.process_time()
            for _ in range(BATCH):
                turn(message)
            seconds[kind, side] = time.process_time() - began
            made[kind, side] = server.requests - before
        check_count(made)
        if number >= 0:
            book.add(seconds)
    client.close()
    return book.figures()


async def measure_async(turns: int) -> dict[str, Any]:
    """Measure turns on an event loop."""
    server, book = CannedServer(), Book()
    client = server.async_client()
    bot = AsyncAssistantGuard(client, assistant())
    tokens.wait_until_ready()
    for number in range(-WARM_UP, turns // BATCH):
        seconds: dict[tuple[str, str], float] = {}
        made: dict[tuple[str, str], int] = {}
        for kind, side in batches(number):
            turn: AsyncTurn = await raw_async_turns(client) if side == "raw" else bot.thread().chat
            message = MESSAGES[kind]
            await turn(message)
            gc.collect()
            before, began = server.requests, time.process_time()
            for _ in range(BATCH):
                await turn(message)
            seconds[kind, side] = time.process_time() - began
            made[kind, side] = server.requests - before
        check_count(made)
        if number >= 0:
            book.add(seconds)
    await client.close()
    return book.figures()


def check_count(made: dict[tuple[str, str], int]) -> None:
    """See to it that both sides made as many requests.

    Raises:
        RuntimeError: They did not.
    """
    if any(made[kind, "raw"] != made[kind, "guard"] for kind in MESSAGES):
        raise RuntimeError(f"the two sides did not make as many requests: {made}")


def measure_import(repeats: int = 9) -> dict[str, float]:
    """Measure the import of openai and, in the same interpreter, of the package on top of it."""
    warm, cold = [], []
    with tempfile.TemporaryDirectory() as kept:
        for number in range(repeats + 1):
            taken = import_once(kept)
            if number:  # the first one writes the byte code
                warm.append(taken)
    for _ in range(max(1, repeats // 3)):
        with tempfile.TemporaryDirectory() as empty:
            cold.append(import_once(empty))
    return {
        "ratio": round(statistics.median(ours / theirs for theirs, ours in warm), 4),
        "assistantguard_ms": round(statistics.median(ours for _, ours in warm), 1),
        "openai_ms": round(statistics.median(theirs for theirs, _ in warm), 1),
        "cold_ratio": round(statistics.median(ours / theirs for theirs, ours in cold), 4),
        "cold_assistantguard_ms": round(statistics.median(ours for _, ours in cold), 1),
        "cold_openai_ms": round(statistics.median(theirs for theirs, _ in cold), 1),
    }


def import_once(byte_code: str) -> tuple[float, float]:
    """CPU milliseconds of openai's import, and of both together, with byte code from this directory and no other."""
    code = (
        "import time; a = time.process_time(); import openai; b = time.process_time(); import assistantguard;"
        " print(b - a, time.process_time() - a)"
    )
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": byte_code}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    theirs, ours = map(float, done.stdout.split())
    return theirs * 1e3, ours * 1e3


def measure(turns: int) -> dict[str, Any]:
    """Measure everything.

    Args:
        turns: Turns of each kind and side, blocking and async; in batches of `BATCH`.
    """
    return {
        "sync": measure_sync(turns),
        "async": asyncio.run(measure_async(turns)),
        "import": measure_import(),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--turns", type=int, default=400, help="turns of each kind and side (default 400)")
    parser.add_argument("--stream", action="store_true", help="measure streams, and nothing else")
    options = parser.parse_args(arguments)
    if options.turns < BATCH:
        parser.error(f"--turns is {options.turns}, the least is one batch: {BATCH}")
    figures = {"stream": measure_streams(options.turns)} if options.stream else measure(options.turns)
    if options.json:
        print(json.dumps(figures, indent=2))
    elif options.stream:
        print_streams(figures["stream"])
    else:
        print_turns(figures)


def print_streams(figures: dict[str, Any]) -> None:
    """Print what was measured of streams."""
    names = {"first_delta": "first delta", "cpu_per_delta": "CPU a delta", "cpu_per_later_delta": "  after the first"}
    for colour, row in figures.items():
        for name, title in names.items():
            ours, theirs = row[f"{name}_guard_us"], row[f"{name}_raw_us"]
            print(f"{colour:6} {title:18} guard {ours:8.1f} us   raw {theirs:8.1f} us   x {row[f'{name}_ratio']:.3f}")


def print_turns(figures: dict[str, Any]) -> None:
    """Print what was measured of turns and of the import."""
    for colour in ("sync", "async"):
        for kind in ("plain", "tool"):
            row = figures[colour][kind]
            print(
                f"{colour:6} {kind:6} turn  guard {row['guard_us']:8.0f} us   raw {row['raw_us']:8.0f} us"
                f"   x {row['ratio']:.3f}"
            )
        print(f"{colour:6} both together{'':37} x {figures[colour]['ratio']:.3f}")
    row = figures["import"]
    for title, prefix in (("import", ""), ("import, cold", "cold_")):
        ours, theirs = row[f"{prefix}assistantguard_ms"], row[f"{prefix}openai_ms"]
        print(f"{title:19} guard {ours:8.0f} ms   raw {theirs:8.0f} ms   x {row[f'{prefix}ratio']:.3f}")


if __name__ == "__main__":
    main()
