"""What is kept of runs, and how each transition changes it: one transaction each, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assistantguard.dropin import objects, problems
from assistantguard.dropin.ids import new_id
from assistantguard.dropin.recording import HIDDEN, attach, requires_action_of, with_outputs
from assistantguard.models import ToolOutput
from assistantguard.models.values import Record
from assistantguard.storage.documents import Document

if TYPE_CHECKING:
    from assistantguard.dropin.endings import Ending
    from assistantguard.models import ToolCall, Usage
    from assistantguard.storage.documents import DocumentStore

__all__ = ["ENDED", "RESTS", "Loaded", "RunRecords"]

Body = dict[str, Any]
ENDED = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})
"""Statuses of a run that has ended."""
RESTS = ENDED | {"requires_action"}
"""Statuses at which polling stops."""


@dataclass(slots=True, eq=False, repr=False)
class Loaded(Record):
    """A run, and what is needed to drive it."""

    run: Body
    thread: Body
    assistant: Body
    messages: list[Body] = field(default_factory=list)
    """Messages that the model has not read yet, oldest first."""
    outputs: list[ToolOutput] | None = None
    """The outputs that it goes on with; None where it begins."""
    step: Body | None = None
    """The step that these outputs completed."""
    goes_on: bool = False
    """Whether it goes on from where a process that died had come to."""


class RunRecords:
    """Runs in a store of documents. Every method may block."""

    def __init__(self, documents: DocumentStore) -> None:
        self.documents = documents

    def create(self, thread_id: str, run_id: str, parameters: Mapping[str, Any], now: float) -> Loaded:
        """Add a queued run, and take its thread for it.

        Raises:
            ApiProblem: The thread or the assistant is not there, or a run of the thread is active.
        """
        with self.documents.together():
            assistant = self.documents.get("assistant", parameters["assistant_id"])
            if assistant is None:
                raise problems.not_found("assistant", parameters["assistant_id"])
            added = [
                objects.new_message(new_id("msg"), now, thread_id, message)
                for message in parameters.get("additional_messages") or ()
            ]

            def take(document: Document) -> None:
                hidden = document.body[HIDDEN]
                if hidden["active"] is not None:
                    raise problems.run_active(thread_id, hidden["active"])
                hidden["active"] = run_id
                hidden["unsent"] = [*hidden["unsent"], *(message["id"] for message in added)]
                attach(hidden, added)

            thread = self.documents.change("thread", thread_id, take)
            if thread is None:
                raise problems.not_found("thread", thread_id)
            run = objects.new_run(run_id, now, thread_id, assistant.body, parameters)
            run[HIDDEN] = {"touched": now, "sent": thread.body[HIDDEN]["unsent"], "begun_anew": 0}
            self.documents.add(
                *(Document("message", message["id"], thread_id, now, message) for message in added),
                Document("run", run_id, thread_id, now, run),
            )
            return Loaded(run, thread.body, assistant.body, self._messages(run))

    def load(self, run_body: Body) -> Loaded:
        """What is needed to drive a run from its beginning, once more."""
        thread, assistant = self.parents(run_body)
        return Loaded(run_body, thread, assistant, self._messages(run_body))

    def take_outputs(self, thread_id: str, run_id: str, outputs: Sequence[Mapping[str, str]], now: float) -> Loaded:
        """Queue a parked run again, with the outputs of its calls.

        Raises:
            ApiProblem: It is not there, does not wait for outputs, or waits for others.
        """

        def take(document: Document) -> None:
            body = document.body
            if body["status"] != "requires_action":
                raise problems.outputs_not_accepted(body["status"])
            expected = requires_action_of(body)
            got = [output["tool_call_id"] for output in outputs]
            if sorted(expected) != sorted(got):
                raise problems.wrong_outputs(expected, got)
            document.body = _touched(objects.run_goes_on(body, now, "queued"), body, now)

        given = [ToolOutput(output["tool_call_id"], output["output"]) for output in outputs]
        with self.documents.together():
            if self.documents.get("run", run_id, thread_id) is None:
                raise problems.not_found("run", run_id)
            run = self.documents.change("run", run_id, take)
            assert run is not None
            step = self._end_waiting_step(run_id, lambda body: with_outputs(body, given, now))
            thread, assistant = self.parents(run.body)
            return Loaded(run.body, thread, assistant, [], given, step)

    def outputs_given(self, run_body: Body, calls: Sequence[ToolCall]) -> list[ToolOutput] | None:
        """The outputs that were submitted for these calls; None where they were not."""
        step = self.documents.newest("step", run_body["id"])
        if step is None or step.body["type"] != "tool_calls":
            return None
        texts = {
            call["id"]: call["function"].get("output")
            for call in step.body["step_details"]["tool_calls"]
            if call["type"] == "function"
        }
        outputs = [(call.id, texts.get(call.id)) for call in calls]
        if any(text is None for _, text in outputs):
            return None
        return [ToolOutput(call_id, text or "") for call_id, text in outputs]

    def begin(self, run_id: str, now: float) -> Body | None:
        """A run is driven now; return None where it was cancelled before."""
        return self._unless_cancelling(run_id, lambda body: objects.run_goes_on(body, now, "in_progress"), now)

    def begin_anew(self, run_id: str, now: float) -> int:
        """Count that a run is driven once more after its process died; return how often it was."""
        count = 0

        def note(document: Document) -> None:
            nonlocal count
            hidden = document.body[HIDDEN]
            count = hidden["begun_anew"] = hidden["begun_anew"] + 1
            hidden["touched"] = now

        self.documents.change("run", run_id, note)
        return count

    def park(self, run_body: Body, calls: Sequence[ToolCall], added: Sequence[Document], now: float) -> Body | None:
        """A run waits for tool outputs; return None where it was cancelled meanwhile.

        Nothing happens to one that another process has parked already.
        """
        with self.documents.together():
            run = self.documents.get("run", run_body["id"])
            if run is not None and run.body["status"] in ("requires_action", "queued"):
                return run.body
            self.documents.add(*added)
            self._sent(run_body["thread_id"], run_body[HIDDEN]["sent"])
            return self._unless_cancelling(run_body["id"], lambda body: objects.run_requires(body, calls), now)

    def end(
        self,
        run_body: Body,
        ending: Ending,
        added: Sequence[Document],
        now: float,
        *,
        usage: Usage | None,
        answered: bool,
    ) -> Body:
        """A run has ended: what it said stands, and its thread is free. Nothing happens to one that ended before.

        Args:
            run_body: The run.
            ending: How it ended.
            added: Its messages and steps that are not kept yet.
            now: Unix time, seconds.
            usage: What it used, where that is known.
            answered: Whether the model has read the messages that it carried.
        """
        first = waits = False

        def note(document: Document) -> None:
            nonlocal first, waits
            body = document.body
            first = body["status"] not in ENDED
            waits = body["status"] not in ("queued", "in_progress")
            if first:
                reason = ending.incomplete_reason
                ended = objects.run_ended(
                    body, ending.status, now, usage=usage, error=ending.error, incomplete_reason=reason
                )
                document.body = _touched(ended, body, now)

        with self.documents.together():
            document = self.documents.change("run", run_body["id"], note)
            if document is None:  # deleted with its thread
                return run_body
            if first:
                self.documents.add(*added)
                self._release(document.parent, document.id, run_body[HIDDEN]["sent"] if answered else ())
                if waits:
                    word = ending.status if ending.status in ("cancelled", "expired") else "failed"
                    self._end_waiting_step(
                        document.id,
                        lambda body: {**objects.step_ended(body, word, now), "usage": body.get("usage")},
                    )
        return document.body

    def mark_cancelling(self, thread_id: str, run_id: str, now: float) -> tuple[str, Body]:
        """Ask for the end of a run; return the status that it had, and the run.

        Raises:
            ApiProblem: It is not there, or has ended.
        """
        was = ""

        def mark(document: Document) -> None:
            nonlocal was
            body = document.body
            was = body["status"]
            if was in ENDED or was == "cancelling":
                raise problems.cannot_cancel(was)
            document.body = _touched({**body, "status": "cancelling"}, body, now)

        with self.documents.together():
            self.get(thread_id, run_id)
            document = self.documents.change("run", run_id, mark)
        assert document is not None
        return was, document.body

    def get(self, thread_id: str, run_id: str) -> Body:
        """A run.

        Raises:
            ApiProblem: It is not there.
        """
        document = self.documents.get("run", run_id, thread_id)
        if document is None:
            raise problems.not_found("run", run_id)
        return document.body

    def active(self, thread_id: str) -> Body | None:
        """The run that has the thread."""
        thread = self.documents.get("thread", thread_id)
        active = None if thread is None else thread.body[HIDDEN]["active"]
        document = None if active is None else self.documents.get("run", active, thread_id)
        return None if document is None else document.body

    def parents(self, run_body: Body) -> tuple[Body, Body]:
        """The thread of a run, and its assistant, which is empty where it was deleted: the run has its own copy.

        Raises:
            ApiProblem: The thread was deleted.
        """
        thread = self.documents.get("thread", run_body["thread_id"])
        if thread is None:
            raise problems.not_found("thread", run_body["thread_id"])
        assistant = self.documents.get("assistant", run_body["assistant_id"])
        return thread.body, {} if assistant is None else assistant.body

    def _unless_cancelling(self, run_id: str, change: Any, now: float) -> Body | None:
        cancelled = False

        def note(document: Document) -> None:
            nonlocal cancelled
            body = document.body
            cancelled = body["status"] == "cancelling" or body["status"] in ENDED
            if not cancelled:
                document.body = _touched(change(body), body, now)

        document = self.documents.change("run", run_id, note)
        return None if document is None or cancelled else document.body

    def _end_waiting_step(self, run_id: str, change: Any) -> Body | None:
        """Change the step whose calls wait for outputs, if there is one: it waits no longer."""
        waiting = self.documents.newest("step", run_id, "waits")
        if waiting is None:
            return None

        def end(document: Document) -> None:
            document.body, document.mark = change(document.body), ""

        step = self.documents.change("step", waiting.id, end)
        return None if step is None else step.body

    def _messages(self, run_body: Body) -> list[Body]:
        sent, thread_id = run_body[HIDDEN]["sent"], run_body["thread_id"]
        found = (self.documents.get("message", message_id, thread_id) for message_id in sent)
        return [document.body for document in found if document is not None]

    def _sent(self, thread_id: str, message_ids: Sequence[str]) -> None:
        """The model has read these messages."""
        if message_ids:
            self.documents.change("thread", thread_id, lambda document: _note_sent(document, message_ids))

    def _release(self, thread_id: str, run_id: str, sent: Sequence[str]) -> None:
        """The thread is free again, and the model has read these messages."""

        def note(document: Document) -> None:
            if document.body[HIDDEN]["active"] == run_id:
                document.body[HIDDEN]["active"] = None
            _note_sent(document, sent)

        self.documents.change("thread", thread_id, note)


def _note_sent(thread: Document, message_ids: Sequence[str]) -> None:
    hidden = thread.body[HIDDEN]
    hidden["unsent"] = [message_id for message_id in hidden["unsent"] if message_id not in message_ids]


def _touched(body: Body, before: Body, now: float) -> Body:
    return {**body, HIDDEN: {**before[HIDDEN], "touched": now}}
