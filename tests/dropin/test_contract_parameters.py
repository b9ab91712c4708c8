"""What a run is told reaches the request that the model gets."""

from __future__ import annotations

from typing import Any

import pytest

from assistantguard.sandbox import FunctionCall
from tests.dropin.calling import LOOKUP, Application
from tests.dropin.conftest import MakeApplication

SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
JSON_SCHEMA = {"name": "a", "schema": SCHEMA, "strict": True}
SENT_TOOL = {"type": "function", **LOOKUP["function"], "strict": False}


@pytest.mark.parametrize(
    ("of_assistant", "of_run", "sent"),
    [
        ({}, {}, {"model": "gpt-6-luna", "instructions": "Be kind.", "temperature": None, "top_p": None, "text": None}),
        ({}, {"model": "gpt-5-mini"}, {"model": "gpt-5-mini"}),
        ({}, {"instructions": "Be brief."}, {"instructions": "Be brief."}),
        ({}, {"additional_instructions": "Rhyme."}, {"instructions": "Be kind.\nRhyme."}),
        (
            {},
            {"instructions": "Be brief.", "additional_instructions": "Rhyme."},
            {"instructions": "Be brief.\nRhyme."},
        ),
        ({"temperature": 0.2, "top_p": 0.9}, {}, {"temperature": 0.2, "top_p": 0.9}),
        ({"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.4, "top_p": 0.8}, {"temperature": 0.4, "top_p": 0.8}),
        ({"temperature": 0.2}, {"temperature": 0}, {"temperature": 0}),
        ({"tools": [LOOKUP]}, {}, {"tools": [SENT_TOOL], "tool_choice": None, "parallel_tool_calls": None}),
        ({"tools": [LOOKUP]}, {"tools": []}, {"tools": None}),
        ({}, {"tools": [LOOKUP]}, {"tools": [SENT_TOOL]}),
        ({"tools": [LOOKUP]}, {"tool_choice": "none"}, {"tool_choice": "none"}),
        ({"tools": [LOOKUP]}, {"tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"tools": [LOOKUP]},
            {"tool_choice": {"type": "function", "function": {"name": "lookup"}}},
            {"tool_choice": {"type": "function", "name": "lookup"}},
        ),
        ({"tools": [LOOKUP]}, {"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"reasoning_effort": "low"}, {}, {"reasoning": {"effort": "low"}}),
        ({}, {"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}),
        ({"response_format": {"type": "json_object"}}, {}, {"text": {"format": {"type": "json_object"}}}),
        (
            {"response_format": {"type": "json_object"}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
                }
            },
            {"text": {"format": {"type": "json_schema", **JSON_SCHEMA}}},
        ),
    ],
)
def test_settings_reach_the_model(
    app: MakeApplication, of_assistant: dict[str, Any], of_run: dict[str, Any], sent: dict[str, Any]
) -> None:
    application = app(["Hello in JSON"])
    run = application.run(application.thread("Answer in JSON"), application.assistant(**of_assistant), **of_run)

    (request,) = application.requests()

    assert (run.status, run.last_error) == ("completed", None)
    assert {name: request.get(name) for name in sent} == sent
    shown = {name: value for name, value in of_run.items() if name not in {"additional_instructions", "instructions"}}
    told = run.to_dict()
    assert {name: told[name] for name in shown} == shown


def test_the_run_s_metadata_reach_the_server_and_the_assistant_s_stay(app: MakeApplication) -> None:
    application = app(["Hello"])

    application.run(application.thread("Hi"), application.assistant(metadata={"a": "b"}), metadata={"c": "d"})

    (request,) = application.requests()
    assert request["metadata"]["c"] == "d"
    assert "a" not in request["metadata"]


def test_additional_messages_are_part_of_the_thread_and_read_by_the_model(app: MakeApplication) -> None:
    application = app(["Hello"])
    thread_id = application.thread("One")

    run = application.run(
        thread_id,
        application.assistant(),
        additional_messages=[
            {"role": "assistant", "content": "Two"},
            {"role": "user", "content": "Three", "metadata": {"a": "b"}},
        ],
    )

    assert run.status == "completed"
    assert application.texts(thread_id) == [
        ("user", "One"),
        ("assistant", "Two"),
        ("user", "Three"),
        ("assistant", "Hello"),
    ]
    assert [item["role"] for item in application.requests()[0]["input"]] == ["user", "assistant", "user"]


def test_files_of_additional_messages_are_searched(app: MakeApplication) -> None:
    application = app(["Five days."])
    file_id = _file(application)
    search: Any = [{"type": "file_search"}]

    run = application.run(
        application.thread(),
        application.assistant(tools=search),
        additional_messages=[
            {"role": "user", "content": "How long?", "attachments": [{"file_id": file_id, "tools": search}]}
        ],
    )

    assert run.status == "completed"
    assert len(application.requests()[0]["tools"][0]["vector_store_ids"]) == 1


@pytest.mark.parametrize("place", ["message", "additional message", "thread", "assistant"])
def test_the_code_interpreter_has_the_files_that_were_given_to_it(app: MakeApplication, place: str) -> None:
    application = app(["42"])
    file_id, code = _file(application), [{"type": "code_interpreter"}]
    attached: Any = {"attachments": [{"file_id": file_id, "tools": code}]}
    resources: Any = {"tool_resources": {"code_interpreter": {"file_ids": [file_id]}}}
    assistant = application.assistant(tools=code, **(resources if place == "assistant" else {}))
    thread_id = application.thread(**(resources if place == "thread" else {}))
    application.say(thread_id, "Add them up.", **(attached if place == "message" else {}))
    more: Any = [{"role": "user", "content": "These.", **attached}] if place == "additional message" else None

    run = application.run(thread_id, assistant, **({} if more is None else {"additional_messages": more}))

    assert (run.status, run.last_error) == ("completed", None)
    assert application.requests()[0]["tools"] == [
        {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [file_id]}}
    ]


def test_max_completion_tokens_bound_the_whole_run_and_end_it_incomplete(app: MakeApplication) -> None:
    application = app(["word " * 2_000])

    run = application.turn("Tell me a long story.", max_completion_tokens=256)

    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert run.max_completion_tokens == 256
    assert run.usage.completion_tokens <= 256
    assert application.requests()[0]["max_output_tokens"] == 256
    (message,) = application.beta.threads.messages.list(run.thread_id, run_id=run.id).data
    assert (message.status, message.incomplete_details.reason) == ("incomplete", "max_tokens")
    application.say(run.thread_id, "Go on.")


def test_what_is_left_of_max_completion_tokens_is_what_the_next_request_gets(app: MakeApplication) -> None:
    application = app([FunctionCall("lookup", {"order": "W1"}, "call_1"), "It is shipped."])
    run = application.run(
        application.thread("Where?"), application.assistant(tools=[LOOKUP]), max_completion_tokens=300
    )
    first = application.sandbox.billing.output_tokens

    run = application.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=application.outputs(run)
    )

    assert run.status == "completed"
    assert [request["max_output_tokens"] for request in application.requests()] == [300, 300 - first]


def test_max_prompt_tokens_end_a_run_before_it_reads_more(app: MakeApplication) -> None:
    application = app(["Hello"])

    run = application.run(application.thread("word " * 1_000), application.assistant(), max_prompt_tokens=256)

    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert application.sandbox.billing.requests == 0
    assert application.run(run.thread_id, application.assistant()).status == "completed"


@pytest.mark.parametrize("limit", ["max_prompt_tokens", "max_completion_tokens"])
def test_a_limit_below_256_is_refused(app: MakeApplication, limit: str) -> None:
    application = app(["Hello"])

    message = application.refusal(lambda: application.turn("Hi", **{limit: 255}))

    assert message == f"Invalid '{limit}': integer below minimum value. Expected a value >= 256, but got 255 instead."


def test_last_messages_are_all_that_the_model_reads(app: MakeApplication) -> None:
    application = app(["First.", "Second."])
    thread_id, assistant = application.thread("word " * 500), application.assistant()
    application.run(thread_id, assistant)
    application.say(thread_id, "Two")

    run = application.run(thread_id, assistant, truncation_strategy={"type": "last_messages", "last_messages": 1})

    assert (run.status, run.truncation_strategy.last_messages) == ("completed", 1)
    assert run.usage.prompt_tokens < 200
    assert len(application.texts(thread_id)) == 4


def _file(application: Application) -> str:
    uploaded = application.client.files.create(file=("terms.txt", b"Refunds take five days."), purpose="assistants")
    file_id: str = application.wait(uploaded).id
    return file_id
