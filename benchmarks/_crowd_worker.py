"""A process of the crowd: it answers for any user, and tries to reach what is not that user's."""

from __future__ import annotations

import asyncio
import gc
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import openai

from assistantguard import (
    Assistant,
    AssistantGuardError,
    AsyncAssistantGuard,
    Budget,
    BudgetBusy,
    BudgetExceeded,
    ConfigurationError,
    ThreadNotFound,
    ThreadRotation,
    TooManyThreads,
    TransientRetry,
)
from assistantguard.sandbox import ModelRequest
from benchmarks._soak_memory import resident_bytes

__all__ = ["API_KEY", "MODEL", "TOPICS", "Crowd", "Report", "answer", "run_worker", "settings", "user_name"]

API_KEY = "sk-crowd"
MODEL = "gpt-6-luna"
TOPICS = ("billing", "returns", "other things")
_AT_ONCE = 8
_TELL_EVERY = 50
_PROBE_EVERY = 20
"""Turns, about, between two attempts to reach another's thread."""
_MARK = re.compile(r"\[(u-\d+)\.\d+\]")
_WIDE = "".join(chr(ord(letter) + 0xFEE0) for letter in "billing")
"""The same letters in another width: Unicode normal forms differ in whether they are the same name."""
_INJECTIONS = ("x' OR '1'='1", 'x"; DROP TABLE guard_threads; --', "%", "_%", "billing\\", "u-1:billing", _WIDE)
_IMPOSSIBLE = ("billing\x00", "a\nb", "x" * 10_000, "")


@dataclass(frozen=True, slots=True)
class Crowd:
    """What all processes have in common."""

    base_url: str
    database: str
    users: int
    tokens_per_user: int
    seed: int


@dataclass(slots=True)
class Report:
    """What a process has seen."""

    turns: int = 0
    refused: int = 0
    probes: int = 0
    leaks: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    """Bytes, at each quarter of its turns."""


def user_name(number: int) -> str:
    """The user of that number."""
    return f"u-{number}"


def answer(request: ModelRequest) -> str:
    """The model: it tells whose messages it has seen."""
    texts = [str(item.get("content", "")) for item in request.items if item.get("role") == "user"]
    seen = sorted({found for text in texts for found in _MARK.findall(text)})
    return f"Seen: {' '.join(seen)}. It was sent on Monday."


def settings(crowd: Crowd) -> dict[str, Any]:
    """Arguments of every guard, beside its client."""
    return {
        "assistant": Assistant(model=MODEL, instructions="You answer questions about orders.", max_output_tokens=64),
        "policies": [
            Budget(account="user", per="month", tokens=crowd.tokens_per_user),
            Budget(account="application", per="month", tokens=crowd.users * crowd.tokens_per_user, name="all"),
            ThreadRotation(6),
            TransientRetry(4),
        ],
        "ledger": crowd.database,
        "sinks": [],
    }


def run_worker(connection: Connection, crowd: Crowd, number: int, turns: int) -> None:
    """Make so many turns, and say what was seen."""
    connection.send(asyncio.run(_Worker(crowd, number, turns, connection).run()))


class _Worker:
    def __init__(self, crowd: Crowd, number: int, turns: int, connection: Connection) -> None:
        self._crowd = crowd
        self._turns = turns
        self._dice = random.Random(f"{crowd.seed} {number}")
        self._report = Report()
        self._connection = connection
        self._left = turns
        self._done = 0
        self._ids: dict[str, str] = {}
        """Threads that this process has seen, and whose they are."""

    async def run(self) -> Report:
        async with openai.AsyncOpenAI(api_key=API_KEY, base_url=self._crowd.base_url, max_retries=0) as client:
            guard = AsyncAssistantGuard(client, **settings(self._crowd))
            await asyncio.gather(*(self._talk(guard) for _ in range(_AT_ONCE)))
            await guard.close()
        return self._report

    async def _talk(self, guard: AsyncAssistantGuard) -> None:
        while self._left:
            self._left -= 1
            await self._turn(guard)
            self._done += 1
            if self._done % (self._turns // 4) == 0:
                gc.collect()
                self._report.memory.append(resident_bytes())
            if self._done % _TELL_EVERY == 0:
                self._connection.send(_TELL_EVERY)
            if self._dice.randrange(_PROBE_EVERY) == 0 and self._ids:
                await self._probe(guard)

    async def _turn(self, guard: AsyncAssistantGuard) -> None:
        user = user_name(self._dice.randrange(self._crowd.users))
        thread = guard.thread(user=user, topic=self._dice.choice(TOPICS))
        self._report.turns += 1
        try:
            reply = await thread.chat(f"[{user}.{self._left}] Where is my order?")
        except (BudgetExceeded, BudgetBusy):
            self._report.refused += 1
            return
        except AssistantGuardError as error:
            self._report.errors[f"{type(error).__name__}: {error}"[:200]] += 1
            return
        self._ids[reply.thread_id] = user
        seen = set(reply.text.split("Seen: ")[-1].split(". It was")[0].split())
        if seen != {user}:
            self._report.leaks.append(f"the model saw {sorted(seen)} in a thread of {user}")

    async def _probe(self, guard: AsyncAssistantGuard) -> None:
        """Try to reach a thread as somebody else."""
        thread_id, owner = self._dice.choice(list(self._ids.items()))
        intruder = user_name(self._dice.randrange(self._crowd.users))
        if intruder == owner:
            return
        self._report.probes += 1
        way = self._dice.randrange(5)
        try:
            if way == 0:
                await guard.thread(thread_id, user=intruder).chat("What did we talk about?")
            elif way == 1:
                await guard.thread(thread_id).chat("What did we talk about?")
            elif way == 2:
                change = self._dice.choice((guard.threads.archive, guard.threads.delete, guard.threads.switch))
                await change(intruder, thread_id)
            elif way == 3:
                found = await guard.thread(user=intruder, topic=self._dice.choice(_INJECTIONS))
                if found.user != intruder or self._ids.get(found.id, intruder) != intruder:
                    self._report.leaks.append(f"{intruder} got {found.id} of {self._ids.get(found.id)}")
                await guard.threads.archive(intruder, found)
                return
            else:
                await guard.thread(user=intruder, topic=self._dice.choice(_IMPOSSIBLE))
        except (ThreadNotFound, TooManyThreads, ConfigurationError):
            return
        self._report.leaks.append(f"{intruder} reached {thread_id} of {owner} in way {way}")
