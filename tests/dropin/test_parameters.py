"""What request bodies may hold: every limit at its bound and one beyond it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistantguard._refusals import ApiProblem
from assistantguard.dropin import parameters
from assistantguard.dropin.parameters import ListQuery
from tests.dropin.samples import ASSISTANT
from tests.support.contract import contract_problems

Check = Callable[[Any], Any]

MODEL = {"model": "gpt-4o"}
RUN = {"assistant_id": "asst_1"}
SAID = {"role": "user", "content": "Hi"}

CHECKS: list[tuple[Check, dict[str, Any]]] = [
    (parameters.assistant_parameters, MODEL),
    (parameters.assistant_changes, {}),
    (parameters.thread_parameters, {}),
    (parameters.thread_changes, {}),
    (parameters.message_parameters, SAID),
    (parameters.message_changes, {}),
    (parameters.run_parameters, RUN),
    (parameters.run_changes, {}),
    (parameters.thread_and_run_parameters, RUN),
    (parameters.tool_outputs, {"tool_outputs": []}),
]
WITH_METADATA = [(check, least) for check, least in CHECKS if check is not parameters.tool_outputs]


def functions(number: int) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": f"f{position}"}} for position in range(number)]


def static(size: int, overlap: int) -> dict[str, Any]:
    chunking = {
        "type": "static",
        "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap},
    }
    return {"file_search": {"vector_stores": [{"file_ids": ["file_1"], "chunking_strategy": chunking}]}}


def search(**options: Any) -> list[dict[str, Any]]:
    return [{"type": "file_search", "file_search": options}]


def refused(check: Check, body: Any) -> ApiProblem:
    with pytest.raises(ApiProblem) as caught:
        check(body)
    assert caught.value.status == 400
    assert caught.value.kind == "invalid_request_error"
    return caught.value


BOUNDS: list[tuple[Check, dict[str, Any], str, Any, Any, str]] = [
    (parameters.assistant_parameters, MODEL, "name", "n" * 256, "n" * 257, "name"),
    (parameters.assistant_parameters, MODEL, "description", "d" * 512, "d" * 513, "description"),
    (parameters.assistant_parameters, MODEL, "instructions", "i" * 256_000, "i" * 256_001, "instructions"),
    (parameters.assistant_parameters, MODEL, "tools", functions(128), functions(129), "tools"),
    (parameters.assistant_parameters, MODEL, "temperature", 2, 2.001, "temperature"),
    (parameters.assistant_parameters, MODEL, "temperature", 0, -0.001, "temperature"),
    (parameters.assistant_parameters, MODEL, "top_p", 1, 1.001, "top_p"),
    (parameters.assistant_parameters, MODEL, "top_p", 0, -1, "top_p"),
    (
        parameters.assistant_parameters,
        MODEL,
        "tool_resources",
        {"code_interpreter": {"file_ids": [f"file_{number}" for number in range(20)]}},
        {"code_interpreter": {"file_ids": [f"file_{number}" for number in range(21)]}},
        "tool_resources.code_interpreter.file_ids",
    ),
    (
        parameters.thread_parameters,
        {},
        "tool_resources",
        {"file_search": {"vector_store_ids": ["vs_1"]}},
        {"file_search": {"vector_store_ids": ["vs_1", "vs_2"]}},
        "tool_resources.file_search.vector_store_ids",
    ),
    (
        parameters.thread_parameters,
        {},
        "tool_resources",
        {"file_search": {"vector_stores": [{}]}},
        {"file_search": {"vector_stores": [{}, {}]}},
        "tool_resources.file_search.vector_stores",
    ),
    (
        parameters.thread_parameters,
        {},
        "tool_resources",
        static(100, 50),
        static(99, 49),
        "tool_resources.file_search.vector_stores[0].chunking_strategy.static.max_chunk_size_tokens",
    ),
    (
        parameters.thread_parameters,
        {},
        "tool_resources",
        static(4096, 2048),
        static(4096, 2049),
        "tool_resources.file_search.vector_stores[0].chunking_strategy.static.chunk_overlap_tokens",
    ),
    (parameters.run_parameters, RUN, "tools", functions(20), functions(21), "tools"),
    (
        parameters.run_parameters,
        RUN,
        "tools",
        search(max_num_results=50),
        search(max_num_results=51),
        "tools[0].file_search.max_num_results",
    ),
    (
        parameters.run_parameters,
        RUN,
        "tools",
        search(ranking_options={"score_threshold": 1}),
        search(ranking_options={"score_threshold": 1.1}),
        "tools[0].file_search.ranking_options.score_threshold",
    ),
    (
        parameters.run_parameters,
        RUN,
        "tools",
        [{"type": "function", "function": {"name": "f" * 64}}],
        [{"type": "function", "function": {"name": "f" * 65}}],
        "tools[0].function.name",
    ),
    (parameters.run_parameters, RUN, "max_prompt_tokens", 256, 255, "max_prompt_tokens"),
    (parameters.run_parameters, RUN, "max_completion_tokens", 256, 255, "max_completion_tokens"),
    (
        parameters.run_parameters,
        RUN,
        "additional_instructions",
        "i" * 256_000,
        "i" * 256_001,
        "additional_instructions",
    ),
    (
        parameters.run_parameters,
        RUN,
        "truncation_strategy",
        {"type": "last_messages", "last_messages": 1},
        {"type": "last_messages", "last_messages": 0},
        "truncation_strategy.last_messages",
    ),
    (
        parameters.thread_and_run_parameters,
        RUN,
        "max_completion_tokens",
        256,
        255,
        "max_completion_tokens",
    ),
]


@pytest.mark.parametrize(("check", "least", "name", "fits", "beyond", "param"), BOUNDS)
def test_a_limit_is_kept(check: Check, least: dict[str, Any], name: str, fits: Any, beyond: Any, param: str) -> None:
    check({**least, name: fits})

    problem = refused(check, {**least, name: beyond})

    assert problem.param == param
    assert problem.message.startswith(f"Invalid '{param}': ")


@pytest.mark.parametrize(("check", "least"), WITH_METADATA)
def test_metadata_have_16_pairs_of_64_and_512_characters(check: Check, least: dict[str, Any]) -> None:
    pairs = {f"{number:064}": "v" * 512 for number in range(16)}

    check({**least, "metadata": pairs})

    assert refused(check, {**least, "metadata": {**pairs, "more": ""}}).param == "metadata"
    assert refused(check, {**least, "metadata": {"k" * 65: ""}}).param == "metadata." + "k" * 64
    assert refused(check, {**least, "metadata": {"k": "v" * 513}}).param == "metadata.k"
    assert refused(check, {**least, "metadata": {"k": 1}}).message == (
        "Invalid type for 'metadata.k': expected a string, but got an integer instead."
    )


@pytest.mark.parametrize(("check", "least"), CHECKS)
def test_an_unknown_parameter_is_refused_by_name(check: Check, least: dict[str, Any]) -> None:
    problem = refused(check, {**least, "file_ids": []})

    assert problem.message == "Unknown parameter: 'file_ids'."
    assert (problem.param, problem.code) == ("file_ids", "unknown_parameter")


@pytest.mark.parametrize(("check", "least"), CHECKS)
@pytest.mark.parametrize("body", ["text", [], 1, True])
def test_a_body_that_is_no_object_is_refused(check: Check, least: dict[str, Any], body: Any) -> None:
    assert "parse the JSON body" in refused(check, body).message


@pytest.mark.parametrize("check", [parameters.thread_parameters, parameters.thread_changes, parameters.run_changes])
def test_an_empty_body_asks_for_nothing(check: Check) -> None:
    assert check(None) == {}


@pytest.mark.parametrize(
    ("check", "body", "param"),
    [
        (parameters.assistant_parameters, None, "model"),
        (parameters.run_parameters, {}, "assistant_id"),
        (parameters.thread_and_run_parameters, {}, "assistant_id"),
        (parameters.message_parameters, {"content": "Hi"}, "role"),
        (parameters.message_parameters, {"role": "user"}, "content"),
        (parameters.tool_outputs, {}, "tool_outputs"),
        (parameters.tool_outputs, {"tool_outputs": [{"output": "a"}]}, "tool_outputs[0].tool_call_id"),
        (parameters.run_parameters, {**RUN, "tools": [{"function": {}}]}, "tools[0].type"),
        (parameters.run_parameters, {**RUN, "tools": [{"type": "function"}]}, "tools[0].function"),
        (parameters.run_parameters, {**RUN, "tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (
            parameters.run_parameters,
            {**RUN, "truncation_strategy": {"type": "last_messages"}},
            "truncation_strategy.last_messages",
        ),
        (parameters.run_parameters, {**RUN, "tool_choice": {"type": "function"}}, "tool_choice.function"),
        (
            parameters.run_parameters,
            {**RUN, "response_format": {"type": "json_schema"}},
            "response_format.json_schema",
        ),
        (parameters.message_parameters, {**SAID, "attachments": [{"file_id": "f"}]}, "attachments[0].tools"),
        (parameters.thread_parameters, {"messages": [{"role": "user"}]}, "messages[0].content"),
    ],
)
def test_what_is_missing_is_named(check: Check, body: Any, param: str) -> None:
    problem = refused(check, body)

    assert problem.message == f"Missing required parameter: '{param}'."
    assert (problem.param, problem.code) == (param, "missing_required_parameter")


@pytest.mark.parametrize(
    ("check", "body", "message"),
    [
        (
            parameters.message_parameters,
            {"role": "system", "content": "Hi"},
            "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
        ),
        (
            parameters.assistant_parameters,
            {**MODEL, "tools": [{"type": "retrieval"}]},
            "Invalid value: 'retrieval'. Supported values are: 'code_interpreter', 'file_search', and 'function'.",
        ),
        (
            parameters.run_parameters,
            {**RUN, "tool_choice": "any"},
            "Invalid value: 'any'. Supported values are: 'none', 'auto', and 'required'.",
        ),
        (parameters.message_parameters, {"role": "user", "content": ""}, "Message content must be non-empty."),
        (
            parameters.message_parameters,
            {"role": "user", "content": []},
            "Invalid 'content': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ),
        (
            parameters.message_parameters,
            {"role": "user", "content": 1},
            "Invalid type for 'content': expected one of a string or array of objects, but got an integer instead.",
        ),
        (parameters.assistant_parameters, {"model": " "}, "you must provide a model parameter"),
        (
            parameters.assistant_parameters,
            {"model": None},
            "Invalid type for 'model': expected a string, but got null instead.",
        ),
        (
            parameters.assistant_changes,
            {"tools": None},
            "Invalid type for 'tools': expected an array of objects, but got null instead.",
        ),
        (
            parameters.run_parameters,
            {**RUN, "temperature": "1"},
            "Invalid type for 'temperature': expected a decimal, but got a string instead.",
        ),
        (
            parameters.run_parameters,
            {**RUN, "temperature": float("nan")},
            "Invalid type for 'temperature': expected a decimal, but got a decimal instead.",
        ),
        (
            parameters.run_parameters,
            {**RUN, "max_prompt_tokens": 300.5},
            "Invalid type for 'max_prompt_tokens': expected an integer, but got a decimal instead.",
        ),
        (
            parameters.run_parameters,
            {**RUN, "parallel_tool_calls": 1},
            "Invalid type for 'parallel_tool_calls': expected a boolean, but got an integer instead.",
        ),
        (
            parameters.assistant_parameters,
            {**MODEL, "tools": [{"type": "function", "function": {"name": "f g"}}]},
            (
                "Invalid 'tools[0].function.name': string does not match pattern."
                " Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            ),
        ),
        (
            parameters.assistant_parameters,
            {**MODEL, "tools": [*functions(2), *functions(1)]},
            "Invalid 'tools[2].function.name': another function is named 'f0' already.",
        ),
        (
            parameters.assistant_parameters,
            {
                **MODEL,
                "tool_resources": {"file_search": {"vector_store_ids": ["vs_1"], "vector_stores": [{}]}},
            },
            "Invalid 'tool_resources.file_search': only one of 'vector_store_ids' and 'vector_stores' may be given.",
        ),
        (
            parameters.thread_changes,
            {"tool_resources": {"file_search": {"vector_stores": [{}]}}},
            "Unknown parameter: 'tool_resources.file_search.vector_stores'.",
        ),
        (
            parameters.thread_changes,
            {"tool_resources": {"code_interpreter": {"file_ids": [""]}}},
            (
                "Invalid 'tool_resources.code_interpreter.file_ids[0]': empty string."
                " Expected a string with minimum length 1, but got an empty string instead."
            ),
        ),
        (
            parameters.run_parameters,
            {**RUN, "reasoning_effort": "huge"},
            (
                "Invalid value: 'huge'. Supported values are:"
                " 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'."
            ),
        ),
    ],
)
def test_a_wrong_value_is_refused_in_the_apis_words(check: Check, body: Any, message: str) -> None:
    assert refused(check, body).message == message


def test_null_is_not_given_where_an_object_is_created_and_clears_where_one_is_changed() -> None:
    cleared = dict.fromkeys(ASSISTANT.keys() - {"model", "tools"})

    assert parameters.assistant_parameters({**MODEL, **cleared}) == MODEL
    assert parameters.assistant_changes(cleared) == cleared
    assert parameters.thread_changes({"metadata": None}) == {"metadata": None}
    assert parameters.run_parameters({**RUN, "model": None, "stream": None, "tools": None}) == RUN


def test_nulls_of_a_tool_that_was_read_and_sent_back_are_not_given() -> None:
    tools = [
        {"type": "function", "function": {"name": "f", "description": None, "parameters": None, "strict": None}},
        {"type": "file_search", "file_search": None},
    ]

    assert parameters.assistant_changes({"tools": tools}) == {
        "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "file_search"}]
    }


def test_an_assistant_with_everything_is_accepted_as_it_is() -> None:
    assert contract_problems("CreateAssistantRequest", ASSISTANT) == []
    assert parameters.assistant_parameters(ASSISTANT) == ASSISTANT


@pytest.mark.parametrize(
    "choice", ["none", "auto", "required", {"type": "file_search"}, {"type": "function", "function": {"name": "f"}}]
)
def test_every_tool_choice_is_accepted(choice: Any) -> None:
    assert parameters.run_parameters({**RUN, "tool_choice": choice})["tool_choice"] == choice


@pytest.mark.parametrize("value", ["auto", {"type": "text"}, {"type": "json_object"}, ASSISTANT["response_format"]])
def test_every_response_format_is_accepted(value: Any) -> None:
    assert parameters.run_parameters({**RUN, "response_format": value})["response_format"] == value


def test_a_message_of_all_parts_is_accepted_as_it_is() -> None:
    message = {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look."},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
            {"type": "image_file", "image_file": {"file_id": "file_1"}},
        ],
        "attachments": [{"file_id": "file_2", "tools": [{"type": "code_interpreter"}, {"type": "file_search"}]}],
        "metadata": {"a": "b"},
    }

    assert contract_problems("CreateMessageRequest", message) == []
    assert parameters.message_parameters(message) == message
    assert parameters.thread_parameters({"messages": [message]})["messages"] == [message]
    assert parameters.run_parameters({**RUN, "additional_messages": [message]})["additional_messages"] == [message]


def test_an_image_that_the_assistant_shows_cannot_be_served() -> None:
    part = {"type": "image_file", "image_file": {"file_id": "file_1"}}

    problem = refused(parameters.message_parameters, {"role": "assistant", "content": [part]})

    assert problem.code == "not_served_by_assistantguard"


def test_a_thread_and_its_run_are_told_apart() -> None:
    body = {
        **RUN,
        "thread": {"messages": [SAID], "tool_resources": {"code_interpreter": {"file_ids": ["file_1", "file_2"]}}},
        "tool_resources": {
            "code_interpreter": {"file_ids": ["file_2", "file_3"]},
            "file_search": {"vector_store_ids": ["vs_1"]},
        },
        "model": "gpt-4.1",
        "stream": True,
    }

    thread, run = parameters.thread_and_run_parameters(body)

    assert thread == {
        "messages": [SAID],
        "tool_resources": {
            "code_interpreter": {"file_ids": ["file_1", "file_2", "file_3"]},
            "file_search": {"vector_store_ids": ["vs_1"]},
        },
    }
    assert run == {**RUN, "model": "gpt-4.1", "stream": True}


def test_a_thread_is_not_given_two_stores() -> None:
    stores = {"file_search": {"vector_store_ids": ["vs_1"]}}
    other = {"file_search": {"vector_store_ids": ["vs_2"]}}

    thread, _ = parameters.thread_and_run_parameters(
        {**RUN, "thread": {"tool_resources": stores}, "tool_resources": stores}
    )
    problem = refused(
        parameters.thread_and_run_parameters, {**RUN, "thread": {"tool_resources": stores}, "tool_resources": other}
    )

    assert thread == {"tool_resources": stores}
    assert problem.code == "not_served_by_assistantguard"


def test_a_run_alone_has_no_resources() -> None:
    problem = refused(parameters.run_parameters, {**RUN, "tool_resources": {}})

    assert problem.message == "Unknown parameter: 'tool_resources'."


def test_tool_outputs_are_texts_and_may_be_streamed() -> None:
    outputs = [{"tool_call_id": "call_1", "output": "1"}, {"tool_call_id": "call_2"}]

    assert parameters.tool_outputs({"tool_outputs": outputs, "stream": True}) == (
        [{"tool_call_id": "call_1", "output": "1"}, {"tool_call_id": "call_2", "output": ""}],
        True,
    )
    assert parameters.tool_outputs({"tool_outputs": []}) == ([], False)
    assert refused(parameters.tool_outputs, {"tool_outputs": [{"tool_call_id": "c", "output": 1}]}).param == (
        "tool_outputs[0].output"
    )


def test_a_list_has_20_objects_newest_first_unless_asked_otherwise() -> None:
    assert parameters.list_query([]) == ListQuery(20, True, None, None, None)
    assert parameters.list_query(
        [("limit", "3"), ("order", "asc"), ("after", "a"), ("before", "b"), ("run_id", "run_1"), ("api-version", "1")]
    ) == ListQuery(3, False, "a", "b", "run_1")
    assert parameters.list_query([("order", "desc"), ("after", "")]) == ListQuery()


@pytest.mark.parametrize("text", ["1", "100"])
def test_a_page_has_1_to_100_objects(text: str) -> None:
    assert parameters.list_query([("limit", text)]).limit == int(text)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("limit", "0", "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead."),
        ("limit", "101", "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead."),
        ("limit", "few", "Invalid type for 'limit': expected an integer, but got a string instead."),
        ("order", "up", "Invalid value: 'up'. Supported values are: 'asc' and 'desc'."),
    ],
)
def test_a_wrong_query_is_refused_in_the_apis_words(name: str, text: str, message: str) -> None:
    problem = refused(parameters.list_query, [(name, text)])

    assert (problem.message, problem.param) == (message, name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted(
    {*ASSISTANT, "assistant_id", "role", "content", "attachments", "messages", "thread", "truncation_strategy"}
)
ALMOST = st.dictionaries(st.sampled_from([*NAMES, "tool_choice", "tool_outputs", "additional_messages", "type"]), JSON)


@settings(deadline=None)
@given(st.sampled_from([check for check, _ in CHECKS]), JSON | ALMOST)
def test_whatever_is_sent_is_accepted_or_refused_naming_the_parameter(check: Check, body: Any) -> None:
    with contextlib.suppress(ApiProblem):
        check(body)
        return

    problem = refused(check, body)
    assert problem.param is not None or not isinstance(body, dict)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"model": st.just("gpt-4o")},
        optional={name: st.just(value) | JSON for name, value in ASSISTANT.items() if name != "model"},
    )
)
def test_what_is_accepted_keeps_the_official_contract(body: dict[str, Any]) -> None:
    try:
        accepted = parameters.assistant_parameters(body)
    except ApiProblem:
        return

    assert contract_problems("CreateAssistantRequest", accepted) == []
