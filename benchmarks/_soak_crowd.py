"""The soak's crowd: conversations that go on under faults, each doing at random what users and programs do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio

from assistantguard import (
    AssistantGuardError,
    AsyncGuardedThread,
    BudgetExceeded,
    GuardedThread,
    Reply,
    RunFailed,
)
from benchmarks._soak_books import Journal
from benchmarks._soak_judge import Record, Tally
from benchmarks._soak_model import Plan, message_of
from benchmarks._soak_sandbox import SandboxProcess

__all__ = ["AsyncTalker", "BlockingTalker", "Group", "Scene", "Talker"]

_TRIES = 3
"""How often a message is sent until it must be answered, when nothing goes wrong at the server."""
_RENEWALS = 3
_ACTS = {
    "chat": 38,
    "stream": 30,
    "leave": 7,
    "drop": 3,
    "deadline": 5,
    "heal": 2,
    "cancel": 6,
    "scope": 3,
    "pair": 3,
    "delete": 1,
    "break": 2,
}
_ASYNC_ONLY = ("cancel", "scope", "pair", "delete", "break")
"""What takes more than one thing at a time."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where everything happens."""

    sandbox: SandboxProcess
    journal: Journal
    tally: Tally
    think: float
    """Seconds between two messages, at most."""


class Group:
    """Guards that follow one another on the same conversations.

    Args:
        name: For the output.
        make: Makes a guard.
    """

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self.name = name
        self._make = make
        self.guard: Any = make()
        self.version = 1

    def renew(self, version: int) -> None:
        """Drop the guard and make another, unless that was done since `version`."""
        if version == self.version:
            self.guard = self._make()
            self.version += 1


class Talker:
    """One conversation, and who has it.

    Args:
        group: Whose guard.
        name: The conversation's number.
        scene: Where everything happens.
        seed: Of what it does.
    """

    def __init__(self, group: Group, name: int, scene: Scene, seed: int) -> None:
        self.group = group
        self.record = Record(name, scene.tally)
        self._scene = scene
        self._tally = scene.tally
        self._dice = random.Random(f"{seed} conversation {name}")
        self._id = f"conversation-{name}"
        self._anew = 0
        self._version = 0
        self._thread: Any = None
        self._gone = False
        self._names: list[str] = list(_ACTS)
        self._weights = list(_ACTS.values())

    @property
    def conversation_id(self) -> str | None:
        """The conversation at the server."""
        found: str | None = None if self._thread is None else self._thread.state.generation_id
        return found

    @property
    def thread_id(self) -> str:
        """The thread's id, the same for all guards that have it one after another."""
        return self._id if not self._anew else f"{self._id}-{self._anew}"

    def take_up(self, conversation_id: str | None) -> None:
        """Take a conversation up with the group's guard of now, or begin one."""
        self._scene.journal.note_thread(self.thread_id, conversation_id)
        self._version = self.group.version
        self._thread = self.group.guard.thread(self.thread_id, conversation_id=conversation_id)

    def _refresh(self) -> None:
        """Follow the group to its guard of now."""
        if self._thread is None:
            self.take_up(None)
        elif self._version != self.group.version:
            self._tally.add("guards_dropped_under")
            self.take_up(self.conversation_id)

    def _begin_anew(self) -> None:
        """The conversation was deleted before the guard that took it up had used it: nothing is left to go on with."""
        self._gone = False
        self._anew += 1
        self._tally.add("begun_anew")
        self.record.begin_anew()
        self.take_up(None)

    def _replied(self, mark: str, reply: Reply) -> None:
        self.record.answered(mark, reply, self._scene.journal.take_moves(self.thread_id))

    def _failed(self, mark: str | None, error: BaseException, *, hurried: bool = False) -> None:
        """A turn ended in an error: it must be a named one."""
        if mark is not None:
            self.record.failed(mark)
        self._tally.ended_in(error, hurried=hurried)
        if not isinstance(error, AssistantGuardError) or type(error) is AssistantGuardError:
            self._tally.wrong("errors_unnamed", f"{self._id} {mark}: {error!r}")
        elif isinstance(error, BudgetExceeded) and error.account.startswith("session:"):
            self.group.renew(self._version)
        elif isinstance(error, RunFailed) and error.failure is not None and error.failure.status_code == 404:
            self._gone = self._thread.state.adopted

    def _unusable(self, errors: list[str]) -> None:
        self._tally.wrong(
            "threads_unusable", f"{self.thread_id} ({self.group.name}) in {self.conversation_id}: {errors}"
        )

    def _draw(self) -> str:
        return self._dice.choices(self._names, self._weights)[0]

    def _deadline(self, act: str) -> float | None:
        return self._dice.uniform(0.02, 1.0) if act == "deadline" else None

    def _message(self) -> tuple[str, str]:
        mark = self.record.next_mark()
        return mark, message_of(mark, Plan.draw(self._dice))

    def _plain_message(self) -> tuple[str, str]:
        mark = self.record.next_mark()
        return mark, message_of(mark, Plan())

    def _is_deleted(self, conversation_id: str) -> bool:
        return conversation_id in self._scene.sandbox.vanished([conversation_id])


class AsyncTalker(Talker):
    """A conversation of an `AsyncAssistantGuard`."""

    _fallen = False
    """Whether a stream was let fall, whose clean-up may still go on."""

    async def talk_until(self, end: float) -> None:
        """Send messages until a moment, by `time.monotonic`."""
        while time.monotonic() < end:
            await asyncio.sleep(self._dice.uniform(0.0, self._scene.think))
            await self._prepare()
            await self._do(self._draw())

    async def must_answer(self) -> None:
        """Send a message that must be answered, since nothing goes wrong any more."""
        errors: list[str] = []
        renewals = 0
        while len(errors) < _TRIES:
            await self._prepare()
            mark, text = self._plain_message()
            try:
                self._replied(mark, await self._thread.chat(text))
            except Exception as error:  # noqa: BLE001 - it is judged
                self._failed(mark, error)
                renewed = self._version != self.group.version or self._gone
                if renewed and renewals < _RENEWALS:
                    renewals += 1
                    continue
                errors.append(repr(error))
            else:
                return
        self._unusable(errors)

    async def _prepare(self) -> None:
        if self._gone and await asyncio.to_thread(self._is_deleted, self.conversation_id or ""):
            self._begin_anew()
        self._gone = False
        if self._fallen and self._version != self.group.version:
            await self.heal()  # waits until the old guard has let go of the conversation
        self._fallen = False
        self._refresh()

    async def _do(self, act: str) -> None:
        if act == "cancel":
            self._tally.add("cancelled")
            task = asyncio.create_task(self._turn(self._dice.choice(("chat", "stream"))))
            await asyncio.wait({task}, timeout=self._dice.uniform(0.0, 0.6))
            task.cancel()
            await asyncio.wait({task})
        elif act == "scope":
            self._tally.add("cancelled")
            with anyio.move_on_after(self._dice.uniform(0.0, 0.6)):
                await self._turn("chat")
        elif act == "pair":
            await asyncio.gather(self._turn("chat"), self._turn("stream"))
        elif act in {"delete", "break"}:
            await asyncio.gather(self._turn("chat"), self._tamper(act))
        elif act == "heal":
            await self.heal()
        else:
            await self._turn(act)

    async def _tamper(self, act: str) -> None:
        """Delete or break the conversation behind the guard's back."""
        await asyncio.sleep(self._dice.uniform(0.0, 0.1))
        conversation_id, sandbox = self.conversation_id, self._scene.sandbox
        if conversation_id is not None:
            harm = sandbox.delete if act == "delete" else sandbox.break_open
            if await asyncio.to_thread(harm, conversation_id):
                self._tally.add("tampered")

    async def heal(self) -> None:
        """Have the thread healed."""
        try:
            await self._thread.heal()
        except Exception as error:  # noqa: BLE001 - it is judged
            self._failed(None, error)

    async def _turn(self, act: str) -> None:
        mark, text = self._message()
        thread: AsyncGuardedThread = self._thread
        deadline = self._deadline(act)
        try:
            if act in {"leave", "drop"}:
                reply = await self._left_early(thread, text, close=act == "leave")
            elif act == "stream" or (deadline is not None and self._dice.random() < 0.5):
                async with thread.stream(text, deadline=deadline) as stream:
                    reply = await stream.until_done()
            else:
                reply = await thread.chat(text, deadline=deadline)
        except asyncio.CancelledError:
            self.record.failed(mark)
            raise
        except Exception as error:  # noqa: BLE001 - it is judged
            self._failed(mark, error, hurried=deadline is not None)
        else:
            if reply is None:
                self.record.failed(mark)
            else:
                self._replied(mark, reply)

    async def _left_early(self, thread: AsyncGuardedThread, text: str, *, close: bool) -> Reply | None:
        """Read a part of a stream; leave it properly, or let it fall."""
        events = self._dice.randrange(0, 8)
        stream = thread.stream(text)
        self._tally.add("left_early")
        if not close:
            self._fallen = True
            for _ in range(events):
                if await anext(stream, None) is None:
                    return stream.reply
            return None
        async with stream:
            for _ in range(events):
                if await anext(stream, None) is None:
                    return stream.reply
        return None


class BlockingTalker(Talker):
    """A conversation of an `AssistantGuard`, in an OS thread."""

    def __init__(self, group: Group, name: int, scene: Scene, seed: int) -> None:
        super().__init__(group, name, scene, seed)
        self._names = [name for name in _ACTS if name not in _ASYNC_ONLY]
        self._weights = [_ACTS[name] for name in self._names]

    def talk_until(self, end: float) -> None:
        """Send messages until a moment, by `time.monotonic`."""
        while time.monotonic() < end:
            time.sleep(self._dice.uniform(0.0, self._scene.think))
            self._prepare()
            act = self._draw()
            if act == "heal":
                self._heal()
            else:
                self._turn(act)

    def must_answer(self) -> None:
        """Send a message that must be answered, since nothing goes wrong any more."""
        errors: list[str] = []
        renewals = 0
        while len(errors) < _TRIES:
            self._prepare()
            mark, text = self._plain_message()
            try:
                self._replied(mark, self._thread.chat(text))
            except Exception as error:  # noqa: BLE001 - it is judged
                self._failed(mark, error)
                renewed = self._version != self.group.version or self._gone
                if renewed and renewals < _RENEWALS:
                    renewals += 1
                    continue
                errors.append(repr(error))
            else:
                return
        self._unusable(errors)

    def _prepare(self) -> None:
        if self._gone and self._is_deleted(self.conversation_id or ""):
            self._begin_anew()
        self._gone = False
        self._refresh()

    def _heal(self) -> None:
        try:
            self._thread.heal()
        except Exception as error:  # noqa: BLE001 - it is judged
            self._failed(None, error)

    def _turn(self, act: str) -> None:
        mark, text = self._message()
        thread: GuardedThread = self._thread
        deadline = self._deadline(act)
        reply: Reply | None
        try:
            if act in {"leave", "drop"}:
                reply = self._left_early(thread, text, close=act == "leave")
            elif act == "stream" or (deadline is not None and self._dice.random() < 0.5):
                with thread.stream(text, deadline=deadline) as stream:
                    reply = stream.until_done()
            else:
                reply = thread.chat(text, deadline=deadline)
        except Exception as error:  # noqa: BLE001 - it is judged
            self._failed(mark, error, hurried=deadline is not None)
        else:
            if reply is None:
                self.record.failed(mark)
            else:
                self._replied(mark, reply)

    def _left_early(self, thread: GuardedThread, text: str, *, close: bool) -> Reply | None:
        """Read a part of a stream; leave it properly, or let it fall."""
        events = self._dice.randrange(0, 8)
        stream = thread.stream(text)
        self._tally.add("left_early")
        if not close:
            for _ in range(events):
                if next(stream, None) is None:
                    return stream.reply
            return None
        with stream:
            for _ in range(events):
                if next(stream, None) is None:
                    return stream.reply
        return None
