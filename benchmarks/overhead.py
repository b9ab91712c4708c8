"""CPU time that the guard adds to a turn, and time that it adds to the import.

::

    python -m benchmarks.overhead [--json] [--turns N]

Both sides talk to one canned server in the process and send the same requests: the guard with its default policies and
telemetry, and the raw client with the parameters that the guard sends (checked before anything is measured). A *plain*
turn is a message and a text, one model call; a *tool* turn is a message, a tool call, its output and a text, two model
calls. A round is a batch of each kind on each side, one after the other; a ratio is taken within a round, where both
sides met the same machine, and the median round counts. The overall ``ratio`` is over one plain and one tool turn
together. CPU time is that of the whole process, with all its threads.

Import times are CPU times of fresh interpreters with warm byte code: of openai, and of assistantguard with it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from assistantguard import Assistant, AssistantGuard, AsyncAssistantGuard, tokens
from assistantguard.tools import FunctionTool
from benchmarks.canned import TOOL_MARK, CannedServer

__all__ = ["main", "measure"]

MODEL = "gpt-6-luna"
INSTRUCTIONS = (
    "You are the support assistant of a kitchen shop. Answer in a few plain sentences. Use the tools for orders and"
    " parcels. Never invent a number; where a tool finds nothing, say so and ask for the order's number again."
)
MESSAGES = {
    "plain": "Thank you. And the parcel, when is it going to be here? I am at home on Thursday morning only.",
    "tool": f"{TOOL_MARK} Where is order W2378156? I ordered two kettles and a grinder last week, and paid by card.",
}
BATCH = 10
"""Turns of a batch. A thread lives for one batch, so that no policy rotates it."""
WARM_UP = 2
"""Rounds that are not counted."""

Turn = Callable[[str], Any]
AsyncTurn = Callable[[str], Awaitable[Any]]


def look_up_order(order_id: str) -> dict[str, Any]:
    """Look up an order: what is in it, what it cost, where it is.

    Args:
        order_id: The order's number, for example W1000001.
    """
    return {"order_id": order_id, "status": "sent", "total": "144.30", "parcel": "JD-8841-2207", "due": "Thursday"}


def track_parcel(tracking_number: str, with_events: bool = False) -> dict[str, Any]:
    """Say where a parcel is.

    Args:
        tracking_number: The carrier's number.
        with_events: Whether to list all scans.
    """
    return {"tracking_number": tracking_number, "status": "in depot", "events": [] if with_events else None}


TOOLS: list[Callable[..., Any]] = [look_up_order, track_parcel]
FUNCTIONS = {function.__name__: function for function in TOOLS}
SCHEMAS = [FunctionTool(function).schema for function in TOOLS]


def assistant() -> Assistant:
    """The assistant of the guarded side."""
    return Assistant(model=MODEL, instructions=INSTRUCTIONS, tools=TOOLS)


def parameters(conversation: str, items: list[Any], thread: str, run: str, number: int) -> dict[str, Any]:
    """What the raw side passes to ``responses.create``: the same as the guard does."""
    return {
        "model": MODEL,
        "instructions": INSTRUCTIONS,
        "conversation": conversation,
        "input": items,
        "tools": SCHEMAS,
        "max_output_tokens": 32_768,
        "prompt_cache_key": thread,
        "metadata": {"assistantguard_run": run},
        "extra_headers": {"X-Client-Request-Id": f"{run}-{number}-1"},
        "timeout": 300.0,
    }


def outputs(response: Any) -> list[dict[str, Any]]:
    """Run the functions that a response asks for."""
    return [
        {
            "type": "function_call_output",
            "call_id": item.call_id,
            "output": json.dumps(FUNCTIONS[item.name](**json.loads(item.arguments)), separators=(",", ":")),
        }
        for item in response.output
        if item.type == "function_call"
    ]


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


def check_same(server: CannedServer, raw: Callable[[], Any], guard: Callable[[], Any]) -> None:
    """See to it that both sides send the same, apart from ids.

    Raises:
        RuntimeError: They do not, so that a comparison would be worth nothing.
    """
    sent: list[list[dict[str, Any]]] = []
    for side in (raw, guard):
        server.bodies = []
        side()
        sent.append([_without_ids(body) for body in server.bodies])
    server.bodies = None
    if sent[0] != sent[1]:
        raise RuntimeError(f"the two sides do not send the same requests:\nraw   {sent[0]}\nguard {sent[1]}")


def _without_ids(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "prompt_cache_key": "thread", "metadata": sorted(body.get("metadata", ()))}


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
    code = (
        "import time; a = time.process_time(); import openai; b = time.process_time(); import assistantguard;"
        " print(b - a, time.process_time() - a)"
    )
    found: list[tuple[float, float]] = []
    for number in range(repeats + 1):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        if number:  # the first one may write byte code
            theirs, ours = map(float, done.stdout.split())
            found.append((theirs * 1e3, ours * 1e3))
    return {
        "ratio": round(statistics.median(ours / theirs for theirs, ours in found), 4),
        "assistantguard_ms": round(statistics.median(ours for _, ours in found), 1),
        "openai_ms": round(statistics.median(theirs for theirs, _ in found), 1),
    }


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
    options = parser.parse_args(arguments)
    if options.turns < BATCH:
        parser.error(f"--turns is {options.turns}, the least is one batch: {BATCH}")
    figures = measure(options.turns)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for colour in ("sync", "async"):
        for kind in ("plain", "tool"):
            row = figures[colour][kind]
            print(
                f"{colour:6} {kind:6} turn  guard {row['guard_us']:8.0f} us   raw {row['raw_us']:8.0f} us"
                f"   x {row['ratio']:.3f}"
            )
        print(f"{colour:6} both together{'':37} x {figures[colour]['ratio']:.3f}")
    row = figures["import"]
    ours, theirs = row["assistantguard_ms"], row["openai_ms"]
    print(f"import              guard {ours:8.0f} ms   raw {theirs:8.0f} ms   x {row['ratio']:.3f}")


if __name__ == "__main__":
    main()
