"""Lending a thread to a turn: one process at a time, and what a dead one left unfinished is finished first."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from assistantguard.errors import ReplyUnavailable, RunFailed, RunStopped, ThreadBusy, ThreadRefused
from assistantguard.models import Reply, ReplyReady, RunState, StreamEvent, ThreadState
from assistantguard.storage.records import is_archived
from assistantguard.storage.threads import Taken

if TYPE_CHECKING:
    from assistantguard.engine.input import Message
    from assistantguard.engine.turn import Engine
    from assistantguard.storage.leases import Leases

__all__ = ["Lending"]

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_AT_ONCE = 100
T = TypeVar("T")


class Lending:
    """Drives turns on threads of a store.

    Args:
        engine: What drives a turn.
        leases: The threads that this process has.
        wait: Whether to wait for a thread that another process drives; else it is refused.
    """

    def __init__(self, engine: Engine, leases: Leases, *, wait: bool) -> None:
        self._engine = engine
        self._driver = engine.driver
        self._leases = leases
        self._wait = wait

    async def stream(
        self,
        thread_id: str,
        user: str | None,
        message: Message,
        deadline: float | None,
        key: str | None,
        *,
        fresh: Callable[[], ThreadState] | None = None,
        seen: Callable[[ThreadState], None] | None = None,
        in_pieces: bool = True,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Answer one message on a thread; see `Engine.stream`.

        Args:
            thread_id: Whose turn it is.
            user: Whose thread that must be.
            message: The user's message.
            deadline: Unix time at which the turn must have ended, waiting for the thread included.
            key: The caller's name for the turn. A turn of that name that was completed before is not made again: its
                reply comes back.
            fresh: Makes the thread's state where there is none.
            seen: Is told the thread's state once it is open.
            in_pieces: See `Engine.stream`.

        Raises:
            ThreadRefused: The thread cannot be had.
            ReplyUnavailable: The turn was completed before, and the server has its answer no more.
        """
        thread, adopted = await self._open(thread_id, user, deadline, fresh, seen, key)
        begun = adopted if adopted is not None and adopted.status == "queued" else None
        try:
            if thread.archived_at is not None:
                raise is_archived(thread_id)
            if key is not None and begun is None:
                earlier = await self._earlier(thread, adopted, key)
                if earlier is not None:
                    yield ReplyReady(earlier)
                    return
            events = self._engine.stream(thread, message, deadline, in_pieces=in_pieces, key=key, begun=begun)
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            await self._driver.protect(self._close(thread))

    async def use(
        self,
        thread_id: str,
        user: str | None,
        work: Callable[[ThreadState], Awaitable[T]],
        *,
        fresh: Callable[[], ThreadState] | None = None,
        seen: Callable[[ThreadState], None] | None = None,
        deadline: float | None = None,
    ) -> T:
        """Do something else with a thread, such as healing it or attaching files. See `stream` for the arguments."""
        thread, _ = await self._open(thread_id, user, deadline, fresh, seen)
        try:
            return await work(thread)
        finally:
            await self._driver.protect(self._close(thread))

    async def recover(self) -> int:
        """Finish what processes that died left under way, on every thread that nobody drives.

        Returns:
            How many runs were settled. One whose server cannot be asked now waits for the next time, or for its
            thread's next turn.
        """
        driver, leases = self._driver, self._leases
        tried: set[str] = set()
        settled = 0
        while True:
            found = await driver.blocking(
                lambda: leases.store.unfinished(driver.now(), limit=_AT_ONCE + len(tried)), at_once=leases.in_process
            )
            untried = [one for one in found if one.run_id not in tried]
            if not untried:
                return settled
            for one in untried:
                tried.add(one.run_id)
                try:
                    await self.use(one.thread_id, one.user, _nothing)
                except (ThreadRefused, RunFailed, RunStopped):
                    continue
                settled += 1

    async def _open(
        self,
        thread_id: str,
        user: str | None,
        deadline: float | None,
        fresh: Callable[[], ThreadState] | None,
        seen: Callable[[ThreadState], None] | None,
        key: str | None = None,
    ) -> tuple[ThreadState, RunState | None]:
        """Take the thread, and finish what a process that died had begun; return that run, too.

        Where it was the turn called `key`, and there is something to go on with, it is left queued.
        """
        driver, leases = self._driver, self._leases
        until = driver.now() + self._engine.session.run_timeout
        until = until if deadline is None else min(until, deadline)
        begin = None if fresh is None else fresh()
        pause = _FIRST_PAUSE
        while True:
            opened = await driver.blocking(lambda: leases.open(thread_id, user, begin), at_once=leases.in_process)
            if not isinstance(opened, Taken):
                break
            left = min(until, opened.until) - driver.now()
            if not self._wait or driver.now() >= until:
                error = ThreadBusy(
                    f"the thread {thread_id} is driven by {opened.owner}, until {opened.until:.0f} unless it goes on:"
                    " ask again when it is done"
                )
                error.thread_id = thread_id
                raise error
            await driver.sleep(max(0.001, min(pause * random.uniform(0.5, 1.5), left)))  # noqa: S311 - jitter
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        thread, run = opened.thread, opened.run
        if seen is not None:
            seen(thread)
        if run is not None:
            try:
                await self._engine.adopt(thread, run, go_on=key is not None and run.key == key)
            except BaseException:
                await driver.protect(self._close(thread))
                raise
        return thread, run

    async def _earlier(self, thread: ThreadState, adopted: RunState | None, key: str) -> Reply | None:
        """The reply of the completed turn of that name; None where there is none, so that it is made (again)."""
        run = adopted
        if run is None or run.key != key:
            leases = self._leases
            run = await self._driver.blocking(
                lambda: leases.store.run_by_key(thread.id, key), at_once=leases.in_process
            )
        if run is None or run.status != "completed":
            return None
        text = await self._engine.text_of(thread, run)
        if text is None:
            error = ReplyUnavailable(
                f"the turn {key!r} of the thread {thread.id} was completed, and the server has its answer no more:"
                " keep replies yourself, or use another key to ask again"
            )
            error.run, error.thread_id = run, thread.id
            raise error
        run.text = text
        return Reply(text, run.usage, run.cost, run, thread.id, cached=run.cached)

    async def _close(self, thread: ThreadState) -> None:
        leases = self._leases
        await self._driver.blocking(lambda: leases.close(thread), at_once=leases.in_process)


async def _nothing(thread: ThreadState) -> None:
    """What is to be done with a thread that only had to be opened."""
