"""Runs: created queued, driven beside the requests, parked while they wait for tool outputs, and read from anywhere."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from assistantguard.dropin import objects, problems
from assistantguard.dropin.endings import Ending, ending_of
from assistantguard.dropin.recording import HIDDEN, Recorder, requires_action_of, shown, with_outputs
from assistantguard.dropin.translation import assistant_for, input_item
from assistantguard.dropin.wire import DONE
from assistantguard.engine.failing import stopped, timed_out
from assistantguard.engine.ports import AnswerTaken
from assistantguard.errors import AssistantGuardError, RunFailed, RunStopped
from assistantguard.models import AttemptFailed, RunState, TextDelta, ThreadState, ToolOutput
from assistantguard.models.marks import text_of
from assistantguard.storage.documents import Document
from assistantguard.storage.threads import Opened, Taken

if TYPE_CHECKING:
    from assistantguard.dropin.colours import Colour, Queue, Signal
    from assistantguard.dropin.engines import Engines
    from assistantguard.engine import Engine

__all__ = ["Runs"]

T = TypeVar("T")
Body = dict[str, Any]
_ENDED = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})
_RESTS = _ENDED | {"requires_action"}
_LONG_POLL = 20.0
"""Seconds for which a poll waits for the run to come to rest."""
_LOOK = 0.05
"""Seconds between two looks at a run that another process drives."""
_STALE = 5.0
"""Seconds without a word after which a run that nobody here drives is looked into."""
_LEASE_POLL = 0.05


class _Live:
    """A run that this process drives now."""

    def __init__(self, body: Body, feed: Queue | None, rests: Signal) -> None:
        self.body = body
        self.feed = feed
        self.rests = rests
        self.cancelled = False
        self.cancel: Callable[[], None] = lambda: None
        self.error: AssistantGuardError | None = None
        """What is to be raised where the application asked for that."""


class Runs:
    """Creates runs, drives them, and says how they stand."""

    def __init__(self, engines: Engines, colour: Colour) -> None:
        self._engines = engines
        self._settings = engines.settings
        self._documents = engines.settings.documents
        self._colour = colour
        self._driver = colour.driver
        self._live: dict[str, _Live] = {}

    # What requests ask for

    async def create(
        self, thread_id: str, parameters: Mapping[str, Any], *, streamed: bool, before: Sequence[tuple[str, Any]] = ()
    ) -> tuple[Body, AsyncGenerator[tuple[str, Any], None] | None]:
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
        now, run_id = self._driver.now(), f"run_{uuid.uuid4().hex}"

        def write() -> tuple[Body, Body, Body, list[Body]]:
            with self._documents.together():
                assistant = self._documents.get("assistant", parameters["assistant_id"])
                if assistant is None:
                    raise problems.not_found("assistant", parameters["assistant_id"])
                added = [
                    objects.new_message(f"msg_{uuid.uuid4().hex}", now, thread_id, message)
                    for message in parameters.get("additional_messages") or ()
                ]

                def take(document: Document) -> None:
                    hidden = document.body[HIDDEN]
                    if hidden["active"] is not None:
                        raise problems.run_active(thread_id, hidden["active"])
                    hidden["active"] = run_id
                    hidden["unsent"] = [*hidden["unsent"], *(message["id"] for message in added)]

                thread = self._documents.change("thread", thread_id, take)
                if thread is None:
                    raise problems.not_found("thread", thread_id)
                run = objects.new_run(run_id, now, thread_id, assistant.body, parameters)
                run[HIDDEN] = {"touched": now, "sent": thread.body[HIDDEN]["unsent"]}
                self._documents.add(
                    *(Document("message", message["id"], thread_id, now, message) for message in added),
                    Document("run", run_id, thread_id, now, run),
                )
                return run, thread.body, assistant.body, self._messages(thread_id, run[HIDDEN]["sent"])

        try:
            run, thread, assistant, messages = await self._do(write)
        except problems.ApiProblem:
            if not await self.end_active_if_due(thread_id):
                raise
            run, thread, assistant, messages = await self._do(write)
        live = self._begin(run, streamed=streamed, before=[*before, *_events_of(run, "created", "queued")])
        live.cancel = self._colour.spawn(lambda: self._drive(live, thread, assistant, messages, None))
        return shown(run), None if live.feed is None else self._events(live)

    async def submit(
        self, thread_id: str, run_id: str, outputs: Sequence[Mapping[str, str]], *, streamed: bool
    ) -> tuple[Body, AsyncGenerator[tuple[str, Any], None] | None]:
        """Take the outputs of all calls that a run waits for, and go on with it. See `create`.

        Raises:
            ApiProblem: The run is not there, does not wait for outputs, or waits for others.
        """
        now = self._driver.now()
        await self._expire_if_due(await self._run(thread_id, run_id))

        def write() -> tuple[Body, Body, Body, list[tuple[str, Body]]]:
            steps: list[tuple[str, Body]] = []

            def take(document: Document) -> None:
                body = document.body
                if body["status"] != "requires_action":
                    raise problems.outputs_not_accepted(body["status"])
                expected = requires_action_of(body)
                got = [output["tool_call_id"] for output in outputs]
                if sorted(expected) != sorted(got):
                    raise problems.wrong_outputs(expected, got)
                hidden = {**body[HIDDEN], "touched": now}
                document.body = {**objects.run_goes_on(body, now, "queued"), HIDDEN: hidden}

            with self._documents.together():
                run = self._documents.change("run", run_id, take)
                if run is None:
                    raise problems.not_found("run", run_id)
                thread, assistant = self._parents(run.body)
                waiting = self._documents.newest("step", run_id, "waits")
                if waiting is not None:

                    def complete(document: Document) -> None:
                        document.body, document.mark = with_outputs(document.body, _outputs(outputs), now), ""

                    step = self._documents.change("step", waiting.id, complete)
                    assert step is not None
                    steps.append(("thread.run.step.completed", step.body))
                return run.body, thread, assistant, steps

        run, thread, assistant, steps = await self._do(write)
        live = self._begin(run, streamed=streamed, before=[*steps, *_events_of(run, "queued")])
        live.cancel = self._colour.spawn(lambda: self._drive(live, thread, assistant, (), _outputs(outputs)))
        return shown(run), None if live.feed is None else self._events(live)

    async def retrieve(self, thread_id: str, run_id: str, *, polls: bool) -> Body:
        """How a run stands. With `polls` the answer waits until it comes to rest, for a while.

        Raises:
            ApiProblem: There is no such run.
            AssistantGuardError: What ended it, where the application asked for that to be raised.
        """
        until = self._driver.now() + (_LONG_POLL if polls else 0.0)
        while True:
            live = self._live.get(run_id)
            if live is not None and live.body["thread_id"] == thread_id:
                left = until - self._driver.now()
                if left > 0:
                    await live.rests.wait(left)
                if live.error is not None:
                    raise live.error
            document = await self._run(thread_id, run_id)
            document = await self._expire_if_due(document)
            if document.body["status"] not in _RESTS and run_id not in self._live:
                document = await self._look_into(document)
            if document.body["status"] in _RESTS or self._driver.now() >= until:
                return shown(document.body)
            if run_id not in self._live:
                await self._driver.sleep(_LOOK)

    async def cancel(self, thread_id: str, run_id: str) -> Body:
        """Cancel a run: at once where it waits for tools, else as soon as its driver hears of it.

        Raises:
            ApiProblem: It is not there, or has ended.
        """
        now = self._driver.now()
        was = await self._expire_if_due(await self._run(thread_id, run_id))

        def mark(document: Document) -> None:
            body = document.body
            if body["status"] in _ENDED or body["status"] == "cancelling":
                raise problems.cannot_cancel(body["status"])
            was.body = dict(body)
            document.body = {**body, "status": "cancelling", HIDDEN: {**body[HIDDEN], "touched": now}}

        document = await self._do(lambda: self._documents.change("run", run_id, mark))
        assert document is not None
        live = self._live.get(run_id)
        if live is not None:
            live.cancelled = True
            live.cancel()
        elif was.body["status"] == "requires_action":
            await self._abandon(document.body, stopped(RunStopped, "cancel", "it was cancelled"), Ending("cancelled"))
            document = await self._run(thread_id, run_id)
        return shown(document.body)

    # Driving

    def _begin(self, run: Body, *, streamed: bool, before: Sequence[tuple[str, Any]]) -> _Live:
        feed = self._colour.queue() if streamed else None
        live = self._live[run["id"]] = _Live(run, feed, self._colour.signal())
        if feed is not None:
            for event, data in before:
                feed.put((event, shown(data)))
        return live

    async def _events(self, live: _Live) -> AsyncGenerator[tuple[str, Any], None]:
        """The events of a run as they come; leaving them does not end the run."""
        assert live.feed is not None
        while True:
            event = await live.feed.get()
            if event == DONE and live.error is not None:
                raise live.error
            yield event
            if event == DONE:
                return

    async def _drive(
        self,
        live: _Live,
        thread_body: Body,
        assistant_body: Body,
        messages: Sequence[Body],
        outputs: Sequence[ToolOutput] | None,
    ) -> None:
        """Drive one leg of a run, write down how it ended, and tell those who wait."""
        recorder = Recorder(live.body, self._driver.now, None if live.feed is None else live.feed.put)
        try:
            await self._leg(live, recorder, thread_body, assistant_body, messages, outputs)
        except BaseException as error:
            ending = ending_of(error, cancelled=live.cancelled, on_refusal=self._settings.on_refusal)
            if isinstance(error, AssistantGuardError) and ending.raises:
                live.error = error
            run = error.run if isinstance(error, AssistantGuardError) else None
            await self._driver.protect(self._end(live, recorder, ending, run))
            if not isinstance(error, Exception) and not live.cancelled:
                raise
        finally:
            self._live.pop(live.body["id"], None)
            live.rests.set()
            if live.feed is not None:
                live.feed.put(DONE)

    async def _leg(
        self,
        live: _Live,
        recorder: Recorder,
        thread_body: Body,
        assistant_body: Body,
        messages: Sequence[Body],
        outputs: Sequence[ToolOutput] | None,
    ) -> None:
        run_body = live.body
        engine = self._engines.engine(assistant_for(run_body, assistant_body, thread_body), run_body)
        opened = await self._open(thread_body, run_body["expires_at"])
        thread = opened.thread
        try:
            run = await self._run_of(engine, opened, run_body, messages, outputs)
            await self._go_on(live, recorder)
            wanted = thread_body[HIDDEN]["files"]
            if set(wanted) - set(thread.file_ids):
                await engine.files.attach(thread, wanted)
            text = "\n\n".join(text_of(item) for item in run.input if item.get("role") == "user")
            stream = engine.stream(
                thread, text, run_body["expires_at"], in_pieces=live.feed is not None, begun=run, parks=True
            )
            async with aclosing(stream) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        recorder.said(event.text)
                    elif isinstance(event, AttemptFailed):
                        recorder.discarded()
                    elif isinstance(event, AnswerTaken):
                        recorder.answered(event.answer)
                    if live.cancelled:
                        break
            if run.status == "requires_action":
                await self._park(live, recorder, engine, thread, run)
            else:
                cancelled = live.cancelled and run.status not in _ENDED - {"cancelled"}
                await self._end(live, recorder, Ending("cancelled") if cancelled else Ending(_status(run)), run)
        finally:
            await self._driver.protect(self._close(thread))

    async def _run_of(
        self,
        engine: Engine,
        opened: Opened,
        run_body: Body,
        messages: Sequence[Body],
        outputs: Sequence[ToolOutput] | None,
    ) -> RunState:
        """The engine's run: a new one, or the one that was parked, with its outputs."""
        thread, parked = opened.thread, opened.run
        if outputs is not None:
            if parked is None or parked.id != run_body["id"]:
                raise RunFailed("the run is not under way any more: another process has ended it")
            await engine.submit(thread, parked, outputs)
            return parked
        if parked is not None:
            await engine.adopt(thread, parked)
        run = RunState(run_body["id"], thread.id, run_body["model"], key=run_body["id"])
        run.started_at = self._driver.now()
        run.input = [input_item(message) for message in messages]
        return run

    async def _go_on(self, live: _Live, recorder: Recorder) -> None:
        now = self._driver.now()

        def note(document: Document) -> None:
            if document.body["status"] == "cancelling":
                live.cancelled = True
                return
            hidden = {**document.body[HIDDEN], "touched": now}
            document.body = {**objects.run_goes_on(document.body, now, "in_progress"), HIDDEN: hidden}

        document = await self._do(lambda: self._documents.change("run", live.body["id"], note))
        if document is None or live.cancelled:
            raise stopped(RunStopped, "cancel", "it was cancelled before it began")
        live.body = recorder.run = document.body
        recorder.tell_run("in_progress")

    async def _park(self, live: _Live, recorder: Recorder, engine: Engine, thread: ThreadState, run: RunState) -> None:
        """The model asks for tools: the application runs them, and submits their outputs."""
        now = self._driver.now()

        def note(document: Document) -> None:
            if document.body["status"] == "cancelling":
                live.cancelled = True
                return
            hidden = {**document.body[HIDDEN], "touched": now}
            document.body = {**objects.run_requires(document.body, run.tool_calls), HIDDEN: hidden}

        def write() -> Document | None:
            with self._documents.together():
                self._documents.add(*recorder.added)
                self._sent(run.thread_id, live.body)
                return self._documents.change("run", live.body["id"], note)

        document = await self._do(write)
        recorder.added = []
        if document is None or live.cancelled:
            opened = await self._open({"id": run.thread_id, HIDDEN: {"user": thread.user}}, live.body["expires_at"])
            again = opened.run or run
            await engine.abandon(opened.thread, again, stopped(RunStopped, "cancel", "it was cancelled"))
            await self._close(opened.thread)
            await self._end(live, recorder, Ending("cancelled"), again)
            return
        live.body = recorder.run = document.body
        recorder.tell_run("requires_action")

    async def _end(self, live: _Live, recorder: Recorder, ending: Ending, run: RunState | None) -> None:
        """Write down that a run has ended, once, and what it said."""
        now, run_id = self._driver.now(), live.body["id"]
        recorder.discarded("run_cancelled" if ending.status == "cancelled" else "run_failed")
        usage = run.usage if run is not None and run.usage.requests else None
        first = False

        def note(document: Document) -> None:
            nonlocal first
            first = document.body["status"] not in _ENDED
            if first:
                ended = objects.run_ended(
                    document.body,
                    ending.status,
                    now,
                    usage=usage,
                    error=ending.error,
                    incomplete_reason=ending.incomplete_reason,
                )
                document.body = {**ended, HIDDEN: {**document.body[HIDDEN], "touched": now}}

        def write() -> Document | None:
            with self._documents.together():
                document = self._documents.change("run", run_id, note)
                if document is not None and first:
                    self._documents.add(*recorder.added)
                    if run is not None and run.answers:
                        self._sent(document.parent, live.body)
                    self._release(document.parent, run_id)
                    self._end_steps(run_id, ending.status, now)
                return document

        document = await self._do(write)
        recorder.added = []
        if document is not None:
            live.body = recorder.run = document.body
            recorder.tell_run(ending.status)

    def _end_steps(self, run_id: str, status: str, now: float) -> None:
        """The calls that nobody will answer any more."""
        if status == "completed":
            return
        waiting = self._documents.newest("step", run_id, "waits")
        if waiting is not None:
            word = status if status in ("cancelled", "expired") else "failed"

            def end(document: Document) -> None:
                usage = document.body.get("usage")
                document.body = {**objects.step_ended(document.body, word, now), "usage": usage}
                document.mark = ""

            self._documents.change("step", waiting.id, end)

    def _sent(self, thread_id: str, run_body: Body) -> None:
        """The messages that the run carried are in the conversation now."""
        sent = set(run_body[HIDDEN]["sent"])
        if not sent:
            return

        def note(document: Document) -> None:
            hidden = document.body[HIDDEN]
            hidden["unsent"] = [message_id for message_id in hidden["unsent"] if message_id not in sent]

        self._documents.change("thread", thread_id, note)

    def _release(self, thread_id: str, run_id: str) -> None:
        def note(document: Document) -> None:
            if document.body[HIDDEN]["active"] == run_id:
                document.body[HIDDEN]["active"] = None

        self._documents.change("thread", thread_id, note)

    # Runs that nobody drives

    async def end_active_if_due(self, thread_id: str) -> bool:
        """End the thread's active run where its time is over, or its process is gone; return whether it has ended."""
        thread = await self._do(lambda: self._documents.get("thread", thread_id))
        active = None if thread is None else thread.body[HIDDEN]["active"]
        if active is None:
            return False
        document = await self._expire_if_due(await self._run(thread_id, active))
        if document.body["status"] not in _RESTS and active not in self._live:
            document = await self._look_into(document)
        return document.body["status"] in _ENDED

    async def _expire_if_due(self, document: Document) -> Document:
        """A run that waited for its tool outputs for too long has expired."""
        body = document.body
        if body["status"] != "requires_action" or self._driver.now() < body["expires_at"]:
            return document
        run = RunState(document.id, document.parent, body["model"], started_at=body["created_at"])
        run.deadline = body["expires_at"]
        await self._abandon(body, timed_out(run, self._settings.run_timeout), Ending("expired"))
        return await self._run(document.parent, document.id)

    async def _abandon(self, run_body: Body, cause: AssistantGuardError, ending: Ending) -> None:
        """End a parked run: its calls are answered by a word of ours, so that the thread goes on."""
        live = _Live(run_body, None, self._colour.signal())
        recorder = Recorder(run_body, self._driver.now, None)
        thread_body, assistant_body = await self._do(lambda: self._parents(run_body))
        engine = self._engines.engine(assistant_for(run_body, assistant_body, thread_body), run_body)
        opened = await self._open(thread_body, self._driver.now() + self._settings.cleanup_timeout)
        try:
            if opened.run is not None:
                opened.run.deadline = self._driver.now() + self._settings.cleanup_timeout
                await self._driver.protect(engine.abandon(opened.thread, opened.run, cause))
            await self._end(live, recorder, ending, opened.run)
        finally:
            await self._driver.protect(self._close(opened.thread))

    async def _look_into(self, document: Document) -> Document:
        """Finish a run whose process is gone: what was answered counts, what was not begun has failed."""
        body = document.body
        if self._driver.now() - body[HIDDEN]["touched"] < _STALE:
            return document
        thread_body, assistant_body = await self._do(lambda: self._parents(body))
        opened = await self._try_open(thread_body)
        if isinstance(opened, Taken):
            return document
        live = _Live(body, None, self._colour.signal())
        recorder = Recorder(body, self._driver.now, None)
        try:
            engine = self._engines.engine(assistant_for(body, assistant_body, thread_body), body)
            run = opened.run
            if run is not None and run.id == document.id:
                await engine.adopt(opened.thread, run)
            elif not self._settings.leases.in_process:
                run = await self._do(lambda: self._settings.leases.store.run_by_key(document.parent, document.id))
            await self._take_over(engine, opened.thread, live, recorder, run)
        finally:
            await self._driver.protect(self._close(opened.thread))
        return await self._run(document.parent, document.id)

    async def _take_over(
        self, engine: Engine, thread: ThreadState, live: _Live, recorder: Recorder, run: RunState | None
    ) -> None:
        gone = ("server_error", "The process that drove this run ended before it did.")
        if run is None or run.status != "completed":
            cancelled = live.body["status"] == "cancelling"
            await self._end(live, recorder, Ending("cancelled") if cancelled else Ending("failed", gone), run)
            return
        text = await engine.text_of(thread, run)
        if text:
            from assistantguard.engine.ports import ModelAnswer

            recorder.answered(ModelAnswer("", "completed", text, (), None, run.model))
        await self._end(live, recorder, Ending("completed") if text is not None else Ending("failed", gone), run)

    # Storage

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
                raise RunFailed(
                    f"the thread {thread_body['id']} was held by {opened.owner} until the run's time was over"
                )
            await self._driver.sleep(_LEASE_POLL)

    async def _try_open(self, thread_body: Mapping[str, Any]) -> Opened | Taken:
        now, leases = self._driver.now(), self._settings.leases
        fresh = ThreadState(thread_body["id"], created_at=now, last_used_at=now)
        fresh.user = thread_body[HIDDEN]["user"]
        return await self._driver.blocking(lambda: leases.open(fresh.id, fresh.user, fresh), at_once=leases.in_process)

    async def _close(self, thread: ThreadState) -> None:
        leases = self._settings.leases
        await self._driver.blocking(lambda: leases.close(thread), at_once=leases.in_process)

    async def _run(self, thread_id: str, run_id: str) -> Document:
        document = await self._do(lambda: self._documents.get("run", run_id, thread_id))
        if document is None:
            raise problems.not_found("run", run_id)
        return document

    def _parents(self, run_body: Body) -> tuple[Body, Body]:
        """The thread of a run, and its assistant; without one that was deleted, what the run has of it serves."""
        thread = self._documents.get("thread", run_body["thread_id"])
        if thread is None:
            raise problems.not_found("thread", run_body["thread_id"])
        assistant = self._documents.get("assistant", run_body["assistant_id"])
        return thread.body, {} if assistant is None else assistant.body

    def _messages(self, thread_id: str, ids: Sequence[str]) -> list[Body]:
        found = (self._documents.get("message", message_id, thread_id) for message_id in ids)
        return [document.body for document in found if document is not None]

    async def _do(self, work: Callable[[], T]) -> T:
        return await self._driver.blocking(work, at_once=self._documents.in_process)


def _status(run: RunState) -> Any:
    return run.status if run.status in _ENDED else "completed"


def _outputs(outputs: Sequence[Mapping[str, str]]) -> list[ToolOutput]:
    return [ToolOutput(output["tool_call_id"], output["output"]) for output in outputs]


def _events_of(run: Body, *words: str) -> list[tuple[str, Any]]:
    return [(f"thread.run.{word}", run) for word in words]
