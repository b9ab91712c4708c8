"""Threads and runs that one process made, in the hands of another over the same database.

Another process is another drop-in client on the same URL: nothing but the database is common to the two.
"""

from __future__ import annotations

import time
from pathlib import Path

import openai
import pytest

from assistantguard import Budget
from assistantguard.events import RunSettled
from assistantguard.ledger import open_ledger
from assistantguard.models import ThreadState
from assistantguard.sandbox import FunctionCall, ModelRequest, ToolCalls
from assistantguard.storage import SqlThreads
from assistantguard.storage.leases import Leases
from assistantguard.storage.threads import Opened
from tests.dropin.calling import LOOKUP, Gate
from tests.dropin.conftest import MakeApplication
from tests.support.clock import Clock

ONE = FunctionCall("lookup", {"order": "W1"}, "call_1")
TWO = FunctionCall("lookup", {"order": "W2"}, "call_2")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'guard.db'}"


def test_another_process_polls_a_run_to_its_end_and_lists_what_it_said(app: MakeApplication) -> None:
    gate = Gate("Hello")
    application = app(gate, model_in_thread=True)
    other = application.other()
    thread_id, assistant = application.thread("Hi"), application.assistant()
    run = application.beta.threads.runs.create(thread_id, assistant_id=assistant.id)
    application.until(gate.asked.is_set)
    assert other.get(run).status == "in_progress"
    gate.open.set()

    polled = other.poll(run)

    assert polled.status == "completed"
    assert polled == application.poll(run)
    assert other.texts(thread_id) == [("user", "Hi"), ("assistant", "Hello")]
    assert other.steps(run) == application.steps(run)
    assert [one.id for one in other.beta.threads.runs.list(thread_id).data] == [run.id]
    assert application.sandbox.billing.requests == 1


def test_another_process_submits_the_outputs_and_drives_the_run_on(app: MakeApplication) -> None:
    application = app([ToolCalls(ONE, TWO), "Both are shipped."])
    other = application.other()
    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))

    seen = other.get(run)
    ended = other.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=other.outputs(seen)
    )

    assert seen == run
    assert (ended.status, ended.last_error) == ("completed", None)
    assert ended.usage.total_tokens == application.sandbox.billing.totals.total_tokens
    assert application.get(run) == ended
    assert application.texts(run.thread_id) == [("user", "Where?"), ("assistant", "Both are shipped.")]


def test_outputs_are_taken_from_one_of_two_processes(app: MakeApplication) -> None:
    application = app([ONE, "Shipped."])
    other = application.other()
    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))
    taken = other.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=other.outputs(run)
    )

    message = application.refusal(
        lambda: application.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=run.thread_id, tool_outputs=application.outputs(run)
        )
    )

    assert taken.status == "completed"
    assert message == 'Runs in status "completed" do not accept tool outputs.'


def test_the_next_turn_may_be_another_process_s(app: MakeApplication) -> None:
    application = app(["First.", "Second.", "Third."])
    other = application.other()
    thread_id, assistant = application.thread("One"), application.assistant()
    application.run(thread_id, assistant)
    other.say(thread_id, "Two")
    other.run(thread_id, assistant)
    application.say(thread_id, "Three")
    application.run(thread_id, assistant)

    assert [text for _, text in other.texts(thread_id)] == ["One", "First.", "Two", "Second.", "Three", "Third."]
    assert len(application.sandbox.conversations) == 1


def test_a_thread_is_locked_for_all_processes(app: MakeApplication) -> None:
    application = app([ONE])
    other = application.other()
    assistant = application.assistant(tools=[LOOKUP])
    run = application.run(application.thread("Where?"), assistant)

    assert other.refusal(lambda: other.say(run.thread_id, "x")) == (
        f"Can't add messages to {run.thread_id} while a run {run.id} is active."
    )
    assert other.refusal(lambda: other.run(run.thread_id, assistant)) == (
        f"Thread {run.thread_id} already has an active run {run.id}."
    )


def test_another_process_cancels_a_run_that_waits_for_outputs(app: MakeApplication) -> None:
    application = app([ONE, "Hello again."])
    other = application.other()
    assistant = application.assistant(tools=[LOOKUP])
    run = application.run(application.thread("Where?"), assistant)

    other.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)

    assert other.poll(run).status == application.poll(run).status == "cancelled"
    application.say(run.thread_id, "Again")
    assert application.run(run.thread_id, assistant).status == "completed"


def test_another_process_cancels_a_run_that_is_under_way(app: MakeApplication) -> None:
    gate = Gate(ONE, "Hello again.")
    application = app(gate, model_in_thread=True)
    other = application.other()
    thread_id, assistant = application.thread("Hi"), application.assistant(tools=[LOOKUP])
    run = application.beta.threads.runs.create(thread_id, assistant_id=assistant.id)
    application.until(gate.asked.is_set)

    cancelled = other.beta.threads.runs.cancel(run.id, thread_id=thread_id)
    gate.open.set()

    assert cancelled.status == "cancelling"
    assert other.poll(run).status == application.poll(run).status == "cancelled"
    other.say(thread_id, "Again")
    assert other.run(thread_id, assistant).status == "completed"


def test_a_run_expires_whoever_looks(app: MakeApplication, clock: Clock) -> None:
    application = app([ONE, "Hello again."])
    other = application.other()
    assistant = application.assistant(tools=[LOOKUP])
    run = application.run(application.thread("Where?"), assistant)
    clock.advance(601)

    assert other.get(run).status == application.get(run).status == "expired"
    other.say(run.thread_id, "Again")
    assert application.run(run.thread_id, assistant).status == "completed"


def test_a_budget_is_one_for_all_processes(app: MakeApplication) -> None:
    policies = [Budget("user", "day", messages=1)]
    application = app(["Hello"], policies=policies)
    other = application.other(policies=policies)
    assistant = application.assistant()

    first = application.run(application.thread("Hi", metadata={"user": "ada"}), assistant)
    second = other.run(other.thread("Hi", metadata={"user": "ada"}), assistant)

    assert [first.status, second.status] == ["completed", "failed"]
    assert application.sandbox.billing.requests == 1


def test_what_was_deleted_is_gone_for_all_processes(app: MakeApplication) -> None:
    application = app(["Hello"])
    other = application.other()
    run = application.turn("Hi")
    other.beta.threads.delete(run.thread_id)

    gone = openai.NotFoundError
    assert application.refusal(lambda: application.get(run), gone) == f"No run found with id '{run.id}'."
    message = application.refusal(lambda: application.texts(run.thread_id), gone)
    assert message == f"No thread found with id '{run.thread_id}'."


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_process_that_lost_its_thread_leaves_the_run_to_the_one_that_has_it(
    app: MakeApplication, url: str, *, streamed: bool
) -> None:
    fences: list[int] = []

    def taken_over(_: ModelRequest) -> str:
        if not fences:
            opened = threads.open(thread_id, "another process", 30.0, time.time() + 1_000)
            assert isinstance(opened, Opened)
            fences.append(opened.fence)
        return "Hello"

    application = app(taken_over, model_in_thread=True)
    thread_id, assistant = application.thread("Hi"), application.assistant()
    ledger = open_ledger(url)
    threads = SqlThreads(ledger.database, content=True)
    runs, where = application.beta.threads.runs, {"thread_id": thread_id, "assistant_id": assistant.id}
    if streamed:
        assert application.read(runs.create(**where, stream=True), lambda event: event.event == "error")
    else:
        runs.create(**where)
        application.until(lambda: any(isinstance(event, RunSettled) for event in application.events))
    threads.close(thread_id, "another process", *fences)
    ledger.database.close()

    other = application.other(lease_seconds=1.0)
    (run,) = other.beta.threads.runs.list(thread_id).data
    run = other.poll(run)

    assert (run.status, run.last_error) == ("completed", None)
    assert other.texts(thread_id) == [("user", "Hi"), ("assistant", "Hello")]
    # A stream that is left before its answer is whole ends the answer: nothing is found then, and it is asked again.
    assert application.sandbox.billing.requests <= 1 + streamed


def test_a_run_whose_process_was_held_up_as_it_wrote_it_down_is_taken_over(
    app: MakeApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, held_up = Leases.close, [TimeoutError("protected work took too long")]

    def close(leases: Leases, thread: ThreadState) -> bool:
        if held_up:
            raise held_up.pop()
        return closing(leases, thread)

    monkeypatch.setattr(Leases, "close", close)
    application = app(["Hello"], lease_seconds=0.2)

    run = application.turn("Hi")

    assert held_up == []
    assert (run.status, run.last_error) == ("completed", None)
    assert application.texts(run.thread_id) == [("user", "Hi"), ("assistant", "Hello")]
    assert application.sandbox.billing.requests == 1
