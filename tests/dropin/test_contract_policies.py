"""What the policies do beneath a run, and how the application sees it."""

from __future__ import annotations

from typing import Any

import pytest
from tenacity import wait_none

from assistantguard import Budget, BudgetExceeded, ThreadRotation, TokenCap, ToolStepCeiling, TransientRetry
from assistantguard.events import RunStarted
from assistantguard.sandbox import Fault, FunctionCall
from tests.dropin.calling import LOOKUP, text_of
from tests.dropin.conftest import MakeApplication

QUICK = TransientRetry(wait=wait_none())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_transient_failure_is_retried_inside_the_run(app: MakeApplication, streamed: bool) -> None:
    application = app(
        ["Hello"],
        policies=[QUICK],
        faults=[Fault.rate_limit(at=1, retry_after=0), Fault.server_error(at=2)],
    )
    thread_id, assistant = application.thread("Hi"), application.assistant()

    if streamed:
        manager = application.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant.id)
        run = application.read(manager)[-1].data
    else:
        run = application.run(thread_id, assistant)

    assert (run.status, run.last_error) == ("completed", None)
    assert application.sandbox.faults_fired == 2
    assert application.texts(thread_id) == [("user", "Hi"), ("assistant", "Hello")]


def test_an_answer_that_breaks_off_is_told_as_incomplete_and_said_again(app: MakeApplication) -> None:
    application = app(
        ["A whole answer of several words."],
        policies=[QUICK],
        faults=[Fault.failed_response(at=1, text="half of it")],
    )
    thread_id, assistant = application.thread("Hi"), application.assistant()

    events = application.read(application.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant.id))

    names = [event.event for event in events]
    assert names[-1] == "thread.run.completed"
    assert names.count("thread.message.incomplete") == names.count("thread.run.step.failed") == 1
    assert names.count("thread.message.completed") == 1
    (broken,) = [event.data for event in events if event.event == "thread.message.incomplete"]
    assert "half of it".startswith(text_of(broken))
    assert [role for role, _ in application.texts(thread_id)] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.quota(rate=1), "rate_limit_exceeded"),
        (Fault.rate_limit(rate=1, retry_after=0), "rate_limit_exceeded"),
        (Fault.server_error(rate=1), "server_error"),
        (Fault.http(400, message="Bad input.", type="invalid_request_error", rate=1), "invalid_prompt"),
    ],
)
def test_a_failure_that_stays_ends_the_run_with_its_cause(app: MakeApplication, fault: Fault, code: str) -> None:
    application = app(["Hello"], policies=[QUICK], faults=[fault])

    run = application.turn("Hi")

    assert (run.status, run.last_error.code) == ("failed", code)
    assert run.last_error.message
    assert run.failed_at >= run.created_at
    assert run.expires_at is None
    application.sandbox.faults = []
    assert application.run(run.thread_id, application.assistant()).status == "completed"
    assert application.texts(run.thread_id) == [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize("policy", [TokenCap(session=200), Budget("application", tokens=200)])
def test_a_cap_ends_the_run_as_failed_and_says_why(app: MakeApplication, policy: Any) -> None:
    application = app(["word " * 500], policies=[policy])

    run = application.turn("word " * 400)

    assert (run.status, run.last_error.code) == ("failed", "rate_limit_exceeded")
    assert "200" in run.last_error.message
    assert application.sandbox.billing.totals.total_tokens <= 200


def test_a_cap_may_end_the_run_as_incomplete(app: MakeApplication) -> None:
    application = app(policies=[TokenCap(session=200)], on_refusal="incomplete")

    run = application.turn("word " * 400)

    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert "200" in run.last_error.message


@pytest.mark.parametrize("streamed", [False, True])
def test_a_cap_may_raise_where_the_run_is_waited_for(app: MakeApplication, streamed: bool) -> None:
    application = app(policies=[TokenCap(session=200)], on_refusal="raise")
    thread_id, assistant = application.thread("word " * 400), application.assistant()

    def wait_for_it() -> None:
        if streamed:
            application.read(application.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant.id))
        else:
            application.run(thread_id, assistant)

    with pytest.raises(BudgetExceeded):
        wait_for_it()

    (run,) = application.beta.threads.runs.list(thread_id).data
    assert run.status == "failed"


@pytest.mark.parametrize("polls", [False, True])
def test_who_asks_after_the_end_is_told_once_what_ended_the_run(app: MakeApplication, polls: bool) -> None:
    application = app(policies=[TokenCap(session=200)], on_refusal="raise")
    runs, thread_id = application.beta.threads.runs, application.thread("word " * 400)
    run = runs.create(thread_id, assistant_id=application.assistant().id)
    application.until(lambda: runs.list(thread_id).data[0].status == "failed")

    with pytest.raises(BudgetExceeded):
        (application.poll if polls else application.get)(run)

    assert application.get(run).status == application.poll(run).status == "failed"


def test_a_budget_is_that_of_the_user_in_the_thread_s_metadata(app: MakeApplication) -> None:
    application = app(["Hello"] * 4, policies=[Budget("user", "day", messages=1)])
    assistant = application.assistant()
    ada, bob = (application.thread("Hi", metadata={"user": name}) for name in ("ada", "bob"))
    other = application.thread("Hi", metadata={"user": "ada"})

    assert application.run(ada, assistant).status == "completed"
    assert application.run(bob, assistant).status == "completed"
    refused = application.run(other, assistant)

    assert (refused.status, refused.last_error.code) == ("failed", "rate_limit_exceeded")
    assert application.sandbox.billing.requests == 2


def test_the_user_may_come_from_a_function_of_the_metadata(app: MakeApplication) -> None:
    application = app(["Hello"] * 2, policies=[Budget("user", "day", messages=1)], user=lambda told: told.get("mail"))
    assistant = application.assistant()

    first = application.run(application.thread("Hi", metadata={"mail": "a@example.com"}), assistant)
    second = application.run(application.thread("Hi", metadata={"mail": "a@example.com"}), assistant)

    assert [first.status, second.status] == ["completed", "failed"]


def test_a_thread_whose_metadata_change_counts_on_its_new_user(app: MakeApplication) -> None:
    application = app(["Hello"] * 2, policies=[Budget("user", "day", messages=1)])
    assistant = application.assistant()
    first = application.thread("Hi", metadata={"user": "ada"})
    second = application.thread("Hi")
    application.run(first, assistant)
    application.beta.threads.update(second, metadata={"user": "ada"})

    assert application.run(second, assistant).status == "failed"


def test_a_ceiling_cancels_the_run_and_says_so(app: MakeApplication) -> None:
    calls = [FunctionCall("lookup", {"order": f"W{number}"}, f"call_{number}") for number in range(9)]
    application = app([*calls], policies=[ToolStepCeiling(max_steps=2)])
    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))
    rounds = 0

    while run.status == "requires_action":
        rounds += 1
        run = application.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id, thread_id=run.thread_id, tool_outputs=application.outputs(run)
        )

    assert rounds <= 2
    assert (run.status, run.last_error.code) == ("cancelled", "server_error")
    assert run.usage.total_tokens == application.sandbox.billing.totals.total_tokens
    application.say(run.thread_id, "Never mind.")


def test_a_thread_rotates_beneath_its_id_and_shows_its_whole_history(app: MakeApplication) -> None:
    application = app([f"Answer {number}." for number in range(6)], policies=[ThreadRotation(max_turns=2)])
    assistant, thread_id = application.assistant(), application.thread()
    used = set()

    for number in range(6):
        application.say(thread_id, f"Question {number}")
        run = application.run(thread_id, assistant)
        assert (run.status, run.thread_id) == ("completed", thread_id)
        used.add(application.requests()[-1]["conversation"])

    assert len(used) == 3
    assert application.texts(thread_id) == [
        one for number in range(6) for one in (("user", f"Question {number}"), ("assistant", f"Answer {number}."))
    ]


def test_what_the_guard_does_beneath_is_told_to_its_sinks(app: MakeApplication) -> None:
    application = app(["Hello"])
    run = application.turn("Hi")

    (started,) = [event for event in application.events if isinstance(event, RunStarted)]

    assert (started.run_id, started.thread_id) == (run.id, run.thread_id)
