"""Runs, as requests see them: created queued, driven beside the requests, and read from any process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assistantguard._refusals import ApiProblem
from assistantguard.dropin.driving import Driving, Live
from assistantguard.dropin.endings import Ending
from assistantguard.dropin.ids import new_id
from assistantguard.dropin.recording import HIDDEN, shown
from assistantguard.dropin.records import ENDED, RESTS, Loaded, RunRecords
from assistantguard.dropin.wire import DONE
from assistantguard.engine.failing import stopped, timed_out
from assistantguard.errors import RunStopped
from assistantguard.models import RunState

if TYPE_CHECKING:
    from assistantguard.dropin.colours import Colour
    from assistantguard.dropin.engines import Engines

__all__ = ["Events", "Runs"]

Body = dict[str, Any]
Events = AsyncGenerator[tuple[str, Any], None]
"""A run's events: their names and what they tell."""
_LONG_POLL = 20.0
"""Seconds for which a poll waits for the run to come to rest."""
_LOOK = 0.05
"""Seconds between two looks at a run that another process drives."""
_STALE = 5.0
"""Seconds without a word after which a run that nobody here drives is looked into, at the latest."""


class Runs:
    """Creates runs, and says how they stand."""

    def __init__(self, engines: Engines, colour: Colour) -> None:
        self._run_timeout = engines.settings.run_timeout
        self._stale = min(_STALE, engines.settings.lease_seconds)
        self._records = RunRecords(engines.settings.documents)
        self._driving = Driving(engines, self._records, colour)
        self._colour = colour
        self._driver = colour.driver

    async def create(
        self, thread_id: str, parameters: Mapping[str, Any], *, streamed: bool, before: Sequence[tuple[str, Any]] = ()
    ) -> tuple[Body, Events | None]:
        """Create a run and begin to drive it.

        Args:
            thread_id: Its thread.
            parameters: What was asked for, checked.
            streamed: Whether its events are wanted.
            before: Events that come first.

        Returns:
            The run, queued, and its events where they are wanted.

        Raises:
            ApiProblem: The thread or the assistant is not there, or a run of the thread is active.
        """
        now, run_id = self._driver.now(), new_id("run")

        def create() -> Loaded:
            return self._records.create(thread_id, run_id, parameters, now)

        try:
            loaded = await self._driving.do(create)
        except ApiProblem:
            if not await self.end_active_if_due(thread_id):
                raise
            loaded = await self._driving.do(create)
        words = ("thread.run.created", "thread.run.queued")
        return self._begun(loaded, streamed, [*before, *((word, loaded.run) for word in words)])

    async def submit(
        self, thread_id: str, run_id: str, outputs: Sequence[Mapping[str, str]], *, streamed: bool
    ) -> tuple[Body, Events | None]:
        """Take the outputs of all calls that a run waits for, and go on with it. See `create`.

        Raises:
            ApiProblem: The run is not there, does not wait for outputs, or waits for others.
        """
        await self._expire_if_due(await self._get(thread_id, run_id))
        now = self._driver.now()
        loaded = await self._driving.do(lambda: self._records.take_outputs(thread_id, run_id, outputs, now))
        before = [] if loaded.step is None else [("thread.run.step.completed", loaded.step)]
        return self._begun(loaded, streamed, [*before, ("thread.run.queued", loaded.run)])

    async def retrieve(self, thread_id: str, run_id: str, *, polls: bool) -> Body:
        """How a run stands. With `polls` the answer waits until it comes to rest, for a while.

        Raises:
            ApiProblem: There is no such run.
            AssistantGuardError: What ended it, where the application asked for that to be raised: to who waits for the
                run when it ends, else to who first asks for it in this process. After that it is a failed run.
        """
        until = self._driver.now() + (_LONG_POLL if polls else 0.0)
        while True:
            live = self._driving.live.get(run_id)
            if live is not None and live.body["thread_id"] == thread_id:
                left = until - self._driver.now()
                if left > 0:
                    await live.rests.wait(left)
                live.tell()
                if live.body["status"] in ENDED:
                    return shown(live.body)
            body = await self._current(await self._get(thread_id, run_id))
            self._driving.tell_refusal(run_id)
            if body["status"] in RESTS or self._driver.now() >= until:
                return shown(body)
            if run_id not in self._driving.live:
                await self._driver.sleep(_LOOK)

    async def cancel(self, thread_id: str, run_id: str) -> Body:
        """Cancel a run: at once where it waits for tools, else as soon as its driver hears of it.

        Raises:
            ApiProblem: It is not there, or has ended.
        """
        await self._current(await self._get(thread_id, run_id))
        now = self._driver.now()
        was, body = await self._driving.do(lambda: self._records.mark_cancelling(thread_id, run_id, now))
        live = self._driving.live.get(run_id)
        if live is not None:
            live.cancelled = True
            live.cancel()
        elif was == "requires_action":
            cause = stopped(RunStopped, "cancel", "it was cancelled")
            await self._driving.abandon(body, cause, Ending("cancelled"))
            body = await self._get(thread_id, run_id)
        return shown(body)

    async def end_active_if_due(self, thread_id: str) -> bool:
        """End the thread's active run where its time is over, or its process is gone; return whether it has ended."""
        active = await self._driving.do(lambda: self._records.active(thread_id))
        return active is not None and (await self._current(active))["status"] in ENDED

    async def _current(self, body: Body) -> Body:
        """A run as it stands once the clock, and the end of its process, have had their say."""
        body = await self._expire_if_due(body)
        lost = body["status"] not in RESTS and body["id"] not in self._driving.live
        if lost and self._driver.now() - body[HIDDEN]["touched"] >= self._stale:
            await self._driving.take_over(body)
            body = await self._get(body["thread_id"], body["id"])
        return body

    async def _expire_if_due(self, body: Body) -> Body:
        """A run that waited for its tool outputs for too long has expired."""
        if body["status"] != "requires_action" or self._driver.now() < body["expires_at"]:
            return body
        run = RunState(body["id"], body["thread_id"], body["model"], started_at=body["created_at"])
        run.deadline = body["expires_at"]
        await self._driving.abandon(body, timed_out(run, self._run_timeout), Ending("expired"))
        return await self._get(body["thread_id"], body["id"])

    def _begun(self, loaded: Loaded, streamed: bool, before: Sequence[tuple[str, Any]]) -> tuple[Body, Events | None]:
        body, feed = shown(loaded.run), None
        if streamed:
            feed = self._colour.queue()
            for event, data in before:
                feed.put((event, shown(data)))
        live = self._driving.begin(loaded, feed)
        return body, None if feed is None else _events(live)

    async def _get(self, thread_id: str, run_id: str) -> Body:
        return await self._driving.do(lambda: self._records.get(thread_id, run_id))


async def _events(live: Live) -> Events:
    """The events of a run as they come; leaving them does not end the run."""
    assert live.feed is not None
    while True:
        event = await live.feed.get()
        if event == DONE:
            live.tell()
        yield event
        if event == DONE:
            return
