"""``client.beta.threads.messages``: what an application writes, and what runs add."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.dropin.calling import Application, drives, text_of
from tests.dropin.conftest import MakeApplication

PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "Look."},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
]


@drives("threads.messages.create", "threads.messages.retrieve")
def test_a_message_is_kept_as_it_was_created(app: MakeApplication) -> None:
    application = app()
    thread_id = application.thread()

    made = application.beta.threads.messages.create(thread_id, role="user", content=PARTS, metadata={"a": "b"})

    assert application.beta.threads.messages.retrieve(made.id, thread_id=thread_id) == made
    assert [block.type for block in made.content] == ["text", "image_url"]
    assert text_of(made) == "Look."
    assert (made.role, made.status, made.thread_id, made.metadata) == ("user", "completed", thread_id, {"a": "b"})
    assert (made.run_id, made.assistant_id) == (None, None)


@drives("threads.messages.update")
def test_a_message_takes_other_metadata(app: MakeApplication) -> None:
    application = app()
    thread_id = application.thread()
    made = application.say(thread_id, "Hi")

    changed = application.beta.threads.messages.update(made.id, thread_id=thread_id, metadata={"seen": "yes"})

    assert changed.metadata == {"seen": "yes"}
    assert application.beta.threads.messages.retrieve(made.id, thread_id=thread_id) == changed


@drives("threads.messages.delete")
def test_a_message_that_no_run_has_read_can_be_deleted_and_the_model_never_sees_it(app: MakeApplication) -> None:
    application = app(["Hello"])
    thread_id = application.thread("One", "Two")
    two = application.beta.threads.messages.list(thread_id).data[0]

    assert application.beta.threads.messages.delete(two.id, thread_id=thread_id).deleted is True
    application.run(thread_id, application.assistant())

    assert application.texts(thread_id) == [("user", "One"), ("assistant", "Hello")]
    assert "Two" not in str(application.requests())


def test_a_message_that_a_run_has_read_is_not_deleted_and_the_refusal_says_what_to_do(app: MakeApplication) -> None:
    application = app(["Hello"])
    thread_id = application.thread("One")
    application.run(thread_id, application.assistant())
    one = application.beta.threads.messages.list(thread_id, order="asc").data[0]

    message = application.refusal(lambda: application.beta.threads.messages.delete(one.id, thread_id=thread_id))

    assert "begin a new thread" in message
    assert application.texts(thread_id) == [("user", "One"), ("assistant", "Hello")]


def test_a_message_that_is_not_there_is_not_found(app: MakeApplication) -> None:
    application = app()
    thread_id, other_id = application.thread("One"), application.thread()
    one = application.beta.threads.messages.list(thread_id).data[0].id
    messages = application.beta.threads.messages

    for call in (
        lambda: messages.retrieve(one, thread_id=other_id),
        lambda: messages.update(one, thread_id=other_id, metadata={}),
        lambda: messages.delete(one, thread_id=other_id),
    ):
        assert application.refusal(call, openai.NotFoundError) == f"No message found with id '{one}'."


@drives("threads.messages.list")
def test_messages_are_listed_in_both_directions_page_by_page(app: MakeApplication) -> None:
    application = app()
    names = [str(number) for number in range(7)]
    thread_id = application.thread(*names)
    listed = application.beta.threads.messages.list

    newest = listed(thread_id, limit=3)
    older = listed(thread_id, limit=3, after=newest.data[-1].id)
    newer = listed(thread_id, limit=3, before=older.data[0].id)
    ascending = listed(thread_id, limit=2, order="asc", after=older.data[-1].id)
    nearest = listed(thread_id, limit=2, before=older.data[-1].id)

    assert [text_of(one) for one in newest.data] == ["6", "5", "4"]
    assert [text_of(one) for one in older.data] == ["3", "2", "1"]
    assert [text_of(one) for one in newer.data] == ["6", "5", "4"]
    assert [text_of(one) for one in ascending.data] == ["2", "3"]
    assert [text_of(one) for one in nearest.data] == ["3", "2"]
    assert (older.has_more, newest.has_more) == (True, True)
    assert [text_of(one) for one in application.every(listed(thread_id, limit=2))] == names[::-1]
    assert [text_of(one) for one in application.every(listed(thread_id, limit=4, order="asc"))] == names


def test_twenty_are_listed_unless_more_are_asked_for(app: MakeApplication) -> None:
    application = app()
    thread_id = application.thread(*(str(number) for number in range(23)))

    page = application.beta.threads.messages.list(thread_id)

    assert (len(page.data), page.has_more) == (20, True)
    assert len(application.beta.threads.messages.list(thread_id, limit=100).data) == 23


def test_a_run_s_own_messages_can_be_listed(app: MakeApplication) -> None:
    application = app(["First answer.", "Second answer."])
    thread_id, assistant = application.thread("One"), application.assistant()
    first = application.run(thread_id, assistant)
    application.say(thread_id, "Two")
    second = application.run(thread_id, assistant)

    listed = application.texts(thread_id, run_id=second.id)

    assert listed == [("assistant", "Second answer.")]
    assert application.texts(thread_id) == [
        ("user", "One"),
        ("assistant", "First answer."),
        ("user", "Two"),
        ("assistant", "Second answer."),
    ]
    answer = application.beta.threads.messages.list(thread_id, run_id=first.id).data[0]
    assert (answer.run_id, answer.assistant_id, answer.status) == (first.id, assistant.id, "completed")


def test_messages_of_both_roles_reach_the_model_in_their_order(app: MakeApplication) -> None:
    application = app(["Hello"])
    thread_id = application.thread("One")
    application.beta.threads.messages.create(thread_id, role="assistant", content="Two")
    application.beta.threads.messages.create(thread_id, role="user", content=PARTS)

    application.run(thread_id, application.assistant())

    assert _read(application) == [
        ("user", [{"type": "input_text", "text": "One"}]),
        ("assistant", "Two"),
        (
            "user",
            [
                {"type": "input_text", "text": "Look."},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
            ],
        ),
    ]


def test_the_model_reads_each_message_once(app: MakeApplication) -> None:
    application = app(["First.", "Second."])
    thread_id, assistant = application.thread("One"), application.assistant()
    application.run(thread_id, assistant)
    application.say(thread_id, "Two")
    application.run(thread_id, assistant)

    second = application.requests()[1]

    assert "Two" in str(second["input"])
    assert "One" not in str(second["input"])
    (conversation,) = application.sandbox.conversations
    said = [item for item in application.sandbox.conversation(conversation) if item["type"] == "message"]
    assert len(said) == 4


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ({"role": "system", "content": "x"}, "Invalid value: 'system'. Supported values are: 'user' and 'assistant'."),
        ({"role": "user", "content": ""}, "Message content must be non-empty."),
    ],
)
def test_a_message_that_is_none_is_refused(app: MakeApplication, message: dict[str, Any], refusal: str) -> None:
    application = app()
    thread_id = application.thread()

    assert application.refusal(lambda: application.beta.threads.messages.create(thread_id, **message)) == refusal
    assert application.texts(thread_id) == []


def _read(application: Application) -> list[tuple[str, Any]]:
    return [(item["role"], item["content"]) for item in application.requests()[0]["input"]]
