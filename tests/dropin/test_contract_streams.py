"""Streamed runs: the official events in the official order, and the SDK's own helpers over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from assistantguard.sandbox import Answer, FileSearch, FunctionCall, ToolCalls
from tests.dropin.calling import LOOKUP, Application, Gate, drives, hearing, text_of
from tests.dropin.conftest import MakeApplication
from tests.dropin.wire_checks import WireChecks, problems_of_order

ONE = FunctionCall("lookup", {"order": "W1"}, "call_1")
TWO = FunctionCall("lookup", {"order": "W2"}, "call_2")
BEGUN = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
STEP = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE = [*STEP, "thread.message.created", "thread.message.in_progress", "thread.message.delta"]
SAID = ["thread.message.completed", "thread.run.step.completed"]
CALLED = [*STEP, "thread.run.step.delta", "thread.run.requires_action"]


@drives("threads.runs.create")
def test_the_events_of_a_streamed_run_come_in_the_official_order(app: MakeApplication, wire: WireChecks) -> None:
    application = app(["Hello there!"])
    thread_id, assistant = application.thread("Hi"), application.assistant()

    stream = application.beta.threads.runs.create(thread_id, assistant_id=assistant.id, stream=True)
    events = application.read(stream)

    assert _names(events) == [*BEGUN, *MESSAGE, *SAID, "thread.run.completed"]
    assert wire.streams[0][2], "the stream did not end as it should"
    run = events[-1].data
    assert application.get(run) == run
    assert (
        run.usage.total_tokens == application.sandbox.billing.input_tokens + application.sandbox.billing.output_tokens
    )
    assert text_of(next(event.data for event in events if event.event == "thread.message.completed")) == "Hello there!"
    assert application.texts(thread_id) == [("user", "Hi"), ("assistant", "Hello there!")]


@drives("threads.runs.stream", "threads.runs.submit_tool_outputs_stream")
def test_a_handler_hears_of_tools_and_words(app: MakeApplication) -> None:
    application = app([ToolCalls(ONE, TWO), "Both are shipped."])
    thread_id, assistant = application.thread("Where?"), application.assistant(tools=[LOOKUP])
    handler, heard = hearing(application)
    manager = application.beta.threads.runs.stream(
        thread_id=thread_id, assistant_id=assistant.id, event_handler=handler
    )

    events = application.read(manager)

    run = handler.current_run
    assert _names(events) == [*BEGUN, *CALLED]
    assert run.status == "requires_action"
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_1", "call_2"]
    assert _count(heard, "on_tool_call_created") == 2
    assert heard[-1][0] == "on_end"

    handler, heard = hearing(application)
    manager = application.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread_id, tool_outputs=application.outputs(run), event_handler=handler
    )
    events = application.read(manager)

    assert _names(events) == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        *MESSAGE,
        *SAID,
        "thread.run.completed",
    ]
    assert events[0].data.step_details.tool_calls[1].function.output == "shipped"
    assert [args[0].value for name, args in heard if name == "on_text_done"] == ["Both are shipped."]
    assert [args[0].status for name, args in heard if name == "on_message_done"] == ["completed"]
    assert application.wait(handler.get_final_run()) == application.get(run)
    assert [text_of(one) for one in application.wait(handler.get_final_messages())] == ["Both are shipped."]
    assert [one.type for one in application.wait(handler.get_final_run_steps())] == ["message_creation"]


@drives("threads.runs.submit_tool_outputs")
def test_outputs_may_be_submitted_with_a_plain_stream(app: MakeApplication) -> None:
    application = app([ONE, "Shipped."])
    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))

    stream = application.beta.threads.runs.submit_tool_outputs(
        run.id, thread_id=run.thread_id, tool_outputs=application.outputs(run), stream=True
    )

    assert _names(application.read(stream))[-1] == "thread.run.completed"


@pytest.mark.filterwarnings("ignore:use `stream` instead:DeprecationWarning")
@drives("threads.runs.create_and_stream")
def test_the_old_name_of_the_stream_helper_serves_too(app: MakeApplication) -> None:
    application = app(["Hello"])

    manager = application.beta.threads.runs.create_and_stream(
        thread_id=application.thread("Hi"), assistant_id=application.assistant().id
    )

    assert _names(application.read(manager)) == [*BEGUN, *MESSAGE, *SAID, "thread.run.completed"]


@drives("threads.create_and_run_stream", "threads.create_and_run")
def test_a_stream_that_creates_its_thread_tells_of_it_first(app: MakeApplication) -> None:
    application = app(["Hello", "Hello"])
    asked: Any = {
        "assistant_id": application.assistant().id,
        "thread": {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": "b"}},
    }

    events = application.read(application.beta.threads.create_and_run_stream(**asked))
    plain = application.read(application.beta.threads.create_and_run(**asked, stream=True))

    assert _names(plain) == _names(events)
    assert _names(events) == ["thread.created", *BEGUN, *MESSAGE, *SAID, "thread.run.completed"]
    assert events[0].data.metadata == {"a": "b"}
    assert events[0].data.id == events[1].data.thread_id


def test_words_beside_a_call_are_told_before_it(app: MakeApplication) -> None:
    application = app([Answer("Let me look.", tool_calls=[ONE])])
    asked = {"thread_id": application.thread("Where?"), "assistant_id": application.assistant(tools=[LOOKUP]).id}

    events = application.read(application.beta.threads.runs.stream(**asked))

    assert _without_repeats(_names(events)) == [*BEGUN, *MESSAGE, *SAID, *CALLED]


def test_a_file_search_is_told_as_a_step_of_its_own(app: MakeApplication) -> None:
    application = app([Answer("Five days.", file_search=[FileSearch("refunds", results=["Five."])])])
    store = application.wait(application.client.vector_stores.create())
    assistant = application.assistant(
        tools=[{"type": "file_search"}], tool_resources={"file_search": {"vector_store_ids": [store.id]}}
    )

    events = application.read(
        application.beta.threads.runs.stream(thread_id=application.thread("How long?"), assistant_id=assistant.id)
    )

    kinds = [event.data.type for event in events if event.event == "thread.run.step.completed"]
    assert sorted(kinds) == ["message_creation", "tool_calls"]
    assert events[-1].event == "thread.run.completed"
    assert _contents_found(events) == [None, None]


def test_a_stream_tells_what_a_file_search_found_where_it_is_asked_for(app: MakeApplication) -> None:
    application = app([Answer("Five days.", file_search=[FileSearch("refunds", results=["Five."])])])
    store = application.wait(application.client.vector_stores.create())
    assistant = application.assistant(
        tools=[{"type": "file_search"}], tool_resources={"file_search": {"vector_store_ids": [store.id]}}
    )

    events = application.read(
        application.beta.threads.runs.stream(
            thread_id=application.thread("How long?"),
            assistant_id=assistant.id,
            include=["step_details.tool_calls[*].file_search.results[*].content"],
        )
    )

    assert _contents_found(events) == ["Five.", "Five."]


def test_a_stream_that_is_left_early_does_not_end_the_run(app: MakeApplication) -> None:
    application = app(["Hello there, this is a longer answer than the reader waits for.", "Hello again."])
    thread_id, assistant = application.thread("Hi"), application.assistant()
    manager = application.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant.id)

    left = application.read(manager, until=lambda event: event.event == "thread.run.queued")

    run = application.poll(left[-1].data)
    assert run.status == "completed"
    assert [role for role, _ in application.texts(thread_id)] == ["user", "assistant"]
    application.say(thread_id, "Again")
    assert application.run(thread_id, assistant).status == "completed"


def test_a_run_that_is_cancelled_tells_its_stream(app: MakeApplication) -> None:
    gate = Gate(ONE)
    application = app(gate, model_in_thread=True)
    thread_id, assistant = application.thread("Hi"), application.assistant(tools=[LOOKUP])

    events = _read_and_cancel(application, thread_id, assistant, gate)

    assert events[-1].event == "thread.run.cancelled"
    assert application.get(events[-1].data).status == "cancelled"


def test_a_refused_stream_raises_before_it_begins(app: MakeApplication) -> None:
    application = app([ONE])
    assistant = application.assistant(tools=[LOOKUP])
    run = application.run(application.thread("Where?"), assistant)

    def again() -> Any:
        return application.read(
            application.beta.threads.runs.stream(thread_id=run.thread_id, assistant_id=assistant.id)
        )

    assert application.refusal(again) == f"Thread {run.thread_id} already has an active run {run.id}."


def test_a_stream_out_of_order_is_found() -> None:
    run, step = {"id": "run_1", "status": "queued"}, {"id": "step_1", "status": "in_progress"}
    story: Sequence[tuple[str, Any]] = [
        ("thread.run.created", run),
        ("thread.run.queued", run),
        ("thread.run.in_progress", {**run, "status": "in_progress"}),
        ("thread.run.completed", {**run, "status": "completed"}),
        ("done", "[DONE]"),
    ]

    assert problems_of_order(story) == []
    assert problems_of_order(story[:-1])
    assert problems_of_order([story[1], story[0], *story[2:]])
    assert problems_of_order([*story[:3], ("thread.run.step.created", step), *story[3:]])
    assert problems_of_order([*story[:3], ("thread.run.completed", run), story[-1]])


def _read_and_cancel(application: Application, thread_id: str, assistant: Any, gate: Gate) -> list[Any]:
    """The events of a run that is cancelled once the model was asked."""
    runs = application.client.beta.threads.runs
    if not application.world.is_async:
        events = []
        with runs.create(thread_id, assistant_id=assistant.id, stream=True) as stream:
            for event in stream:
                events.append(event)
                if event.event == "thread.run.in_progress":
                    assert gate.asked.wait(60)
                    runs.cancel(event.data.id, thread_id=thread_id)
                    gate.open.set()
        return events

    async def read() -> list[Any]:
        events = []
        async with await runs.create(thread_id, assistant_id=assistant.id, stream=True) as stream:
            async for event in stream:
                events.append(event)
                if event.event == "thread.run.in_progress":
                    with anyio.fail_after(60):
                        while not gate.asked.is_set():  # noqa: ASYNC110 - it is set in another thread
                            await anyio.sleep(0.005)
                    await runs.cancel(event.data.id, thread_id=thread_id)
                    gate.open.set()
        return events

    found: list[Any] = application.wait(read())
    return found


def _names(events: Sequence[Any]) -> list[str]:
    """The names of events, several deltas in a row as one."""
    return _without_repeats([event.event for event in events])


def _without_repeats(names: Sequence[str]) -> list[str]:
    return [name for at, name in enumerate(names) if not (name.endswith(".delta") and names[at - 1] == name)]


def _count(heard: Sequence[tuple[str, Any]], name: str) -> int:
    return sum(one == name for one, _ in heard)


def _contents_found(events: Sequence[Any]) -> list[str | None]:
    """What the searches found, as a delta and the whole step tell it."""
    steps = [event.data.delta for event in events if event.event == "thread.run.step.delta"]
    steps += [event.data for event in events if event.event == "thread.run.step.completed"]
    details = [step.to_dict()["step_details"] for step in steps]
    searches = [each["tool_calls"][0]["file_search"] for each in details if each["type"] == "tool_calls"]
    contents = [search["results"][0].get("content") for search in searches]
    return [content[0]["text"] if content else None for content in contents]
