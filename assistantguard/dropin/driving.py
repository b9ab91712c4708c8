"""Driving runs: legs from a run's beginning, or from its tool outputs, to its end or the next tool calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from assistantguard.dropin.endings import Ending, ending_of
from assistantguard.dropin.recording import HIDDEN, Recorder
from assistantguard.dropin.records import ENDED, Loaded
from assistantguard.dropin.translation import input_item
from assistantguard.dropin.wire import DONE
from assistantguard.engine.failing import stopped
from assistantguard.engine.ports import AnswerTaken, ModelAnswer
from assistantguard.errors import AssistantGuardError, LeaseLost, RunFailed, RunStopped
from assistantguard.models import AttemptFailed, ReplyReady, RunState, TextDelta, ThreadState, Usage
from assistantguard.models.marks import text_of
from assistantguard.storage.threads import Opened, Taken

if TYPE_CHECKING:
    from assistantguard.dropin.colours import Colour, Queue, Signal
    from assistantguard.dropin.engines import Engines
    from assistantguard.dropin.records import RunRecords
    from assistantguard.engine import Engine

__all__ = ["Driving", "Live"]

T = TypeVar("T")
Body = dict[str, Any]
_LEASE_POLL = 0.05
_MOST_BEGINNINGS = 3
_MOST_REFUSED = 1_000
_GONE = ("server_error", "The process that drove this run ended before it did.")


class Live:
    """A run that this process drives now."""

    def __init__(self, body: Body, feed: Queue | None, rests: Signal) -> None:
        self.body = body
        self.feed = feed
        """Where its events go, where somebody reads them."""
        self.rests = rests
        """Set when this leg is over."""
        self.cancelled = False
        self.lost = False
        """Whether another process drives it by now."""
        self.cancel: Callable[[], None] = lambda: None
        self.error: AssistantGuardError | None = None
        """What is to be raised, where the application asked for that."""
        self.told = False
        """Whether it was."""

    def tell(self) -> None:
        """Raise what is to be raised, if anything is."""
        if self.error is not None:
            self.told = True
            raise self.error


class Driving:
    """Drives runs of one process.

    Args:
        engines: Where engines come from.
        records: What is kept.
        colour: Blocking or asyncio.
    """

    def __init__(self, engines: Engines, records: RunRecords, colour: Colour) -> None:
        self.live: dict[str, Live] = {}
        """The runs that are driven here now, by id."""
        self._refused: OrderedDict[str, Live] = OrderedDict()
        """Runs that ended with something to raise, the last ones of them: who asks may come later than the end."""
        self._engines = engines
        self._settings = engines.settings
        self._records = records
        self._colour = colour
        self._driver = colour.driver

    def tell_refusal(self, run_id: str) -> None:
        """Raise what ended a run here, where that is to be raised and nobody was told yet."""
        live = self._refused.pop(run_id, None)
        if live is not None and not live.told:
            live.tell()

    def begin(self, loaded: Loaded, feed: Queue | None) -> Live:
        """Drive a run beside the caller."""
        live = self.live[loaded.run["id"]] = Live(loaded.run, feed, self._colour.signal())
        live.cancel = self._colour.spawn(lambda: self._drive(live, loaded))
        return live

    async def abandon(self, run_body: Body, cause: AssistantGuardError, ending: Ending) -> None:
        """End a parked run: its calls are answered by a word of ours, so that the thread goes on."""
        loaded = await self.do(lambda: self._records.load(run_body))
        engine, until = self._engine(loaded), self._driver.now() + self._settings.cleanup_timeout
        opened = await self._open(loaded.thread, until)
        try:
            run = opened.run
            if run is not None:
                run.deadline = until
                await self._driver.protect(engine.abandon(opened.thread, run, cause))
            await self._end(Live(run_body, None, self._colour.signal()), self._recorder(run_body), ending, run)
        finally:
            await self._driver.protect(self._close(opened.thread))

    async def take_over(self, run_body: Body) -> None:
        """Go on with a run whose process is gone, where nobody else does: from where it had come to, or from its start.

        What was answered counts; tools whose outputs were submitted are not run again.
        """
        loaded = await self.do(lambda: self._records.load(run_body))
        opened = await self._try_open(loaded.thread)
        if isinstance(opened, Taken):
            return
        live, recorder = Live(run_body, None, self._colour.signal()), self._recorder(run_body)
        again: Loaded | None = None
        try:
            again = await self._settle(opened, loaded, live, recorder)
        finally:
            await self._driver.protect(self._close(opened.thread))
        if again is None:
            return
        if await self.do(lambda: self._records.begin_anew(run_body["id"], self._driver.now())) > _MOST_BEGINNINGS:
            await self._end(live, recorder, Ending("failed", _GONE), None)
            return
        self.begin(again, None)

    async def _settle(self, opened: Opened, loaded: Loaded, live: Live, recorder: Recorder) -> Loaded | None:
        """Settle what a dead process left of a run; return what is left to drive."""
        body, thread, run, engine = loaded.run, opened.thread, opened.run, self._engine(loaded)
        cancelled = Ending("cancelled") if body["status"] == "cancelling" else None
        if run is not None and run.status != "requires_action":
            goes_on = cancelled is None and run.id == body["id"]
            await engine.adopt(thread, run, go_on=goes_on, parks=cancelled is None)
            if run.status == "queued":  # it has come beyond its messages
                await engine.save(thread, run)
                return Loaded(body, loaded.thread, loaded.assistant, goes_on=True)
        if run is not None and run.id == body["id"] and run.status == "requires_action" and cancelled is None:
            calls = run.tool_calls
            outputs = await self.do(lambda: self._records.outputs_given(body, calls))
            if outputs is not None:
                return Loaded(body, loaded.thread, loaded.assistant, [], outputs)
            recorder.answered(ModelAnswer("", "completed", "", calls, None, run.model))
            await self.do(lambda: self._records.park(body, calls, recorder.added, self._driver.now()))
            return None
        if run is not None and run.status == "requires_action":
            await engine.adopt(thread, run)
        elif run is None and not self._settings.leases.in_process:
            run = await self.do(lambda: self._settings.leases.store.run_by_key(thread.id, body["id"]))
        if run is not None and run.status == "completed" and run.key == body["id"]:
            text = await engine.text_of(thread, run)
            if text:
                recorder.answered(ModelAnswer("", "completed", text, (), None, run.model))
            await self._end(live, recorder, Ending("failed", _GONE) if text is None else Ending("completed"), run)
            return None
        if cancelled is not None:
            await self._end(live, recorder, cancelled, run)
            return None
        return loaded

    async def _drive(self, live: Live, loaded: Loaded) -> None:
        """Drive one leg of a run, write down how it ended, and tell those who wait."""
        recorder = self._recorder(live.body, live.feed)
        try:
            await self._leg(live, recorder, loaded)
        except BaseException as error:
            # How it ends is then for the process to say that takes it over, this one if no other: what the model has
            # answered counts, though it could not be written down here.
            if live.lost or (isinstance(error, (LeaseLost, TimeoutError)) and not live.cancelled):
                recorder.tell("error", {"message": str(error), "type": "server_error", "param": None, "code": None})
                if not isinstance(error, Exception):
                    raise
                return
            ending = ending_of(error, cancelled=live.cancelled, on_refusal=self._settings.on_refusal)
            if isinstance(error, AssistantGuardError) and ending.raises:
                live.error = error
                self._refused[live.body["id"]] = live
                if len(self._refused) > _MOST_REFUSED:
                    self._refused.popitem(last=False)
            run = error.run if isinstance(error, AssistantGuardError) else None
            await self._driver.protect(self._end(live, recorder, ending, run))
            if not isinstance(error, Exception) and not live.cancelled:
                raise
        finally:
            if self.live.get(live.body["id"]) is live:  # outputs may have been submitted already
                del self.live[live.body["id"]]
            live.rests.set()
            if live.feed is not None:
                live.feed.put(DONE)

    async def _leg(self, live: Live, recorder: Recorder, loaded: Loaded) -> None:
        expires_at = live.body["expires_at"]
        engine = self._engine(loaded)
        thread: ThreadState | None = None
        try:
            opened = await self._open(loaded.thread, expires_at)
            thread = opened.thread
            run = await self._run_of(engine, opened, loaded)
            await self._note_begun(live, recorder)
            wanted = loaded.thread[HIDDEN]["files"]
            searches = any(tool["type"] == "file_search" for tool in live.body["tools"])
            if searches and set(wanted) - set(thread.file_ids):
                await engine.files.attach(thread, wanted)
            text = "\n\n".join(text_of(item) for item in run.input if item.get("role") == "user")
            in_pieces = live.feed is not None
            stream = engine.stream(thread, text, expires_at, in_pieces=in_pieces, begun=run, parks=True)
            async with aclosing(stream) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        recorder.said(event.text)
                    elif isinstance(event, AttemptFailed):
                        recorder.discarded()
                    elif isinstance(event, AnswerTaken):
                        recorder.answered(event.answer)
                    elif isinstance(event, ReplyReady) and event.reply.cached:
                        recorder.answered(ModelAnswer("", "completed", event.reply.text, (), Usage(), run.model))
                    if live.cancelled:
                        break
            # The thread is given back before the application hears of it and comes with the next request.
            await self._driver.protect(self._close(thread))
            thread = None
            if run.status == "requires_action" and not live.cancelled:
                await self._park(live, recorder, run)
            if live.cancelled and run.status not in ENDED:
                await self._cancel_parked(engine, loaded, live)
            if run.status != "requires_action" or live.cancelled:
                await self._end(live, recorder, _ending_of_run(run, cancelled=live.cancelled), run)
        finally:
            if thread is not None:
                live.lost = not await self._driver.protect(self._close(thread))

    async def _run_of(self, engine: Engine, opened: Opened, loaded: Loaded) -> RunState:
        """The engine's run: a new one, or the one that was parked, with its outputs, or taken over."""
        thread, parked, body = opened.thread, opened.run, loaded.run
        if loaded.outputs is not None or loaded.goes_on:
            if parked is None or parked.id != body["id"]:
                raise RunFailed("the run is not under way any more: another process has ended it")
            if loaded.outputs is not None:
                await engine.submit(thread, parked, loaded.outputs)
            return parked
        if parked is not None:
            await engine.adopt(thread, parked)
        run = RunState(body["id"], thread.id, body["model"], key=body["id"])
        run.started_at = self._driver.now()
        run.pinned = body["model"] != loaded.assistant["model"]
        run.input = [input_item(message) for message in loaded.messages]
        return run

    async def _note_begun(self, live: Live, recorder: Recorder) -> None:
        body = await self.do(lambda: self._records.begin(live.body["id"], self._driver.now()))
        if body is None:
            live.cancelled = True
            raise stopped(RunStopped, "cancel", "it was cancelled before it began")
        live.body = recorder.run = body
        recorder.tell_run("in_progress")

    async def _park(self, live: Live, recorder: Recorder, run: RunState) -> None:
        """The model asks for tools: the application runs them, and submits their outputs."""
        added, recorder.added = recorder.added, []
        calls, now = run.tool_calls, self._driver.now()
        body = await self.do(lambda: self._records.park(live.body, calls, added, now))
        if body is None:
            live.cancelled = True
            return
        live.body = recorder.run = body
        recorder.tell_run("requires_action")

    async def _cancel_parked(self, engine: Engine, loaded: Loaded, live: Live) -> None:
        """It was cancelled in the moment in which it asked for tools."""
        opened = await self._open(loaded.thread, live.body["expires_at"])
        try:
            if opened.run is not None:
                cause = stopped(RunStopped, "cancel", "it was cancelled")
                await self._driver.protect(engine.abandon(opened.thread, opened.run, cause))
        finally:
            await self._driver.protect(self._close(opened.thread))

    async def _end(self, live: Live, recorder: Recorder, ending: Ending, run: RunState | None) -> None:
        """Write down that a run has ended, once, and what it said."""
        recorder.discarded("run_cancelled" if ending.status == "cancelled" else "run_failed")
        added, recorder.added = recorder.added, []
        usage = None if run is None else run.usage  # nothing is known to be used where nothing was asked for
        answered = run is not None and run.answers > 0
        now = self._driver.now()
        live.body = recorder.run = await self.do(
            lambda: self._records.end(live.body, ending, added, now, usage=usage, answered=answered)
        )
        recorder.tell_run(live.body["status"])

    def _engine(self, loaded: Loaded) -> Engine:
        return self._engines.engine(loaded.run, loaded.assistant, loaded.thread)

    def _recorder(self, run_body: Body, feed: Queue | None = None) -> Recorder:
        return Recorder(run_body, self._driver.now, None if feed is None else feed.put)

    async def _open(self, thread_body: Mapping[str, Any], until: float) -> Opened:
        """Take the thread, once others have let go of it.

        Raises:
            RunFailed: They did not in time.
        """
        while True:
            opened = await self._try_open(thread_body)
            if isinstance(opened, Opened):
                return opened
            if self._driver.now() >= until:
                raise RunFailed(f"the thread {thread_body['id']} was held by {opened.owner} until the time was over")
            await self._driver.sleep(_LEASE_POLL)

    async def _try_open(self, thread_body: Mapping[str, Any]) -> Opened | Taken:
        now, leases = self._driver.now(), self._settings.leases
        fresh = ThreadState(thread_body["id"], created_at=now, last_used_at=now)
        fresh.user = thread_body[HIDDEN]["user"]
        return await self._driver.blocking(lambda: leases.open(fresh.id, fresh.user, fresh), at_once=leases.in_process)

    async def _close(self, thread: ThreadState) -> bool:
        leases = self._settings.leases
        return await self._driver.blocking(lambda: leases.close(thread), at_once=leases.in_process)

    async def do(self, work: Callable[[], T]) -> T:
        """Do something with what is kept."""
        return await self._driver.blocking(work, at_once=self._records.documents.in_process)


def _ending_of_run(run: RunState, *, cancelled: bool) -> Ending:
    """How a run ends whose engine raised nothing."""
    if cancelled and run.status not in ("completed", "incomplete"):
        return Ending("cancelled")
    if run.status == "incomplete":
        return Ending("incomplete", incomplete_reason="max_completion_tokens")
    return Ending("completed")
