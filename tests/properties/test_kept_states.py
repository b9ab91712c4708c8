"""Threads and runs written as JSON and read again."""

from __future__ import annotations

import json
import typing
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard.models import RunState, ThreadState, ToolCall, Usage
from assistantguard.models.marks import mark_of, text_of
from assistantguard.storage.states import (
    NOT_KEPT,
    run_from_record,
    run_record,
    thread_from_record,
    thread_record,
    usage_from_record,
    usage_record,
)

State = ThreadState | RunState
KINDS: tuple[type[State], ...] = (ThreadState, RunState)
CONTENT = {"input", "tool_calls", "text", "backlog"}
"""Fields whose texts are left out."""

texts = st.text(max_size=12)
messages = st.builds(lambda text: {"type": "message", "role": "user", "content": text}, texts)
part_messages = st.builds(
    lambda parts: {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": text} for text in parts],
    },
    st.lists(texts, max_size=3),
)
outputs = st.builds(
    lambda call_id, text: {"type": "function_call_output", "call_id": call_id, "output": text}, texts, texts
)
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: st.integers(-(2**60), 2**60),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    type(None): st.none(),
    ToolCall: st.builds(ToolCall.of, texts, texts, st.one_of(texts, st.just('{"a": [1, "b"]}'))),
    dict[str, Any]: st.one_of(messages, part_messages, outputs),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Every value that a field of this type may have."""
    if hint in LEAVES:
        return LEAVES[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "__dataclass_fields__"):
        return whole(hint)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3)
    return st.one_of([values_of(each) for each in arguments])  # a union


def whole(kind: Any) -> st.SearchStrategy[Any]:
    """An object with a value for every field, those included that do not exist yet."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: values_of(hints[field.name]) for field in fields(kind)})


states = st.one_of(whole(ThreadState), whole(RunState))


def written(state: State, *, content: bool) -> Any:
    record = thread_record if isinstance(state, ThreadState) else run_record
    return json.loads(json.dumps(record(state, content=content)))  # type: ignore[arg-type]


def read(kind: type[State], record: Any) -> State:
    return thread_from_record(record) if kind is ThreadState else run_from_record(record)


@given(states)
def test_a_state_is_what_it_was(state: State) -> None:
    assert read(type(state), written(state, content=True)) == state


@given(states)
def test_without_content_all_else_is_what_it_was(state: State) -> None:
    again = read(type(state), written(state, content=False))
    for field in fields(state):
        if field.name not in CONTENT:
            assert getattr(again, field.name) == getattr(state, field.name), field.name
    name = "backlog" if isinstance(state, ThreadState) else "input"
    before, after = getattr(state, name), getattr(again, name)
    assert [mark_of(item) for item in after] == [mark_of(item) for item in before]
    assert [item.get("call_id") for item in after] == [item.get("call_id") for item in before]
    assert {text_of(item) for item in after} <= {"", NOT_KEPT}
    if isinstance(state, RunState) and isinstance(again, RunState):
        assert [(call.id, call.name) for call in again.tool_calls] == [
            (call.id, call.name) for call in state.tool_calls
        ]
        assert all(call.arguments == {} for call in again.tool_calls)
        assert again.text == ""


@given(states, st.booleans())
def test_what_was_kept_is_kept_again_as_it_is(state: State, content: bool) -> None:
    once = read(type(state), written(state, content=content))
    assert read(type(state), written(once, content=content)) == once


@given(whole(Usage))
def test_usage_is_what_it_was(usage: Usage) -> None:
    assert usage_from_record(json.loads(json.dumps(usage_record(usage)))) == usage


def filled(hint: Any, name: str) -> Any:
    """A value that says in each of its texts which field it is in."""
    told = f"<{name}>"
    leaves = {
        str: told,
        int: 7,
        float: 7.5,
        bool: True,
        Decimal: Decimal(7),
        ToolCall: ToolCall.of("call_1", "lookup", json.dumps({"order": told})),
        dict[str, Any]: {"type": "message", "role": "user", "content": told},
    }
    if hint in leaves:
        return leaves[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "__dataclass_fields__"):
        hints = typing.get_type_hints(hint)
        return hint(**{field.name: filled(hints[field.name], f"{name}.{field.name}") for field in fields(hint)})
    if origin is typing.Literal:
        return arguments[0]
    if origin is list:
        return [filled(arguments[0], name)]
    if origin is tuple:
        return (filled(arguments[0], name),)
    if origin is dict:
        return {told: filled(arguments[1], name)}
    return filled(arguments[0], name)


NO_CONTENT = {
    ThreadState: {
        *("id", "generation_id", "last_item_id", "file_ids", "vector_store_id", "unsettled", "at_work", "strays"),
        *(f"late.{name}" for name in ("hold_id", "response_id", "run_id", "model", "purpose", "marks")),
        *("user", "tenant", "name", "tags", "model", "answered_by", "read_by", "context_digest"),
    },
    RunState: {
        *("id", "thread_id", "model", "seen", "hold_id", "open_response_id", "doubtful", "key", "response_ids"),
        *("incomplete_reason", "last_error", "answer_item_id", "reasoning_effort", "service_tier"),
        *(f"in_flight.{name}" for name in ("purpose", "model", "generation_id", "marks", "service_tier")),
    },
}
"""Fields whose texts are ids, hashes or the application's own words: nothing that a user, a model or a tool said."""


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_was_said_is_kept_unless_asked_for(kind: type[State]) -> None:
    state = filled(kind, "")
    told = json.dumps(written(state, content=False))
    found = {part.split(">")[0].removeprefix(".") for part in told.split("<")[1:]}
    assert found == NO_CONTENT[kind]
    assert json.dumps(written(state, content=True)).count("<.text>") == (1 if kind is RunState else 0)


def test_a_record_of_another_version_is_read() -> None:
    newer = {"v": 99, "of_a_newer_program": {"a": [1]}}
    assert thread_from_record({"id": "one", **newer}) == ThreadState("one")
    run = RunState("one", "two", "three")
    assert run_from_record({**run_record(run), **newer}) == run
