"""What either process needs of a combination over the drop-in: clients over one database, and the tools."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Any

import openai

from assistantguard import ToolStepCeiling, drop_in
from assistantguard.ledger import open_ledger
from tests.matrix.scene import CLEANUP_TIMEOUT, RUN_TIMEOUT, retrying
from tests.matrix.shape import Combination
from tests.support.models import Lookups
from tests.support.world import World

__all__ = ["Place", "Stage", "Turn"]

_LEASE = 5.0
_TAIL = 5.0
"""Seconds that tasks may take to end once their run has."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a combination is played."""

    combination: str
    base_url: str
    api_key: str
    database: str


@dataclass(slots=True)
class Turn:
    """What came of a run."""

    run_id: str = ""
    status: str = ""
    text: str = ""
    last_error: str | None = None
    usage: int | None = None
    seen: list[str] = field(default_factory=list)
    """The statuses in which it came to rest."""
    asked: list[str] = field(default_factory=list)
    """What its tools were asked for."""
    seconds: float = 0.0


class Stage:
    """One process's side."""

    def __init__(self, world: World, combination: Combination, place: Place) -> None:
        row, transition = combination.row, combination.transition
        self._world = world
        self._way = combination.way
        options = {"policies": [retrying(), ToolStepCeiling(4)], **transition.options(), **row.options}
        self._policies = options["policies"]
        self._run_timeout = options.get("run_timeout", RUN_TIMEOUT)
        self.ledger = open_ledger(place.database)
        kind: Any = openai.AsyncOpenAI if world.is_async else openai.OpenAI
        self.inner: Any = kind(base_url=place.base_url, api_key=place.api_key, max_retries=0)
        self._clients: dict[float, Any] = {}

    def client(self, seconds: float | None = None) -> Any:
        """The drop-in client whose runs may take so many seconds."""
        timeout = seconds or self._run_timeout
        if timeout not in self._clients:
            self._clients[timeout] = drop_in(
                self.inner,
                policies=self._policies,
                ledger=self.ledger,
                run_timeout=timeout,
                cleanup_timeout=CLEANUP_TIMEOUT,
                background=self._way.background,
                lease_seconds=_LEASE,
                sinks=[],
            )
        return self._clients[timeout]

    def wait(self, result: Any) -> Any:
        """A value as it is, an awaitable run to its end."""
        return self._world.wait(result)

    def finish(self, thread_id: str, run_id: str, seconds: float | None) -> Turn:
        """Poll a run to its end, and run the tools that it asks for."""
        beta, turn, lookups = self.client(seconds).beta.threads, Turn(run_id), Lookups()
        began = time.monotonic()
        while True:
            run = self.wait(beta.runs.poll(run_id, thread_id=thread_id, poll_interval_ms=10))
            turn.seen.append(run.status)
            if run.status != "requires_action":
                break
            outputs = []
            for call in run.required_action.submit_tool_outputs.tool_calls:
                order = re.findall(r"\w+", call.function.arguments)[-1]
                turn.asked.append(order)
                outputs.append({"tool_call_id": call.id, "output": lookups.lookup(order)})
            self._submit(beta, run, outputs)
        turn.status, turn.seconds = run.status, time.monotonic() - began
        turn.last_error = None if run.last_error is None else f"{run.last_error.code}: {run.last_error.message}"
        turn.usage = None if run.usage is None else run.usage.total_tokens
        page = self.wait(beta.messages.list(thread_id, run_id=run_id, order="asc"))
        turn.text = "".join(part.text.value for message in page.data for part in message.content)
        self.rest()
        return turn

    def _submit(self, beta: Any, run: Any, outputs: list[dict[str, str]]) -> None:
        where = {"run_id": run.id, "thread_id": run.thread_id, "tool_outputs": outputs}
        if not self._way.streamed:
            self.wait(beta.runs.submit_tool_outputs(**where))
        elif self._world.is_async:
            self.wait(_read(beta.runs.submit_tool_outputs_stream(**where)))
        else:
            with beta.runs.submit_tool_outputs_stream(**where) as stream:
                stream.until_done()

    def rest(self) -> None:
        """Let the tasks that drive runs come to their end."""
        if self._world.is_async:
            self.wait(_rest())

    def close(self) -> None:
        """Close everything."""
        self.rest()
        self.wait(self.inner.close())
        self.ledger.database.close()


async def _read(manager: Any) -> None:
    async with manager as stream:
        await stream.until_done()


async def _rest() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_TAIL)
