"""What goes on to the Responses API, and what comes back of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import responses
from pydantic import TypeAdapter

from assistantguard._refusals import ApiProblem
from assistantguard.dropin import objects, parameters
from assistantguard.dropin.engines import CONFIGURING
from assistantguard.dropin.limits import limits_of
from assistantguard.dropin.translation import (
    assistant_for,
    attached_files,
    content_annotation,
    input_item,
    refusal_content,
    text_content,
)
from assistantguard.models import Assistant
from assistantguard.tools import Toolbox
from tests.dropin.samples import ASSISTANT, FUNCTION, NOW, assistant, run, strictly_read, thread
from tests.support.contract import contract_problems

IMAGES = [
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
    {"type": "image_file", "image_file": {"file_id": "file_1"}},
]


def translated(
    of: dict[str, Any] | None = None, where: dict[str, Any] | None = None, files: list[str] | None = None, **named: Any
) -> Assistant:
    own = assistant() if of is None else of
    return assistant_for(run(own, **named), own, thread() if where is None else where, files=files or [])


def message(content: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return objects.new_message("msg_1", NOW, "thread_1", {"role": role, "content": content, **more})


def test_a_plain_assistant_names_no_more_than_its_model() -> None:
    assert translated() == Assistant("gpt-4o", tools=[])


def test_an_assistants_settings_go_on_in_the_words_of_responses() -> None:
    answering = translated(assistant(**ASSISTANT), metadata={"a": "b"}, parallel_tool_calls=False)

    assert answering == Assistant(
        "gpt-4o",
        instructions="Be kind.",
        tools=[
            {
                "type": "function",
                "name": "lookup",
                "description": "Look an order up.",
                "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
                "strict": True,
            },
            {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file_1"]}},
            {
                "type": "file_search",
                "vector_store_ids": ["vs_1"],
                "max_num_results": 7,
                "ranking_options": {"ranker": "auto", "score_threshold": 0.5},
            },
        ],
        name="Shop",
        temperature=0.2,
        top_p=0.9,
        reasoning_effort="low",
        response_format={"type": "json_schema", "name": "order", "schema": {"type": "object"}, "strict": False},
        parallel_tool_calls=False,
        metadata={"a": "b"},
        extra_body={"include": ["file_search_call.results", "code_interpreter_call.outputs"]},
    )


def test_what_a_run_overrides_goes_on() -> None:
    answering = translated(
        assistant(**ASSISTANT),
        model="gpt-4.1",
        instructions="Other.",
        additional_instructions="More.",
        tools=[],
        temperature=0,
        max_completion_tokens=300,
        reasoning_effort="high",
        response_format={"type": "text"},
    )

    assert (answering.model, answering.instructions, answering.tools) == ("gpt-4.1", "Other.\nMore.", [])
    assert (answering.temperature, answering.max_output_tokens, answering.reasoning_effort) == (0, 300, "high")
    assert answering.response_format == {"type": "text"}


def test_a_function_is_not_made_strict_where_nobody_asked_for_it() -> None:
    tools = translated(tools=[{"type": "function", "function": {"name": "f"}}]).tools

    assert tools == [
        {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
    ]


def test_the_guards_toolbox_takes_the_tools_as_they_are() -> None:
    tools = translated(assistant(**ASSISTANT)).tools

    assert Toolbox(tools).schemas == tools


@pytest.mark.parametrize("kind", ["file_search", "code_interpreter"])
def test_a_run_reads_what_its_assistant_and_its_thread_have(kind: str) -> None:
    names = {"file_search": "vector_store_ids", "code_interpreter": "file_ids"}
    own = assistant(tools=[{"type": kind}], tool_resources={kind: {names[kind]: ["a"]}})
    where = thread(tool_resources={kind: {names[kind]: ["b"]}})

    (both,) = translated(own, where).tools
    (same,) = translated(own, thread(tool_resources=own["tool_resources"])).tools

    assert isinstance(both, dict)
    assert isinstance(same, dict)
    assert both.get("container", both)[names[kind]] == ["a", "b"]
    assert same.get("container", same)[names[kind]] == ["a"]


def test_file_search_without_a_store_is_left_out_and_cannot_be_chosen() -> None:
    answering = translated(tools=[{"type": "file_search"}, FUNCTION], tool_choice={"type": "file_search"})

    assert [tool["type"] for tool in answering.tools if isinstance(tool, dict)] == ["function"]
    assert answering.tool_choice is None


@pytest.mark.parametrize(("model", "results"), [("gpt-4o", 20), ("gpt-3.5-turbo-0125", 5)])
def test_file_search_finds_as_many_chunks_as_it_did(model: str, results: int) -> None:
    where = thread(tool_resources={"file_search": {"vector_store_ids": ["vs_1"]}})

    assert translated(assistant(model=model), where, tools=[{"type": "file_search"}]).tools == [
        {"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": results}
    ]


def test_the_code_interpreter_has_a_container_without_files_too() -> None:
    assert translated(tools=[{"type": "code_interpreter"}] * 2).tools == [
        {"type": "code_interpreter", "container": {"type": "auto"}}
    ]


def test_a_container_takes_50_files() -> None:
    own = assistant(tools=[{"type": "code_interpreter"}], tool_resources={"code_interpreter": {"file_ids": ["a"]}})
    files = [f"file_{number}" for number in range(49)]

    (tool,) = translated(own, files=[*files, "a"]).tools
    with pytest.raises(ApiProblem) as caught:
        translated(own, files=[*files, "one more"])

    assert isinstance(tool, dict)
    assert tool["container"]["file_ids"] == ["a", *files]
    assert caught.value.code == "not_served_by_assistantguard"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", None),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "lookup"}}, {"type": "function", "name": "lookup"}),
        ({"type": "code_interpreter"}, {"type": "code_interpreter"}),
    ],
)
def test_a_tool_choice_goes_on(choice: Any, told: Any) -> None:
    assert translated(assistant(**ASSISTANT), tool_choice=choice).tool_choice == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("auto", None),
        ({"type": "text"}, {"type": "text"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "o", "strict": None}},
            {"type": "json_schema", "name": "o", "schema": {}},
        ),
    ],
)
def test_a_response_format_goes_on(value: Any, told: Any) -> None:
    assert translated(response_format=value).response_format == told


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_a_default_is_left_to_the_api(name: str) -> None:
    own, where = assistant(), thread()

    assert getattr(assistant_for(run(own, **{name: 1}), own, where), name) is None
    assert getattr(assistant_for(run(own, **{name: 0}), own, where), name) == 0


def test_what_goes_on_keeps_the_parameter_types_of_responses() -> None:
    answering = translated(assistant(**ASSISTANT), tool_choice={"type": "function", "function": {"name": "lookup"}})

    body = {
        "model": answering.model,
        "tools": answering.tools,
        "tool_choice": answering.tool_choice,
        "text": {"format": answering.response_format},
        "input": [input_item(message("Hi")), input_item(message("Ho", "assistant"))],
    }

    assert contract_problems("CreateResponse", body) == []


def test_a_users_message_becomes_an_input_item() -> None:
    assert input_item(message([{"type": "text", "text": "Look."}, *IMAGES])) == {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "Look."},
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"},
            {"type": "input_image", "file_id": "file_1", "detail": "auto"},
        ],
    }


def test_an_assistants_message_becomes_one_text() -> None:
    body = message([{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}], "assistant")
    body["content"] += [*IMAGES, *refusal_content("No.")]

    assert input_item(body) == {"type": "message", "role": "assistant", "content": "One.\nTwo.\nNo."}


@pytest.mark.parametrize(
    "body",
    [message("Hi"), message([{"type": "text", "text": "Look."}, *IMAGES]), message("Ho", "assistant"), message([])],
)
def test_an_input_item_keeps_the_official_contract_and_the_sdks_type(body: dict[str, Any]) -> None:
    item = input_item(body)

    read = TypeAdapter(responses.EasyInputMessageParam).validate_json(json.dumps(item), strict=True)
    assert read.keys() == item.keys()
    assert contract_problems("InputItem", item) == []


def test_text_has_the_annotations_that_have_a_counterpart_and_marks_where_it_cites() -> None:
    text = "See [plot](sandbox:/plot.png)."
    annotations = [
        {
            "type": "container_file_citation",
            "container_id": "cntr_1",
            "file_id": "cfile_1",
            "filename": "plot.png",
            "start_index": 11,
            "end_index": 28,
        },
        {"type": "file_citation", "file_id": "file_1", "filename": "a.txt", "index": 4},
        {"type": "file_citation", "file_id": "file_2", "filename": "b.txt", "index": len(text)},
        {"type": "url_citation", "url": "https://example.com", "title": "T", "start_index": 0, "end_index": 1},
    ]

    (block,) = text_content(text, annotations)

    value = block["text"]["value"]
    assert value == "See 【0†source】[plot](sandbox:/plot.png).【1†source】"
    shown = block["text"]["annotations"]
    assert [value[one["start_index"] : one["end_index"]] for one in shown] == [one["text"] for one in shown]
    assert [(one["type"], one["text"]) for one in shown] == [
        ("file_path", "sandbox:/plot.png"),
        ("file_citation", "【0†source】"),
        ("file_citation", "【1†source】"),
    ]
    assert [one.get("file_citation") for one in shown[1:]] == [{"file_id": "file_1"}, {"file_id": "file_2"}]
    assert strictly_read(message([block], "assistant")).content[0].text.value == value


def test_annotations_may_be_the_sdks_objects() -> None:
    source = {"type": "file_citation", "file_id": "file_1", "filename": "a.txt", "index": 2}
    annotation: Any = TypeAdapter(responses.response_output_text.Annotation).validate_python(source)

    assert content_annotation("Hello", annotation) == content_annotation("Hello", source)


@pytest.mark.parametrize("annotation", [{}, {"type": "file_citation"}, {"type": "other", "file_id": "f"}, None])
def test_an_annotation_of_another_shape_is_left_out(annotation: Any) -> None:
    assert text_content("Hi", [annotation]) == [{"type": "text", "text": {"value": "Hi", "annotations": []}}]


def test_the_files_that_messages_bring_to_a_tool_are_found_once_each() -> None:
    code, search = {"type": "code_interpreter"}, {"type": "file_search"}
    messages = [
        message(
            "Hi", attachments=[{"file_id": "file_2", "tools": [search, code]}, {"file_id": "x", "tools": [search]}]
        ),
        message("Hi", attachments=[{"file_id": "file_1", "tools": [code]}, {"file_id": "y", "tools": []}]),
        {**message("Hi"), "attachments": None},
    ]

    assert attached_files(messages, "code_interpreter") == ["file_2", "file_1"]
    assert attached_files(messages, "file_search") == ["file_2", "x"]


PARTS = st.lists(st.sampled_from([{"type": "text", "text": "Look."}, *IMAGES]), min_size=1, max_size=4)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20) | PARTS)
def test_no_part_of_a_users_message_is_lost(content: Any) -> None:
    body = objects.new_message(
        "msg_1", NOW, "thread_1", parameters.message_parameters({"role": "user", "content": content})
    )

    sent = input_item(body)["content"]

    assert len(sent) == (1 if isinstance(content, str) else len(content))
    if isinstance(content, str):
        assert sent == [{"type": "input_text", "text": content}]


def test_a_run_goes_on_without_its_assistant() -> None:
    own = assistant(**ASSISTANT)
    where = thread(tool_resources={"file_search": {"vector_store_ids": ["vs_2"]}})

    answering = assistant_for(run(own), {}, where)

    assert (answering.model, answering.instructions, answering.name) == ("gpt-4o", "Be kind.", None)
    assert [tool.get("vector_store_ids") for tool in answering.tools if isinstance(tool, dict)][-1] == ["vs_2"]


class Read(dict[str, Any]):
    """A body that notes what was read of it."""

    def __init__(self, body: Any) -> None:
        super().__init__(body)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def test_an_engine_is_kept_by_all_that_configures_it() -> None:
    own = assistant(tools=[FUNCTION, {"type": "file_search"}, {"type": "code_interpreter"}])
    bodies = Read(run(own, max_prompt_tokens=500)), Read(own), Read(thread())
    assistant_for(*bodies)
    limits_of(bodies[0])
    assert [body.names for body in bodies] == [set(CONFIGURING), {"name", "tool_resources"}, {"tool_resources"}]
