"""Every object that the drop-in sends, against the SDK's own models and the official contract."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistantguard._refusals import ApiProblem
from assistantguard.dropin import objects, parameters
from assistantguard.dropin.translation import content_annotation, refusal_content, text_content
from assistantguard.models import ToolCall, Usage
from tests.dropin.samples import (
    ASSISTANT,
    FUNCTION,
    MODELS,
    NOW,
    SCHEMAS,
    assistant,
    broken,
    run,
    strictly_read,
    thread,
)
from tests.support.contract import contract_problems

CALLS = [ToolCall.of("call_1", "lookup", '{"order": "W1"}'), ToolCall.of("call_2", "lookup", "{")]
USAGE = Usage(100, 40, 0, 20, 5, 0, 2)
SECOND = int(NOW)
ENDS = {
    "completed": {},
    "failed": {"error": ("invalid_prompt", "No.")},
    "cancelled": {},
    "expired": {},
    "incomplete": {"incomplete_reason": "max_completion_tokens"},
}
MESSAGE = {
    "role": "user",
    "content": [
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_file", "image_file": {"file_id": "file_1", "detail": "low"}},
    ],
    "attachments": [{"file_id": "file_2", "tools": [{"type": "code_interpreter"}, {"type": "file_search"}]}],
    "metadata": {"a": "b"},
}


def every_object() -> Iterator[dict[str, Any]]:
    yield assistant()
    yield assistant(**ASSISTANT)
    yield objects.changed_assistant(assistant(**ASSISTANT), dict.fromkeys(ASSISTANT.keys() - {"model", "tools"}))
    yield thread()
    yield thread(tool_resources=ASSISTANT["tool_resources"], metadata={"a": "b"})
    yield objects.changed_thread(thread(metadata={"a": "b"}), {"metadata": None, "tool_resources": None})
    yield objects.new_message("msg_1", NOW, "thread_1", {"role": "user", "content": "Hi"})
    yield objects.new_message("msg_1", NOW, "thread_1", MESSAGE)
    begun = objects.new_message(
        "msg_1",
        NOW,
        "thread_1",
        {"role": "assistant", "content": []},
        assistant_id="asst_1",
        run_id="run_1",
        status="in_progress",
    )
    yield begun
    cited = text_content("As said.", [{"type": "file_citation", "file_id": "file_1", "index": 7}])
    yield objects.message_ended(begun, cited, NOW + 1)
    yield objects.message_ended(begun, refusal_content("No."), NOW + 1, incomplete_reason="run_cancelled")
    yield run()
    full = run(
        assistant(**ASSISTANT),
        model="gpt-4.1",
        instructions="Other.",
        additional_instructions="More.",
        tools=[FUNCTION],
        metadata={"a": "b"},
        temperature=1,
        top_p=0.5,
        max_prompt_tokens=256,
        max_completion_tokens=300,
        truncation_strategy={"type": "last_messages", "last_messages": 4},
        response_format={"type": "json_object"},
        tool_choice={"type": "function", "function": {"name": "lookup"}},
        parallel_tool_calls=False,
        reasoning_effort="high",
    )
    yield full
    going = objects.run_goes_on(full, NOW, "in_progress")
    yield going
    yield objects.run_goes_on(going, NOW, "cancelling")
    waiting = objects.run_requires(going, CALLS)
    yield waiting
    for status, more in ENDS.items():
        yield objects.run_ended(waiting, status, NOW + 2, usage=USAGE, **more)  # type: ignore[arg-type]  # by status
    yield objects.run_ended(going, "completed", NOW + 2)
    yield objects.message_step("step_1", NOW, full, "msg_1")
    yield objects.message_step("step_1", NOW, full, "msg_1", status="completed")
    calls = [
        objects.function_call(CALLS[0]),
        objects.function_call(CALLS[0], "sent"),
        {"id": "fs_1", "type": "file_search", "file_search": {"results": []}},
        {"id": "ci_1", "type": "code_interpreter", "code_interpreter": {"input": "1", "outputs": []}},
    ]
    step = objects.tool_calls_step("step_2", NOW, full, calls)
    yield step
    for status in ("completed", "failed", "cancelled", "expired"):
        yield objects.step_ended(step, status, NOW + 1, usage=USAGE, error=("invalid_prompt", "No."))
    for kind in ("assistant", "thread", "message"):
        yield objects.deleted(kind, f"{kind}_1")


EVERY_OBJECT = list(every_object())


def test_every_kind_of_object_is_made() -> None:
    assert {body["object"] for body in EVERY_OBJECT} == MODELS.keys() == SCHEMAS.keys()


@pytest.mark.parametrize("body", EVERY_OBJECT, ids=lambda body: body["object"])
def test_every_object_is_complete_and_validates_strictly_against_the_sdks_model(body: dict[str, Any]) -> None:
    assert strictly_read(body).id == body["id"]


@pytest.mark.parametrize("body", EVERY_OBJECT, ids=lambda body: body["object"])
def test_every_object_keeps_the_official_contract(body: dict[str, Any]) -> None:
    assert broken(body) == []


@pytest.mark.parametrize(
    ("schema", "listed"),
    [
        ("ListAssistantsResponse", [assistant(), assistant(name="Other")]),
        ("ListMessagesResponse", []),
        ("ListRunsResponse", [run()]),
    ],
)
def test_a_page_keeps_the_official_contract(schema: str, listed: list[dict[str, Any]]) -> None:
    page = objects.page(listed, True)

    assert contract_problems(schema, page) == []


def test_a_page_names_its_first_and_last_object() -> None:
    messages = [
        objects.new_message(f"msg_{number}", NOW, "thread_1", {"role": "user", "content": "Hi"}) for number in range(3)
    ]

    page = objects.page(messages, False)

    assert (page["first_id"], page["last_id"], page["has_more"]) == ("msg_0", "msg_2", False)


def test_an_assistant_has_the_apis_defaults() -> None:
    body = assistant()

    assert body["created_at"] == SECOND
    assert (body["temperature"], body["top_p"], body["response_format"]) == (1.0, 1.0, "auto")
    assert (body["name"], body["instructions"], body["tools"], body["metadata"]) == (None, None, [], {})
    assert body["tool_resources"] == {}
    assert "reasoning_effort" not in body


def test_null_sets_an_assistants_fields_back_and_leaves_the_others() -> None:
    full = assistant(**ASSISTANT)

    cleared = objects.changed_assistant(full, dict.fromkeys(ASSISTANT.keys() - {"model", "tools"}))

    assert cleared == {**assistant(model="gpt-4o"), "tools": ASSISTANT["tools"]}


def test_resources_are_replaced_tool_by_tool() -> None:
    changes: dict[str, Any] = {"tool_resources": {"file_search": {"vector_store_ids": ["vs_9"]}}}
    wanted = {"code_interpreter": {"file_ids": ["file_1"]}, "file_search": {"vector_store_ids": ["vs_9"]}}
    resources = ASSISTANT["tool_resources"]

    assert objects.changed_assistant(assistant(tool_resources=resources), changes)["tool_resources"] == wanted
    assert objects.changed_thread(thread(tool_resources=resources), changes)["tool_resources"] == wanted


def test_the_helper_that_makes_a_store_is_no_part_of_the_object() -> None:
    resources = {"file_search": {"vector_stores": [{"file_ids": ["file_1"]}]}}

    assert thread(tool_resources=resources)["tool_resources"] == {"file_search": {"vector_store_ids": []}}


@pytest.mark.parametrize(
    "change", [objects.changed_assistant, objects.changed_thread, objects.changed_message, objects.changed_run]
)
def test_metadata_are_replaced_or_emptied_or_left(change: Any) -> None:
    body = run(metadata={"a": "b"})

    assert change(body, {"metadata": {"c": "d"}})["metadata"] == {"c": "d"}
    assert change(body, {"metadata": None})["metadata"] == {}
    assert change(body, {}) == body


def test_a_message_of_plain_text_has_one_block() -> None:
    body = objects.new_message("msg_1", NOW, "thread_1", {"role": "user", "content": "Hi"})

    assert body["content"] == [{"type": "text", "text": {"value": "Hi", "annotations": []}}]
    assert (body["status"], body["completed_at"], body["attachments"]) == ("completed", SECOND, [])


def test_a_message_in_progress_ends_complete_or_not() -> None:
    begun = objects.new_message(
        "msg_1", NOW, "thread_1", {"role": "assistant", "content": []}, run_id="run_1", status="in_progress"
    )

    whole = objects.message_ended(begun, text_content("Hi"), NOW + 5)
    cut = objects.message_ended(begun, text_content("H"), NOW + 5, incomplete_reason="max_tokens")

    assert (begun["completed_at"], begun["incomplete_at"]) == (None, None)
    assert (whole["status"], whole["completed_at"], whole["incomplete_at"]) == ("completed", SECOND + 5, None)
    assert (cut["status"], cut["completed_at"], cut["incomplete_at"]) == ("incomplete", None, SECOND + 5)
    assert cut["incomplete_details"] == {"reason": "max_tokens"}


def test_a_run_inherits_from_its_assistant() -> None:
    body = run(assistant(**ASSISTANT))

    for name in ("model", "instructions", "tools", "temperature", "top_p", "response_format", "reasoning_effort"):
        assert body[name] == ASSISTANT[name]
    assert body["metadata"] == {}
    assert (body["status"], body["expires_at"]) == ("queued", SECOND + 600)
    assert body["truncation_strategy"] == {"type": "auto", "last_messages": None}
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("auto", True)


def test_a_run_has_what_its_request_names() -> None:
    named: dict[str, Any] = {
        "model": "gpt-4.1",
        "instructions": "",
        "tools": [],
        "temperature": 0,
        "top_p": 0,
        "response_format": "auto",
        "reasoning_effort": "none",
        "metadata": {"a": "b"},
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "max_prompt_tokens": 256,
        "max_completion_tokens": 257,
        "truncation_strategy": {"type": "last_messages", "last_messages": 1},
    }

    body = run(assistant(**ASSISTANT), **named)

    assert {name: body[name] for name in named} == named


@pytest.mark.parametrize(
    ("own", "override", "additional", "expected"),
    [
        (None, None, None, ""),
        ("A", None, None, "A"),
        ("A", "B", None, "B"),
        ("A", None, "C", "A\nC"),
        ("A", "B", "C", "B\nC"),
        (None, None, "C", "C"),
        ("A", "", "C", "C"),
    ],
)
def test_additional_instructions_follow_the_runs_own(
    own: str | None, override: str | None, additional: str | None, expected: str
) -> None:
    given = {"instructions": override, "additional_instructions": additional}
    named = {name: value for name, value in given.items() if value is not None}

    assert run(assistant(instructions=own), **named)["instructions"] == expected


def test_instructions_may_have_256_000_characters_with_the_additional_ones() -> None:
    most = assistant(instructions="a" * 255_998)

    assert len(run(most, additional_instructions="b")["instructions"]) == 256_000
    with pytest.raises(ApiProblem) as caught:
        run(most, additional_instructions="bb")
    assert (caught.value.status, caught.value.param) == (400, "additional_instructions")


def test_a_run_starts_once() -> None:
    going = objects.run_goes_on(run(), NOW + 1, "in_progress")
    again = objects.run_goes_on(objects.run_goes_on(going, NOW + 2, "queued"), NOW + 3, "in_progress")

    assert going["started_at"] == again["started_at"] == SECOND + 1


def test_a_run_that_waits_names_all_calls_and_forgets_them_as_it_goes_on() -> None:
    waiting = objects.run_requires(run(), CALLS)

    assert waiting["status"] == "requires_action"
    assert [call["function"] for call in waiting["required_action"]["submit_tool_outputs"]["tool_calls"]] == [
        {"name": "lookup", "arguments": '{"order": "W1"}'},
        {"name": "lookup", "arguments": "{"},
    ]
    assert objects.run_goes_on(waiting, NOW, "queued")["required_action"] is None


@pytest.mark.parametrize(
    ("status", "time"),
    [
        ("completed", "completed_at"),
        ("incomplete", "completed_at"),
        ("failed", "failed_at"),
        ("cancelled", "cancelled_at"),
        ("expired", None),
    ],
)
def test_a_run_that_ended_has_the_one_time_of_its_status(status: str, time: str | None) -> None:
    ended = objects.run_ended(objects.run_requires(run(), CALLS), status, NOW + 9)

    times = {name: ended[name] for name in ("completed_at", "failed_at", "cancelled_at") if ended[name] is not None}
    assert times == ({} if time is None else {time: SECOND + 9})
    assert ended["expires_at"] == (SECOND + 600 if status == "expired" else None)
    assert ended["required_action"] is None
    assert ended["usage"] is None


def test_a_run_that_ended_says_why() -> None:
    failed = objects.run_ended(run(), "failed", NOW, error=("rate_limit_exceeded", "Slow down."), usage=USAGE)
    cut = objects.run_ended(run(), "incomplete", NOW, incomplete_reason="max_prompt_tokens")

    assert failed["last_error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert failed["usage"]["total_tokens"] == 120
    assert cut["incomplete_details"] == {"reason": "max_prompt_tokens"}


@pytest.mark.parametrize(
    ("status", "time"),
    [
        ("completed", "completed_at"),
        ("failed", "failed_at"),
        ("cancelled", "cancelled_at"),
        ("expired", "expired_at"),
    ],
)
def test_a_step_that_ended_has_the_one_time_of_its_status(status: str, time: str) -> None:
    ended = objects.step_ended(objects.message_step("step_1", NOW, run(), "msg_1"), status, NOW + 9)

    names = ("completed_at", "failed_at", "cancelled_at", "expired_at")
    assert {name: ended[name] for name in names if ended[name] is not None} == {time: SECOND + 9}


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("rate_limit_exceeded", "rate_limit_exceeded"),
        ("server_error", "server_error"),
        ("invalid_prompt", "server_error"),
    ],
)
def test_a_step_knows_two_codes(code: str, told: str) -> None:
    step = objects.message_step("step_1", NOW, run(), "msg_1")

    assert objects.step_ended(step, "failed", NOW, error=(code, "No."))["last_error"]["code"] == told


def test_usage_is_told_with_its_details() -> None:
    assert objects.usage_object(USAGE) == {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_token_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }


def test_what_goes_in_is_never_changed() -> None:
    full = copy.deepcopy(ASSISTANT)
    body = assistant(**full)
    running = run(body)
    step = objects.tool_calls_step("step_1", NOW, running, [objects.function_call(CALLS[0])])
    message = objects.new_message("msg_1", NOW, "thread_1", MESSAGE)
    before = json.dumps([full, body, running, step, message])

    objects.changed_assistant(body, dict.fromkeys(ASSISTANT.keys() - {"model", "tools"}))
    objects.changed_thread(thread(), {"tool_resources": ASSISTANT["tool_resources"]})
    objects.run_ended(objects.run_requires(objects.run_goes_on(running, NOW, "in_progress"), CALLS), "failed", NOW)
    objects.step_ended(step, "completed", NOW, usage=USAGE, error=("a", "b"))
    objects.message_ended(message, [], NOW)

    assert json.dumps([full, body, running, step, message]) == before


def test_defaults_are_not_shared_between_objects() -> None:
    first = assistant()
    first["metadata"]["a"] = "b"
    cleared = objects.changed_assistant(assistant(), {"metadata": None, "tool_resources": None})
    cleared["metadata"]["a"] = "b"

    assert assistant()["metadata"] == {}
    assert objects.changed_assistant(assistant(), {"metadata": None})["metadata"] == {}


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
RUNS = st.fixed_dictionaries(
    {"assistant_id": st.just("asst_1")},
    optional={
        "model": st.sampled_from(["gpt-4o", "o3-mini"]),
        "instructions": TEXTS,
        "additional_instructions": TEXTS,
        "metadata": st.none() | st.dictionaries(TEXTS, TEXTS, max_size=16),
        "temperature": st.none() | st.floats(0, 2) | st.integers(0, 2),
        "top_p": st.none() | st.floats(0, 1),
        "max_prompt_tokens": st.none() | st.integers(256),
        "max_completion_tokens": st.none() | st.integers(256),
        "truncation_strategy": st.sampled_from(
            [
                None,
                {"type": "auto"},
                {"type": "auto", "last_messages": None},
                {"type": "last_messages", "last_messages": 3},
            ]
        ),
        "tool_choice": st.sampled_from(
            [None, "none", "required", {"type": "file_search"}, {"type": "function", "function": {"name": "f"}}]
        ),
        "tools": st.sampled_from([None, [], [{"type": "file_search", "file_search": None}], ASSISTANT["tools"]]),
        "parallel_tool_calls": st.booleans(),
        "response_format": st.sampled_from([None, "auto", {"type": "text"}, ASSISTANT["response_format"]]),
        "reasoning_effort": st.sampled_from([None, "none", "max"]),
        "stream": st.none() | st.booleans(),
    },
)


@settings(deadline=None)
@given(RUNS)
def test_whatever_request_is_accepted_gives_a_run_that_the_sdk_reads(request: dict[str, Any]) -> None:
    accepted = parameters.run_parameters(request)

    body = run(assistant(**ASSISTANT), **accepted)

    assert strictly_read(body).assistant_id == "asst_1"


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["file_citation", "container_file_citation", "file_path"]), st.integers(), st.integers())
def test_annotations_stay_within_their_text(text: str, kind: str, start: int, end: int) -> None:
    source = {"type": kind, "file_id": "file_1", "index": start, "start_index": start, "end_index": end}

    shown = content_annotation(text, source)

    assert shown is not None
    assert 0 <= shown["start_index"] <= shown["end_index"] <= len(text)
    assert shown["text"] == text[shown["start_index"] : shown["end_index"]]
