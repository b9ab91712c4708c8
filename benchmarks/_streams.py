"""Streamed turns, guard against raw: when the first piece of text comes, and what a piece costs."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from assistantguard import AssistantGuard, AsyncAssistantGuard, TextDelta, tokens
from benchmarks._sides import BATCH, WARM_UP, assistant, check_same, parameters
from benchmarks.canned import DELTAS, CannedServer

__all__ = ["check_text", "measure_streams"]

MESSAGE = "And what happened to the parcel on its way? Tell me all of it, from the first scan to the last one, please."
SIDES = ("raw", "guard")
DELTA = "response.output_text.delta"

Texts = Callable[[str], Iterator[str]]
AsyncTexts = Callable[[str], AsyncIterator[str]]


@dataclass
class Batch:
    """What the streams of one side took in one round."""

    first: list[float] = field(default_factory=list)
    """Seconds from the question to the first piece of text, stream by stream."""
    cpu: list[float] = field(default_factory=list)
    """CPU seconds of whole streams, from the question to the settled end."""
    later: list[float] = field(default_factory=list)
    """CPU seconds from the first piece of text to the settled end."""

    def add(self, began: tuple[float, float], first: tuple[float, float]) -> None:
        """Note a stream that has just ended, by when it began and when its first piece came (wall clock, CPU)."""
        now = time.process_time()
        self.first.append(first[0] - began[0])
        self.cpu.append(now - began[1])
        self.later.append(now - first[1])


def clocks() -> tuple[float, float]:
    """The wall clock and the CPU time of the process, seconds."""
    return time.perf_counter(), time.process_time()


def check_text(pieces: list[str]) -> None:
    """See to it that a stream brought the whole text, piece by piece.

    Raises:
        RuntimeError: It did not.
    """
    if pieces != DELTAS:
        raise RuntimeError(f"a stream brought {len(pieces)} pieces, or other ones, instead of its {len(DELTAS)}")


def raw_texts(client: Any) -> Texts:
    """A new conversation of the raw client, whose answers are streamed."""
    conversation = client.conversations.create(metadata={"assistantguard_thread": "thread"}).id
    thread = f"thread_{uuid.uuid4().hex}"

    def stream(message: str) -> Iterator[str]:
        items: list[Any] = [{"type": "message", "role": "user", "content": message}]
        sent = parameters(conversation, items, thread, f"run_{uuid.uuid4().hex}", 0)
        with client.responses.create(stream=True, **sent) as events:
            for event in events:
                if event.type == DELTA:
                    yield event.delta

    return stream


def guarded_texts(bot: AssistantGuard) -> Texts:
    """A new conversation of the guard, whose answers are streamed."""
    thread = bot.thread()

    def stream(message: str) -> Iterator[str]:
        with thread.stream(message) as events:
            for event in events:
                if isinstance(event, TextDelta):
                    yield event.text

    return stream


async def raw_async_texts(client: Any) -> AsyncTexts:
    """A new conversation of the raw async client, whose answers are streamed."""
    conversation = (await client.conversations.create(metadata={"assistantguard_thread": "thread"})).id
    thread = f"thread_{uuid.uuid4().hex}"

    async def stream(message: str) -> AsyncIterator[str]:
        items: list[Any] = [{"type": "message", "role": "user", "content": message}]
        sent = parameters(conversation, items, thread, f"run_{uuid.uuid4().hex}", 0)
        async with await client.responses.create(stream=True, **sent) as events:
            async for event in events:
                if event.type == DELTA:
                    yield event.delta

    return stream


async def guarded_async_texts(bot: AsyncAssistantGuard) -> AsyncTexts:
    """A new conversation of the async guard, whose answers are streamed."""
    thread = bot.thread()

    async def stream(message: str) -> AsyncIterator[str]:
        async with thread.stream(message) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    yield event.text

    return stream


def measure_sync(turns: int) -> dict[str, float]:
    """Measure blocking streams."""
    server = CannedServer()
    client = server.client()
    bot = AssistantGuard(client, assistant())
    tokens.wait_until_ready()
    check_same(server, lambda: list(raw_texts(client)(MESSAGE)), lambda: list(guarded_texts(bot)(MESSAGE)))

    def run(stream: Texts, batch: Batch) -> None:
        pieces: list[str] = []
        began = first = clocks()
        for text in stream(MESSAGE):
            if not pieces:
                first = clocks()
            pieces.append(text)
        batch.add(began, first)
        check_text(pieces)

    rounds: list[dict[str, Batch]] = []
    for number in range(-WARM_UP, turns // BATCH):
        batches: dict[str, Batch] = {}
        for side in SIDES[:: 1 if number % 2 else -1]:
            stream = raw_texts(client) if side == "raw" else guarded_texts(bot)
            run(stream, Batch())
            gc.collect()
            batches[side] = Batch()
            for _ in range(BATCH):
                run(stream, batches[side])
        rounds.append(batches)
    client.close()
    return figures(rounds[WARM_UP:])


async def measure_async(turns: int) -> dict[str, float]:
    """Measure streams on an event loop."""
    server = CannedServer()
    client = server.async_client()
    bot = AsyncAssistantGuard(client, assistant())
    tokens.wait_until_ready()

    async def run(stream: AsyncTexts, batch: Batch) -> None:
        pieces: list[str] = []
        began = first = clocks()
        async for text in stream(MESSAGE):
            if not pieces:
                first = clocks()
            pieces.append(text)
        batch.add(began, first)
        check_text(pieces)

    rounds: list[dict[str, Batch]] = []
    for number in range(-WARM_UP, turns // BATCH):
        batches: dict[str, Batch] = {}
        for side in SIDES[:: 1 if number % 2 else -1]:
            made: Awaitable[AsyncTexts] = raw_async_texts(client) if side == "raw" else guarded_async_texts(bot)
            stream = await made
            await run(stream, Batch())
            gc.collect()
            batches[side] = Batch()
            for _ in range(BATCH):
                await run(stream, batches[side])
        rounds.append(batches)
    await client.close()
    return figures(rounds[WARM_UP:])


def figures(rounds: list[dict[str, Batch]]) -> dict[str, float]:
    """Ratios of the two sides within a round, and microseconds; all of them medians over the rounds."""
    found: dict[str, float] = {}
    for name, taken, per in (
        ("first_delta", lambda batch: statistics.median(batch.first), 1),
        ("cpu_per_delta", lambda batch: statistics.fmean(batch.cpu), len(DELTAS)),
        ("cpu_per_later_delta", lambda batch: statistics.fmean(batch.later), len(DELTAS) - 1),
    ):
        guard, raw = ([taken(batches[side]) / per * 1e6 for batches in rounds] for side in ("guard", "raw"))
        ratios = [ours / theirs for ours, theirs in zip(guard, raw, strict=True)]
        found[f"{name}_ratio"] = round(statistics.median(ratios), 4)
        found[f"{name}_guard_us"] = round(statistics.median(guard), 2)
        found[f"{name}_raw_us"] = round(statistics.median(raw), 2)
    return {**found, "deltas": len(DELTAS)}


def measure_streams(turns: int) -> dict[str, dict[str, float]]:
    """Measure both colours.

    Args:
        turns: Streams of each side and colour, in batches.
    """
    return {"sync": measure_sync(turns), "async": asyncio.run(measure_async(turns))}
