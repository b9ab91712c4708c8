"""Two turns have one key only where account, assistant, context and question are the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assistantguard import Item, ThreadState
from assistantguard.replies.keys import (
    EMPTY,
    account_of,
    context_after,
    context_of,
    digest,
    normalised,
    packed_question,
    question_of,
    text_of_question,
)
from assistantguard.storage.states import thread_from_record, thread_record

SEPARATORS = st.sampled_from(["", ":", "\x00", "\x1f", '"', '","', "[", "]", "\\", "\n", "null", "None", "ünï"])
NAMES = st.lists(st.one_of(SEPARATORS, st.text(max_size=3)), max_size=4).map("".join)
OPTIONAL = st.one_of(st.none(), NAMES)
THREADS = st.tuples(NAMES, OPTIONAL, OPTIONAL)


def thread_of(names: tuple[str, str | None, str | None]) -> ThreadState:
    thread_id, user, tenant = names
    return ThreadState(thread_id, user=user, tenant=tenant)


@given(THREADS, THREADS, NAMES, NAMES)
@example(("t", "a:b", None), ("t", "a", "b"), "q", "q")
@example(("t", "a", ""), ("t", "a", None), "q", "q")
@example(("user", None, None), ("t", "user", None), "q", "q")
@example(("t", 'a","b', None), ("t", "a", "b"), "q", "q")
def test_a_key_is_shared_by_one_user_of_one_tenant_only(
    one: tuple[str, str | None, str | None], other: tuple[str, str | None, str | None], first: str, second: str
) -> None:
    mine, theirs = thread_of(one), thread_of(other)
    keys = [digest(account_of("user", each) + text) for each, text in ((mine, first), (theirs, second))]
    same_account = (
        (mine.tenant, mine.user) == (theirs.tenant, theirs.user)
        if mine.user is not None or theirs.user is not None
        else mine.id == theirs.id
    )
    assert (keys[0] == keys[1]) == (same_account and first == second)


@given(THREADS, THREADS)
def test_a_tenants_replies_are_shared_within_the_tenant_only(
    one: tuple[str, str | None, str | None], other: tuple[str, str | None, str | None]
) -> None:
    mine, theirs = thread_of(one), thread_of(other)
    if account_of("tenant", mine) == account_of("tenant", theirs):
        assert mine.tenant == theirs.tenant
        assert mine.tenant is not None or mine.user == theirs.user
        assert mine.tenant is not None or mine.user is not None or mine.id == theirs.id
    assert account_of("everyone", mine) == account_of("everyone", theirs)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=3), st.lists(st.tuples(NAMES, NAMES), max_size=3))
def test_conversations_that_differ_have_different_contexts(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    digests = []
    for turns in (one, other):
        context = EMPTY
        for asked, said in turns:
            context = context_after(context, packed_question(question_of(asked, str)), said)
        digests.append(context)
    assert (digests[0] == digests[1]) == (one == other)


@given(st.lists(NAMES, max_size=3), st.lists(NAMES, max_size=3))
def test_what_was_carried_over_tells_contexts_apart(one: list[str], other: list[str]) -> None:
    contexts = [context_of([Item("message", text, role="user") for text in texts]) for texts in (one, other)]
    assert (contexts[0] == contexts[1]) == (one == other)


@given(st.text())
def test_a_text_that_was_normalised_stays_as_it_is(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (" What  is\tit? ", "What is it?"),
        ("Is it u\u0308ber?", "Is it über?"),
        ("a\r\nb  c \n", "a\nb c"),
    ],
)
def test_texts_that_mean_the_same_are_the_same(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is it?", "what is it?"),
        ("if a:\n  b\nc", "if a:\n  b\n  c"),
        ("a\nb", "a b"),
        ("one two", "onetwo"),
    ],
)
def test_texts_that_may_mean_something_else_are_not(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_parts_that_are_no_text_are_compared_exactly() -> None:
    def asked(*parts: dict[str, Any]) -> Any:
        return question_of(parts, normalised)

    text = {"type": "input_text", "text": " What is  it?"}
    image = {"type": "input_image", "image_url": "data:,one"}
    assert asked(text) == question_of("What is it?", normalised)
    assert asked(text, image) == asked({"text": "What is it?", "type": "input_text"}, dict(reversed(image.items())))
    assert asked(text, image) != asked(text, {**image, "detail": "low"})
    assert asked(image) != question_of(json.dumps(image), normalised)
    assert text_of_question(asked(text)) == "What is it?"
    assert text_of_question(asked(text, image)) is None


def test_a_function_that_does_not_return_a_text_is_named() -> None:
    with pytest.raises(TypeError, match="normalise returned NoneType"):
        question_of("What?", lambda text: None)  # type: ignore[arg-type,return-value]


def test_a_thread_that_was_kept_by_an_older_program_has_no_known_context() -> None:
    assert thread_from_record({"v": 1, "id": "t", "generation_id": "conv_1"}).context_digest is None
    assert thread_from_record(thread_record(ThreadState("t", context_digest="abc"))).context_digest == "abc"
