"""``client.beta.threads.runs``: from their creation to their end, and their steps."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import openai
import pytest

from assistantguard.sandbox import Answer, FunctionCall
from tests.dropin.calling import LOOKUP, MODEL, Gate, drives, text_of
from tests.dropin.conftest import MakeApplication
from tests.support.clock import Clock

CALL = FunctionCall("lookup", {"order": "W1"}, "call_1")


@drives("threads.runs.create", "threads.runs.retrieve", "threads.runs.poll")
def test_a_run_is_created_queued_and_is_completed_after_a_while(app: MakeApplication) -> None:
    application = app(["Hello"])
    thread_id, assistant = application.thread("Hi"), application.assistant(temperature=0.5)
    created = application.beta.threads.runs.create(thread_id, assistant_id=assistant.id, metadata={"a": "b"})

    polled = application.poll(created)

    assert (created.status, created.usage, created.started_at) == ("queued", None, None)
    assert created.expires_at == created.created_at + 600
    assert polled == application.beta.threads.runs.retrieve(created.id, thread_id=thread_id)
    assert (polled.id, polled.status, polled.metadata, polled.model) == (created.id, "completed", {"a": "b"}, MODEL)
    assert (polled.instructions, polled.temperature) == ("Be kind.", 0.5)
    assert polled.expires_at is None
    assert polled.created_at <= polled.started_at <= polled.completed_at
    assert application.texts(thread_id) == [("user", "Hi"), ("assistant", "Hello")]


@drives("threads.runs.create_and_poll")
def test_a_run_uses_what_the_server_bills(app: MakeApplication) -> None:
    application = app([Answer("Hello", reasoning_tokens=11)])

    run = application.turn("Hi")

    billing = application.sandbox.billing
    assert (run.usage.prompt_tokens, run.usage.completion_tokens) == (billing.input_tokens, billing.output_tokens)
    assert run.usage.total_tokens == billing.input_tokens + billing.output_tokens
    assert run.usage.completion_tokens_details == {"reasoning_tokens": 11}
    (step,) = application.steps(run)
    assert step.usage == run.usage or step.usage.total_tokens == run.usage.total_tokens


@drives("threads.runs.list", "threads.runs.update")
def test_runs_are_listed_and_take_other_metadata(app: MakeApplication) -> None:
    application = app(["One.", "Two.", "Three."])
    thread_id, assistant = application.thread("Hi"), application.assistant()
    made = [application.run(thread_id, assistant).id for _ in range(3)]
    runs = application.beta.threads.runs

    changed = runs.update(made[0], thread_id=thread_id, metadata={"seen": "yes"})
    newest = runs.list(thread_id, limit=2)
    older = runs.list(thread_id, limit=2, after=newest.data[-1].id)
    newer = runs.list(thread_id, limit=2, before=older.data[0].id)

    assert (changed.metadata, changed.status) == ({"seen": "yes"}, "completed")
    assert [one.id for one in newest.data] == made[:0:-1]
    assert older.data == [changed]
    assert [one.id for one in newer.data] == made[:0:-1]
    assert [one.id for one in application.every(runs.list(thread_id, limit=1, order="asc"))] == made


@drives("threads.create_and_run")
def test_a_thread_is_created_and_run_in_one_call(app: MakeApplication) -> None:
    application = app(["Hello"])

    run = application.beta.threads.create_and_run(
        assistant_id=application.assistant().id,
        thread={"messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": "b"}},
    )

    assert run.status == "queued"
    assert application.poll(run).status == "completed"
    assert application.texts(run.thread_id) == [("user", "Hi"), ("assistant", "Hello")]
    assert application.beta.threads.retrieve(run.thread_id).metadata == {"a": "b"}


@drives("threads.create_and_run_poll")
def test_a_thread_is_created_run_and_polled_in_one_call(app: MakeApplication) -> None:
    application = app(["Hello"])

    run = application.beta.threads.create_and_run_poll(
        assistant_id=application.assistant().id, thread={"messages": [{"role": "user", "content": "Hi"}]}
    )

    assert run.status == "completed"
    assert application.texts(run.thread_id) == [("user", "Hi"), ("assistant", "Hello")]


@drives("threads.runs.steps.list", "threads.runs.steps.retrieve")
def test_the_steps_of_a_run_tell_what_it_did_and_used(app: MakeApplication) -> None:
    application = app(["Hello"])
    run = application.turn("Hi")

    (step,) = application.steps(run)

    assert (step.type, step.status, step.run_id, step.thread_id) == (
        "message_creation",
        "completed",
        run.id,
        run.thread_id,
    )
    message = application.beta.threads.messages.list(run.thread_id, run_id=run.id).data[0]
    assert step.step_details.message_creation.message_id == message.id
    assert step.usage.total_tokens == run.usage.total_tokens
    retrieved = application.beta.threads.runs.steps.retrieve(step.id, thread_id=run.thread_id, run_id=run.id)
    assert retrieved == step


def test_what_is_not_there_is_not_found(app: MakeApplication) -> None:
    application = app(["Hello"])
    run, other = application.turn("Hi"), application.thread()
    runs, assistant = application.beta.threads.runs, application.assistant()

    for call, message in (
        (lambda: runs.retrieve(run.id, thread_id=other), f"No run found with id '{run.id}'."),
        (lambda: runs.update(run.id, thread_id=other, metadata={}), f"No run found with id '{run.id}'."),
        (lambda: runs.cancel(run.id, thread_id=other), f"No run found with id '{run.id}'."),
        (lambda: runs.steps.list(run.id, thread_id=other), f"No run found with id '{run.id}'."),
        (
            lambda: runs.submit_tool_outputs(run.id, thread_id=other, tool_outputs=[]),
            f"No run found with id '{run.id}'.",
        ),
        (
            lambda: runs.steps.retrieve("step_x", thread_id=run.thread_id, run_id=run.id),
            "No run step found with id 'step_x'.",
        ),
        (lambda: runs.create(other, assistant_id="asst_x"), "No assistant found with id 'asst_x'."),
        (
            lambda: application.beta.threads.create_and_run(assistant_id="asst_x"),
            "No assistant found with id 'asst_x'.",
        ),
        (lambda: runs.create("thread_x", assistant_id=assistant.id), "No thread found with id 'thread_x'."),
    ):
        assert application.refusal(call, openai.NotFoundError) == message


def test_while_a_run_is_active_its_thread_takes_no_message_and_no_run(app: MakeApplication) -> None:
    gate = Gate("Hello")
    application = app(gate, model_in_thread=True)
    thread_id, assistant = application.thread("Hi"), application.assistant()
    run = application.beta.threads.runs.create(thread_id, assistant_id=assistant.id)

    for _ in range(2):
        assert application.refusal(lambda: application.say(thread_id, "x")) == (
            f"Can't add messages to {thread_id} while a run {run.id} is active."
        )
        assert application.refusal(lambda: application.run(thread_id, assistant)) == (
            f"Thread {thread_id} already has an active run {run.id}."
        )
        application.until(gate.asked.is_set)
    assert application.get(run).status == "in_progress"
    gate.open.set()

    assert application.poll(run).status == "completed"
    application.say(thread_id, "Thanks")
    assert application.run(thread_id, assistant).status == "completed"


def test_a_thread_that_another_run_holds_leaves_other_threads_alone(app: MakeApplication) -> None:
    gate = Gate("One.", "Two.")
    application = app(gate, model_in_thread=True)
    assistant = application.assistant()
    made = [
        application.beta.threads.runs.create(application.thread(text), assistant_id=assistant.id)
        for text in ("One", "Two")
    ]
    gate.open.set()

    assert [application.poll(run).status for run in made] == ["completed", "completed"]


@drives("threads.runs.cancel")
def test_a_run_is_cancelled_before_it_began(app: MakeApplication, begin: threading.Event) -> None:
    begin.clear()
    application = app(["Hello again."])
    thread_id, assistant = application.thread("Hi"), application.assistant()
    run = application.beta.threads.runs.create(thread_id, assistant_id=assistant.id)
    assert application.get(run).status == "queued"

    cancelled = application.beta.threads.runs.cancel(run.id, thread_id=thread_id)
    begin.set()

    assert (cancelled.status, cancelled.usage) == ("cancelling", None)
    ended = application.poll(run)
    assert (ended.status, ended.last_error, ended.expires_at) == ("cancelled", None, None)
    assert ended.cancelled_at >= ended.created_at
    assert application.requests() == []
    assert application.run(thread_id, assistant).status == "completed"


def test_a_run_that_is_cancelled_at_once_ends(app: MakeApplication) -> None:
    application = app(["Hello", "Hello again."])
    thread_id, assistant = application.thread("Hi"), application.assistant()
    runs = application.client.beta.threads.runs

    async def create_and_cancel() -> Any:
        run = await runs.create(thread_id, assistant_id=assistant.id)
        return await runs.cancel(run.id, thread_id=thread_id)

    if application.world.is_async:  # the loop has no chance to begin the run in between
        run = application.wait(create_and_cancel())
        assert application.poll(run).status == "cancelled"
    else:
        run = runs.create(thread_id, assistant_id=assistant.id)
        with contextlib.suppress(openai.BadRequestError):  # it may be completed already
            runs.cancel(run.id, thread_id=thread_id)
        assert application.poll(run).status in {"cancelled", "completed"}
    assert application.run(thread_id, assistant).status == "completed"


def test_a_run_that_is_cancelled_while_the_model_works_calls_no_tools(app: MakeApplication) -> None:
    gate = Gate(CALL, "Hello again.")
    application = app(gate, model_in_thread=True)
    thread_id, assistant = application.thread("Hi"), application.assistant(tools=[LOOKUP])
    run = application.beta.threads.runs.create(thread_id, assistant_id=assistant.id)
    application.until(gate.asked.is_set)

    cancelled = application.beta.threads.runs.cancel(run.id, thread_id=thread_id)
    again = application.refusal(lambda: application.beta.threads.runs.cancel(run.id, thread_id=thread_id))
    gate.open.set()

    assert (cancelled.status, cancelled.usage) == ("cancelling", None)
    assert again == "Cannot cancel run with status 'cancelling'."
    ended = application.poll(run)
    assert (ended.status, ended.required_action) == ("cancelled", None)
    application.say(thread_id, "Again")
    assert application.run(thread_id, assistant).status == "completed"
    assert [text for role, text in application.texts(thread_id) if role == "user"] == ["Hi", "Again"]


def test_a_run_that_is_cancelled_at_its_last_answer_is_either_cancelled_or_whole(app: MakeApplication) -> None:
    gate = Gate("Late.", "Hello again.")
    application = app(gate, model_in_thread=True)
    thread_id, assistant = application.thread("Hi"), application.assistant()
    run = application.beta.threads.runs.create(thread_id, assistant_id=assistant.id)
    application.until(gate.asked.is_set)

    application.beta.threads.runs.cancel(run.id, thread_id=thread_id)
    gate.open.set()

    ended = application.poll(run)
    said = application.texts(thread_id, run_id=run.id)
    assert (ended.status, said) in [("cancelled", []), ("completed", [("assistant", "Late.")])]
    application.say(thread_id, "Again")
    assert application.run(thread_id, assistant).status == "completed"


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_a_run_that_has_ended_cannot_be_cancelled(app: MakeApplication, status: str) -> None:
    application = app(["Hello"] if status == "completed" else [CALL])
    run = application.run(application.thread("Hi"), application.assistant(tools=[LOOKUP]))
    if status == "cancelled":
        application.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    assert application.poll(run).status == status

    message = application.refusal(lambda: application.beta.threads.runs.cancel(run.id, thread_id=run.thread_id))

    assert message == f"Cannot cancel run with status '{status}'."


def test_an_assistant_may_be_changed_or_deleted_while_its_run_goes_on(app: MakeApplication) -> None:
    gate = Gate("Hello")
    application = app(gate, model_in_thread=True)
    thread_id, assistant = application.thread("Hi"), application.assistant()
    run = application.beta.threads.runs.create(thread_id, assistant_id=assistant.id)
    application.until(gate.asked.is_set)
    application.beta.assistants.update(assistant.id, instructions="Be rude.")
    application.beta.assistants.delete(assistant.id)
    gate.open.set()

    ended = application.poll(run)

    assert (ended.status, ended.instructions) == ("completed", "Be kind.")


def test_a_run_that_waits_for_tool_outputs_expires_ten_minutes_after_it_was_created(
    app: MakeApplication, clock: Clock
) -> None:
    application = app([CALL, "Hello again."])
    thread_id, assistant = application.thread("Hi"), application.assistant(tools=[LOOKUP])
    run = application.run(thread_id, assistant)
    assert run.status == "requires_action"
    clock.advance(595)
    assert application.get(run).status == "requires_action"
    clock.advance(10)

    expired = application.get(run)

    assert (expired.status, expired.required_action) == ("expired", None)
    assert expired.expires_at == run.created_at + 600
    (step,) = application.steps(run)
    assert (step.status, step.expired_at is not None) == ("expired", True)
    message = application.refusal(
        lambda: application.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread_id, tool_outputs=application.outputs(run)
        )
    )
    assert message == 'Runs in status "expired" do not accept tool outputs.'
    application.say(thread_id, "Again")
    assert application.run(thread_id, assistant).status == "completed"


def test_a_thread_is_free_once_its_run_is_due_even_if_nobody_asked_for_the_run(
    app: MakeApplication, clock: Clock
) -> None:
    application = app([CALL, "Hello again."])
    thread_id, assistant = application.thread("Hi"), application.assistant(tools=[LOOKUP])
    run = application.run(thread_id, assistant)
    clock.advance(601)

    application.say(thread_id, "Again")

    assert application.run(thread_id, assistant).status == "completed"
    assert application.get(run).status == "expired"


def test_a_message_says_what_the_model_said_and_cites_nothing_more(app: MakeApplication) -> None:
    application = app(["Hello ✓"])
    run = application.turn("Hi")

    (message,) = application.beta.threads.messages.list(run.thread_id, run_id=run.id).data

    assert text_of(message) == "Hello ✓"
    assert message.content[0].text.annotations == []
