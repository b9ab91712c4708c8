"""``client.beta.assistants`` and ``client.beta.threads``: what is created, read, changed, listed and deleted."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.dropin.calling import LOOKUP, MODEL, drives
from tests.dropin.conftest import MakeApplication

EVERYTHING: dict[str, Any] = {
    "model": "gpt-6-luna",
    "name": "Shop",
    "description": "Answers about orders.",
    "instructions": "Be kind.",
    "tools": [LOOKUP, {"type": "code_interpreter"}, {"type": "file_search", "file_search": {"max_num_results": 7}}],
    "metadata": {"team": "sales"},
    "temperature": 0.2,
    "top_p": 0.9,
    "response_format": {"type": "json_object"},
}


@drives("assistants.create", "assistants.retrieve")
def test_an_assistant_is_kept_as_it_was_created(app: MakeApplication) -> None:
    application = app()
    created = application.beta.assistants.create(**EVERYTHING)

    kept = application.beta.assistants.retrieve(created.id).model_dump(exclude_unset=True)

    assert kept == created.model_dump(exclude_unset=True)
    assert {name: kept[name] for name in EVERYTHING} == EVERYTHING
    assert kept["object"] == "assistant"


@drives("assistants.update")
def test_an_update_changes_what_it_names_and_leaves_the_rest(app: MakeApplication) -> None:
    application = app()
    created = application.beta.assistants.create(**EVERYTHING)

    changed = application.beta.assistants.update(created.id, name="Desk", metadata={"team": "care"}, description=None)

    assert (changed.name, changed.description, changed.metadata) == ("Desk", None, {"team": "care"})
    assert (changed.instructions, len(changed.tools), changed.temperature) == ("Be kind.", 3, 0.2)
    assert application.beta.assistants.retrieve(created.id) == changed


@drives("assistants.delete")
def test_a_deleted_assistant_is_gone(app: MakeApplication) -> None:
    application = app()
    created = application.assistant()

    assert application.beta.assistants.delete(created.id).deleted is True

    for call in (application.beta.assistants.retrieve, application.beta.assistants.delete):
        message = application.refusal(lambda call=call: call(created.id), openai.NotFoundError)
        assert message == f"No assistant found with id '{created.id}'."


@drives("assistants.list")
def test_assistants_are_listed_newest_first_page_by_page(app: MakeApplication) -> None:
    application = app()
    made = [application.assistant(name=str(number)).id for number in range(5)]
    listed = application.beta.assistants.list

    first = listed(limit=2)
    second = listed(limit=2, after=first.data[-1].id)
    back = listed(limit=2, before=second.data[0].id)

    assert [one.id for one in first.data] == made[:2:-1]
    assert [one.id for one in second.data] == made[2:0:-1]
    assert [one.id for one in back.data] == [one.id for one in first.data]
    assert [one.id for one in application.every(listed(limit=2))] == made[::-1]
    assert [one.id for one in application.every(listed(limit=3, order="asc"))] == made
    assert (first.first_id, first.last_id, first.has_more) == (made[4], made[3], True)


@drives("threads.create", "threads.retrieve", "threads.update", "threads.delete")
def test_a_thread_is_created_changed_and_deleted_with_its_messages(app: MakeApplication) -> None:
    application = app()
    threads = application.beta.threads
    created = threads.create(messages=[{"role": "user", "content": "Hi"}], metadata={"a": "b"})

    assert threads.retrieve(created.id) == created
    assert threads.update(created.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert threads.retrieve(created.id).metadata == {"c": "d"}
    assert application.texts(created.id) == [("user", "Hi")]
    assert threads.delete(created.id).deleted is True
    for call in (
        lambda: threads.retrieve(created.id),
        lambda: threads.messages.list(created.id),
        lambda: threads.runs.list(created.id),
        lambda: threads.messages.create(created.id, role="user", content="x"),
        lambda: threads.update(created.id, metadata={}),
        lambda: threads.delete(created.id),
    ):
        assert application.refusal(call, openai.NotFoundError) == f"No thread found with id '{created.id}'."


def test_a_thread_may_be_created_empty(app: MakeApplication) -> None:
    application = app()
    thread = application.beta.threads.create()

    assert application.beta.threads.messages.list(thread.id).data == []
    assert thread.metadata == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda application: application.assistant(model=None),
            "Invalid type for 'model': expected a string, but got null instead.",
        ),
        (
            lambda application: application.assistant(metadata={"a": 1}),
            "Invalid type for 'metadata.a': expected a string, but got an integer instead.",
        ),
        (
            lambda application: application.assistant(temperature=3.5),
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3.5 instead.",
        ),
        (
            lambda application: application.beta.assistants.list(limit=101),
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
        ),
        (
            lambda application: application.beta.assistants.list(limit=0),
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        ),
    ],
)
def test_what_the_api_does_not_accept_is_refused_in_its_words(app: MakeApplication, call: Any, message: str) -> None:
    application = app()

    assert application.refusal(lambda: call(application)) == message


def test_a_cursor_that_is_not_in_the_list_is_not_found(app: MakeApplication) -> None:
    application = app()

    message = application.refusal(lambda: application.beta.assistants.list(after="asst_x"), openai.NotFoundError)

    assert "asst_x" in message


def test_methods_with_raw_and_streamed_responses_answer_too(app: MakeApplication) -> None:
    application = app()
    created = application.assistant()

    raw = application.beta.assistants.with_raw_response.retrieve(created.id)

    assert raw.parse().id == created.id
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-request-id"].startswith("req_")


def test_all_other_calls_go_to_the_server(app: MakeApplication) -> None:
    application = app(["Hello"])

    answer = application.wait(application.client.responses.create(model=MODEL, input="Hi"))

    assert answer.output_text == "Hello"
    assert [one.endpoint for one in application.sandbox.requests] == ["POST /responses"]


def test_assistants_are_shared_by_all_who_use_the_database(app: MakeApplication, url: str | None) -> None:
    application = app()
    created = application.assistant()
    if url is None:
        other = app(sandbox=application.sandbox)
        assert other.beta.assistants.list().data == []
        return

    assert application.other().beta.assistants.retrieve(created.id) == created
