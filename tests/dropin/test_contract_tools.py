"""Runs that call the application's tools: what they wait for, what they take, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from assistantguard.sandbox import Answer, FileSearch, FunctionCall, ToolCalls
from tests.dropin.calling import LOOKUP, drives
from tests.dropin.conftest import MakeApplication

ONE = FunctionCall("lookup", {"order": "W1"}, "call_1")
TWO = FunctionCall("lookup", {"order": "W2"}, "call_2")
OTHER = FunctionCall("lookup", {"order": "W3"}, "call_3")


@drives("threads.runs.submit_tool_outputs")
def test_parallel_calls_are_waited_for_and_answered_together(app: MakeApplication) -> None:
    application = app([ToolCalls(ONE, TWO), "Both are shipped."])
    thread_id = application.thread("Where are W1 and W2?")
    run = application.run(thread_id, application.assistant(tools=[LOOKUP]))

    assert run.status == "requires_action"
    assert run.usage is None
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert [(call.id, call.type, call.function.name, call.function.arguments) for call in calls] == [
        ("call_1", "function", "lookup", '{"order": "W1"}'),
        ("call_2", "function", "lookup", '{"order": "W2"}'),
    ]
    (waiting,) = application.steps(run)
    assert (waiting.type, waiting.status) == ("tool_calls", "in_progress")
    assert [call.function.output for call in waiting.step_details.tool_calls] == [None, None]
    queued = application.beta.threads.runs.submit_tool_outputs(
        run.id,
        thread_id=thread_id,
        tool_outputs=[{"tool_call_id": "call_2", "output": "late"}, {"tool_call_id": "call_1", "output": "shipped"}],
    )

    assert (queued.status, queued.required_action, queued.expires_at) == ("queued", None, run.expires_at)
    ended = application.poll(run)
    assert (ended.status, ended.started_at) == ("completed", run.started_at)
    billing = application.sandbox.billing
    assert (ended.usage.prompt_tokens, ended.usage.completion_tokens) == (billing.input_tokens, billing.output_tokens)
    called, said = application.steps(ended)
    assert (called.status, said.type, said.status) == ("completed", "message_creation", "completed")
    assert [call.function.output for call in called.step_details.tool_calls] == ["shipped", "late"]
    assert called.usage.total_tokens + said.usage.total_tokens == ended.usage.total_tokens
    assert application.texts(thread_id) == [("user", "Where are W1 and W2?"), ("assistant", "Both are shipped.")]
    assert {(one["call_id"], one["output"]) for one in _outputs_sent(application.requests()[1])} == {
        ("call_1", "shipped"),
        ("call_2", "late"),
    }


@drives("threads.runs.submit_tool_outputs_and_poll")
def test_tools_are_called_in_a_loop_until_the_model_is_done(app: MakeApplication) -> None:
    application = app([ONE, ToolCalls(TWO, OTHER), "Done."])
    thread_id = application.thread("Where are they?")
    run = application.run(thread_id, application.assistant(tools=[LOOKUP]))
    asked = []

    while run.status == "requires_action":
        asked.append([call.id for call in run.required_action.submit_tool_outputs.tool_calls])
        run = application.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id, thread_id=thread_id, tool_outputs=application.outputs(run)
        )

    assert asked == [["call_1"], ["call_2", "call_3"]]
    assert run.status == "completed"
    assert [step.type for step in application.steps(run)] == ["tool_calls", "tool_calls", "message_creation"]
    assert run.usage.total_tokens == application.sandbox.billing.totals.total_tokens
    assert application.sandbox.billing.requests == 3


def test_what_the_model_says_beside_its_calls_is_a_message_of_its_own(app: MakeApplication) -> None:
    application = app([Answer("Let me look.", tool_calls=[ONE]), "It is shipped."])
    thread_id = application.thread("Where is it?")
    run = application.run(thread_id, application.assistant(tools=[LOOKUP]))

    assert application.texts(thread_id) == [("user", "Where is it?"), ("assistant", "Let me look.")]
    run = application.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread_id, tool_outputs=application.outputs(run)
    )

    assert [step.type for step in application.steps(run)] == ["message_creation", "tool_calls", "message_creation"]
    assert application.texts(thread_id, run_id=run.id) == [
        ("assistant", "Let me look."),
        ("assistant", "It is shipped."),
    ]


@pytest.mark.parametrize(
    "got", [[], ["call_1"], ["call_1", "call_2", "call_3"], ["call_1", "call_1"], ["call_x", "call_2"]]
)
def test_outputs_that_are_not_those_of_all_calls_are_refused_and_the_run_waits_on(
    app: MakeApplication, got: list[str]
) -> None:
    application = app([ToolCalls(ONE, TWO), "Done."])
    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))

    message = application.refusal(
        lambda: application.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": one, "output": "x"} for one in got]
        )
    )

    assert message == f"Expected tool outputs for call_ids ['call_1', 'call_2'], got {got}"
    assert application.get(run) == run
    ended = application.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=application.outputs(run)
    )
    assert ended.status == "completed"


def test_outputs_are_taken_once(app: MakeApplication, begin: Any) -> None:
    application = app([ONE, "Done."])
    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))

    def submit() -> Any:
        return application.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=run.thread_id, tool_outputs=application.outputs(run)
        )

    begin.clear()
    submit()
    queued = application.refusal(submit)
    begin.set()
    assert application.poll(run).status == "completed"
    completed = application.refusal(submit)

    assert queued == 'Runs in status "queued" do not accept tool outputs.'
    assert completed == 'Runs in status "completed" do not accept tool outputs.'
    assert application.sandbox.billing.requests == 2


def test_while_a_run_waits_for_outputs_its_thread_is_locked(app: MakeApplication) -> None:
    application = app([ONE, "Done."])
    assistant = application.assistant(tools=[LOOKUP])
    run = application.run(application.thread("Where?"), assistant)

    assert application.refusal(lambda: application.say(run.thread_id, "x")) == (
        f"Can't add messages to {run.thread_id} while a run {run.id} is active."
    )
    assert application.refusal(lambda: application.run(run.thread_id, assistant)) == (
        f"Thread {run.thread_id} already has an active run {run.id}."
    )


def test_a_run_is_cancelled_while_it_waits_for_outputs_and_the_thread_goes_on(app: MakeApplication) -> None:
    application = app([ToolCalls(ONE, TWO), "Hello again."])
    assistant = application.assistant(tools=[LOOKUP])
    run = application.run(application.thread("Where?"), assistant)

    cancelled = application.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)

    assert cancelled.status in {"cancelling", "cancelled"}
    ended = application.poll(run)
    assert (ended.status, ended.required_action) == ("cancelled", None)
    (step,) = application.steps(run)
    assert (step.status, step.cancelled_at is not None) == ("cancelled", True)
    message = application.refusal(
        lambda: application.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=run.thread_id, tool_outputs=application.outputs(run)
        )
    )
    assert message == 'Runs in status "cancelled" do not accept tool outputs.'
    application.say(run.thread_id, "Again")
    again = application.run(run.thread_id, assistant)
    assert again.status == "completed"
    assert again.last_error is None


def test_a_run_that_was_cancelled_at_its_tools_tells_what_it_used(app: MakeApplication) -> None:
    application = app([ONE])
    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))
    application.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)

    ended = application.poll(run)

    billing = application.sandbox.billing
    assert ended.usage is not None
    assert (ended.usage.prompt_tokens, ended.usage.completion_tokens) == (billing.input_tokens, billing.output_tokens)


def test_an_output_may_be_left_out_and_is_empty_then(app: MakeApplication) -> None:
    application = app([ONE, "Done."])
    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))

    ended = application.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": "call_1"}]
    )

    assert ended.status == "completed"
    (output,) = _outputs_sent(application.requests()[1])
    assert output["output"] == ""


@pytest.mark.parametrize("arguments", ["{", "", '{"order": 7}', "[]", "null"])
def test_arguments_reach_the_application_as_the_model_wrote_them(app: MakeApplication, arguments: str) -> None:
    application = app([FunctionCall("lookup", arguments, "call_1"), "Done."])
    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))

    (call,) = run.required_action.submit_tool_outputs.tool_calls
    assert call.function.arguments == arguments
    ended = application.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=application.outputs(run)
    )
    assert ended.status == "completed"


def test_a_call_of_a_tool_that_nobody_declared_is_the_application_s_to_answer(app: MakeApplication) -> None:
    application = app([FunctionCall("unheard_of", {}, "call_1"), "Done."])

    run = application.run(application.thread("Where?"), application.assistant(tools=[LOOKUP]))

    assert run.status == "requires_action"
    assert run.required_action.submit_tool_outputs.tool_calls[0].function.name == "unheard_of"


@pytest.mark.parametrize("place", ["message", "thread", "assistant"])
def test_files_are_searched_wherever_they_were_attached(app: MakeApplication, place: str) -> None:
    found = Answer("Five days.", file_search=[FileSearch("refunds")])
    application = app([found])
    client = application.client
    uploaded = client.files.create(file=("terms.txt", b"Refunds take five days."), purpose="assistants")
    file_id = application.wait(uploaded).id
    tools: Any = [{"type": "file_search"}]
    resources: dict[str, Any] = {}
    if place == "assistant":
        store = application.wait(client.vector_stores.create(file_ids=[file_id]))
        resources = {"tool_resources": {"file_search": {"vector_store_ids": [store.id]}}}
    assistant = application.assistant(tools=tools, **resources)
    if place == "thread":
        thread_id = application.thread(tool_resources={"file_search": {"vector_stores": [{"file_ids": [file_id]}]}})
    else:
        thread_id = application.thread()
    attached: Any = {"attachments": [{"file_id": file_id, "tools": tools}]} if place == "message" else {}
    application.say(thread_id, "How long do refunds take?", **attached)

    run = application.run(thread_id, assistant)

    assert (run.status, run.last_error) == ("completed", None)
    searched, said = application.steps(run)
    assert searched.step_details.tool_calls[0].type == "file_search"
    assert (searched.type, said.type) == ("tool_calls", "message_creation")
    (tool,) = application.requests()[0]["tools"]
    assert (tool["type"], len(tool["vector_store_ids"]), tool["max_num_results"]) == ("file_search", 1, 20)


def test_files_are_not_searched_by_a_run_without_the_tool(app: MakeApplication) -> None:
    application = app([Answer("Five days.", file_search=[FileSearch("refunds")]), "Hello."])
    uploaded = application.client.files.create(file=("terms.txt", b"Refunds take five days."), purpose="assistants")
    tools: Any = [{"type": "file_search"}]
    attachments = [{"file_id": application.wait(uploaded).id, "tools": tools}]
    thread_id = application.thread()
    application.say(thread_id, "How long do refunds take?", attachments=attachments)
    application.run(thread_id, application.assistant(tools=tools))
    application.say(thread_id, "Hello")

    assert application.run(thread_id, application.assistant()).status == "completed"

    with_tool, without = application.requests()
    assert [tool["type"] for tool in with_tool["tools"]] == ["file_search"]
    assert not without.get("tools")


def test_what_a_file_search_found_is_shown_where_it_is_asked_for(app: MakeApplication) -> None:
    application = app([Answer("Five days.", file_search=[FileSearch("refunds")])])
    client = application.client
    uploaded = client.files.create(file=("terms.txt", b"Refunds take five days."), purpose="assistants")
    tools: Any = [{"type": "file_search"}]
    thread_id = application.thread()
    application.say(thread_id, "How long?", attachments=[{"file_id": application.wait(uploaded).id, "tools": tools}])
    run = application.run(thread_id, application.assistant(tools=tools))
    runs = application.beta.threads.runs
    wanted = "step_details.tool_calls[*].file_search.results[*].content"

    listed = runs.steps.list(run.id, thread_id=thread_id, order="asc", include=[wanted]).data[0]
    retrieved = runs.steps.retrieve(listed.id, thread_id=thread_id, run_id=run.id, include=[wanted])
    plain = runs.steps.retrieve(listed.id, thread_id=thread_id, run_id=run.id)

    assert retrieved == listed
    (result,) = listed.step_details.tool_calls[0].file_search.results
    assert result.content[0].text == "Refunds take five days."
    assert result.file_name == "terms.txt"
    assert plain.step_details.tool_calls[0].file_search.results[0].content is None


def _outputs_sent(body: Any) -> list[Any]:
    return [item for item in body["input"] if item["type"] == "function_call_output"]
