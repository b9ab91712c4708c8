"""One combination over the drop-in on stage: a sandbox, a process that creates runs, and another that polls them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from assistantguard.models.thread import ThreadState
from assistantguard.sandbox import Sandbox
from assistantguard.storage import SqlThreads
from tests.matrix.dropin_other import OtherProcess
from tests.matrix.dropin_stage import Place, Stage, Turn
from tests.matrix.scene import Ending, desk
from tests.matrix.shape import Combination
from tests.support.world import World

__all__ = ["DropInScene"]

_NAMES = {"completed": "Reply", "expired": "RunTimedOut"}
"""What stories call these endings."""
_QUIET = 3.0
_LOOKUP: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Find an order.",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
    },
}


class DropInScene:
    """What stories of the matrix ask of a `Scene`, with an application of the Assistants API in the guard's place."""

    def __init__(self, world: World, combination: Combination, other: OtherProcess, database: str) -> None:
        self.world = world
        self.combination = combination
        self.way = combination.way
        self.sandbox: Sandbox = world.sandbox(desk, **{**combination.transition.sandbox, **combination.row.sandbox})
        place = Place(combination.id, self.sandbox.base_url, self.sandbox.api_key, database)
        self._other = other
        other.begin(place)
        self.stage = Stage(world, combination, place)
        self._threads = SqlThreads(self.stage.ledger.database, content=True)
        self.turns: list[tuple[str, Turn]] = []
        """What was said, and what came of it."""
        self._files: list[str] = []
        beta = self.stage.client().beta
        assistant = beta.assistants.create(model="gpt-6-luna", tools=[_LOOKUP, {"type": "file_search"}])
        self.assistant_id: str = world.wait(assistant).id
        self.thread_id: str = world.wait(beta.threads.create()).id
        self.bot = SimpleNamespace(
            default=self,
            ledger=self.stage.ledger,
            guard=SimpleNamespace(client=self.stage.inner, summary=self._summary),
            attach_files=self._attach,
        )
        """What stories ask of a guard."""

    @property
    def state(self) -> ThreadState:
        """The thread beneath, as it is kept."""
        return self._threads.state(self.thread_id)

    @property
    def asked(self) -> Counter[str]:
        """How often the tools were asked for each order."""
        return Counter(order for _, turn in self.turns for order in turn.asked)

    def turn(self, message: str, deadline: float | None = None) -> Turn:
        """Say something, create a run, and have the other process poll it to its end."""
        began = time.monotonic()
        client = self.stage.client(deadline)
        files = [{"file_id": name, "tools": [{"type": "file_search"}]} for name in self._files]
        self._files = []
        create = client.beta.threads.messages.create
        self.world.wait(create(self.thread_id, role="user", content=message, attachments=files))
        if self.way.is_async:
            turn: Turn = self.world.wait(self._running(client, deadline))
        else:
            turn = self._run(client, deadline)
        self.stage.rest()
        turn.seconds = time.monotonic() - began
        self.turns.append((message, turn))
        return turn

    def _run(self, client: Any, deadline: float | None) -> Turn:
        runs = client.beta.threads.runs
        where = {"thread_id": self.thread_id, "assistant_id": self.assistant_id}
        if not self.way.streamed:
            run = runs.create(**where)
            self._other.ask((self.thread_id, run.id, deadline))
        else:
            with runs.stream(**where) as stream:
                for event in stream:
                    if event.event == "thread.run.created":
                        self._other.ask((self.thread_id, event.data.id, deadline))
        turn: Turn = self._other.hear()
        return turn

    async def _running(self, client: Any, deadline: float | None) -> Turn:
        runs = client.beta.threads.runs
        where = {"thread_id": self.thread_id, "assistant_id": self.assistant_id}
        if not self.way.streamed:
            run = await runs.create(**where)
            self._other.ask((self.thread_id, run.id, deadline))
        else:
            async with runs.stream(**where) as stream:
                async for event in stream:
                    if event.event == "thread.run.created":
                        self._other.ask((self.thread_id, event.data.id, deadline))
        turn: Turn = await asyncio.to_thread(self._other.hear)
        return turn

    def ending_of(self, call: Any) -> Ending:
        """Make a turn and say what it ended in."""
        began = time.monotonic()
        turn: Turn = call()
        return Ending(_NAMES.get(turn.status, turn.status), None, time.monotonic() - began, None)

    def messages(self) -> list[tuple[str, str]]:
        """Role and text of the thread's messages, oldest first."""
        page = self.world.wait(self.stage.client().beta.threads.messages.list(self.thread_id, order="asc", limit=100))
        return [(each.role, "".join(part.text.value for part in each.content)) for each in page.data]

    def quiet(self) -> bool:
        """Wait until the sandbox makes nothing any more; whether that came."""
        active = self.sandbox._application._responses._active
        until = time.monotonic() + _QUIET
        while active and time.monotonic() < until:
            time.sleep(0.005)
        return not active

    def close(self) -> None:
        """Close both sides."""
        self._other.ask(None)
        self._other.hear()
        self.stage.close()

    def _attach(self, file_ids: Sequence[str]) -> None:
        """The next message brings these files."""
        self._files = list(file_ids)

    def _summary(self) -> dict[str, Any]:
        return {"estimated_tokens": sum(entry.usage.estimated_tokens for entry in self.stage.ledger.entries())}
