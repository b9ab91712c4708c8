"""A process that makes turns on threads of a shared database, until it is killed in the midst of one."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from assistantguard import AssistantGuard, AsyncAssistantGuard, TokenCap, ToolStepCeiling, TransientRetry
from benchmarks._soak_guards import assistant, async_client, blocking_client

__all__ = ["LEASE_SECONDS", "MOST_OUTPUT", "Done", "Setting", "Task", "guard_options", "work"]

LEASE_SECONDS = 1.5
RUN_TIMEOUT = 20.0
MOST_OUTPUT = 4_000
"""Tokens. An answer names all turns of its thread, and must not be cut short."""
_CLEANUP_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What all workers of a database have in common, and after how long a killed one's work is taken over."""

    base_url: str
    database: str
    lease_seconds: float = LEASE_SECONDS

    @property
    def run_timeout(self) -> float:
        """Seconds that a turn may take."""
        return max(RUN_TIMEOUT, 10 * self.lease_seconds)


@dataclass(frozen=True, slots=True)
class Task:
    """A turn to make."""

    thread: str
    mark: str
    text: str
    streamed: bool
    hands_over: bool = False
    """Whether the run that it is made by is for another worker to poll, where there are runs."""
    begun_by: int | None = None
    """The id of the process that began it, and that somebody else is to follow."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of it."""

    task: Task
    text: str | None
    """The reply; None where there is none."""
    error: str = ""
    begun: bool = False
    """Whether it is begun, and for another worker to follow."""


def guard_options(setting: Setting) -> dict[str, Any]:
    """Arguments of every guard."""
    return {
        "policies": [TokenCap(run=100_000), ToolStepCeiling(6), TransientRetry(4)],
        "run_timeout": setting.run_timeout,
        "cleanup_timeout": _CLEANUP_TIMEOUT,
        "ledger": setting.database,
        "lease_seconds": setting.lease_seconds,
        "sinks": [],
    }


def work(connection: Connection, setting: Setting, *, asynchronous: bool, background: bool) -> None:
    """Make the turns that come in on `connection`, each at once, and tell what became of them."""
    options = {**guard_options(setting), "background": background}
    if asynchronous:
        asyncio.run(_work_async(connection, setting, options))
    else:
        _work_blocking(connection, setting, options)


def _work_blocking(connection: Connection, setting: Setting, options: dict[str, Any]) -> None:
    telling = threading.Lock()
    with blocking_client(setting.base_url) as client, ThreadPoolExecutor(8) as pool:
        guard = AssistantGuard(client, assistant(max_output_tokens=MOST_OUTPUT), **options)

        def make(task: Task) -> None:
            thread = guard.thread(task.thread)
            done = Done(task, None)
            try:
                if task.streamed:
                    with thread.stream(task.text, idempotency_key=task.mark) as stream:
                        reply = stream.until_done()
                else:
                    reply = thread.chat(task.text, idempotency_key=task.mark)
                done = Done(task, reply.text)
            except Exception as error:  # noqa: BLE001 - the parent judges
                done = Done(task, None, repr(error))
            with telling:
                connection.send(done)

        while (task := connection.recv()) is not None:
            pool.submit(make, task)


async def _work_async(connection: Connection, setting: Setting, options: dict[str, Any]) -> None:
    async with async_client(setting.base_url) as client:
        guard = AsyncAssistantGuard(client, assistant(max_output_tokens=MOST_OUTPUT), **options)

        async def make(task: Task) -> None:
            thread = guard.thread(task.thread)
            try:
                if task.streamed:
                    async with thread.stream(task.text, idempotency_key=task.mark) as stream:
                        reply = await stream.until_done()
                else:
                    reply = await thread.chat(task.text, idempotency_key=task.mark)
                done = Done(task, reply.text)
            except Exception as error:  # noqa: BLE001 - the parent judges
                done = Done(task, None, repr(error))
            connection.send(done)

        making: set[asyncio.Task[None]] = set()
        while (task := await asyncio.to_thread(connection.recv)) is not None:
            one = asyncio.create_task(make(task))
            making.add(one)
            one.add_done_callback(making.discard)
