from __future__ import annotations

import json
from typing import Any

import pytest

import assistantguard
from assistantguard.dropin.exported import Bad, Found, objects_in
from assistantguard.dropin.importing import Imported, import_objects
from assistantguard.ledger import open_ledger
from assistantguard.sandbox import Sandbox
from assistantguard.storage.documents import DocumentStore, open_documents
from assistantguard.storage.memory_documents import MemoryDocuments
from tests.dropin.exports import BEGAN, assistant, listed, message, thread


def imported(documents: DocumentStore, *values: Any) -> Imported:
    return import_objects([Found("file.json", at, value) for at, value in enumerate(values, start=1)], documents)


def shown(documents: DocumentStore, thread_id: str = "thread_old") -> list[str]:
    page = documents.page("message", thread_id, limit=100, descending=False)
    return [document.id.removeprefix("msg_") for document in page.documents]


def unsent(documents: DocumentStore, thread_id: str = "thread_old") -> list[str]:
    document = documents.get("thread", thread_id)
    assert document is not None
    return [each.removeprefix("msg_") for each in document.body["assistantguard"]["unsent"]]


# What is in files


def read(text: str) -> list[Any]:
    return [
        (each.line, each.value["id"] if isinstance(each, Found) else "bad") for each in objects_in(text, "file.json")
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("[]", []),
        ('{"id": 1}', [(1, 1)]),
        ('{"id": 1}\n\n{"id": 2}\r\n', [(1, 1), (3, 2)]),
        ('[{"id": 1},\n{"id": 2}]', [(1, 1), (2, 2)]),
        ('{"object": "list",\n"data": [\n{"id": 1},\n\n{"id": 2}], "has_more": false}', [(3, 1), (5, 2)]),
        ('{"data": [{"id": 1}]}\n{"data": []}\n{"data": [{"id": 2}]}', [(1, 1), (3, 2)]),
        ('[{"object": "list", "data": [{"id": 1}]},\n{"data": [{"id": 2}]}]', [(1, 1), (2, 2)]),
        ('\ufeff{"id": 1}', [(1, 1)]),
        ('{"id": 1}\n{"id": 2\n{"id": 3}', [(1, 1), (2, "bad"), (3, 3)]),
        ('{\n "id": 1,\n oops\n}\n[{"id": 2}]', [(1, "bad"), (5, 2)]),
        ('x\n{"id": 1}', [(1, "bad"), (2, 1)]),
        ('{"id": NaN}\n{"id": 1}', [(1, "bad"), (2, 1)]),
        ("[" * 100_000, [(1, "bad")]),
        ('{"id": 1, "data": [2], "object": "other"}', [(1, 1)]),
    ],
)
def test_each_object_is_found_with_its_line(text: str, found: list[Any]) -> None:
    assert read(text) == found


# What becomes of them


def test_assistants_threads_and_messages_are_there_under_their_old_ids(database_url: str) -> None:
    ledger = open_ledger(database_url)
    documents = open_documents(ledger)
    done = imported(
        documents, assistant(), thread(), message("a", 1), message("b", 2, role="assistant", run_id="run_1")
    )
    assert (done.assistants.created, done.threads.created, done.messages.created, done.bad) == (1, 1, 2, [])
    ledger.database.close()

    with Sandbox(["Welcome back."]) as sandbox, assistantguard.drop_in(sandbox.client(), ledger=database_url) as client:
        assert client.beta.assistants.retrieve("asst_old").to_dict() == {
            key: value for key, value in assistant().items() if key != "reasoning_effort"
        }
        assert client.beta.threads.retrieve("thread_old").to_dict() == thread()
        old = client.beta.threads.messages.list("thread_old", order="asc").data
        assert [(each.id, each.created_at, each.role) for each in old] == [
            ("msg_a", BEGAN + 1, "user"),
            ("msg_b", BEGAN + 2, "assistant"),
        ]
        assert [each.id for each in client.beta.threads.messages.list("thread_old", run_id="run_1")] == ["msg_b"]


def test_the_first_run_carries_what_was_said_and_the_next_one_does_not() -> None:
    said: list[list[str]] = []

    def model(request: Any) -> str:
        said.append([str(item.get("content")) for item in request.body["input"]])
        return "Welcome back."

    ledger = assistantguard.MemoryLedger()
    documents = open_documents(ledger)
    imported(documents, assistant(tools=[]), thread(), message("a", 1), message("b", 2, role="assistant"))
    with Sandbox(model) as sandbox, assistantguard.drop_in(sandbox.client(), ledger=ledger) as client:
        for text in ("And now?", "And then?"):
            client.beta.threads.messages.create("thread_old", role="user", content=text)
            run = client.beta.threads.runs.create_and_poll(thread_id="thread_old", assistant_id="asst_old")
            assert run.status == "completed"
    assert [len(each) for each in said] == [3, 1]
    assert "a" in said[0][0]
    assert said[0][1] == "b"


def test_an_import_that_is_repeated_changes_nothing() -> None:
    documents = MemoryDocuments()
    objects = [assistant(), thread(), message("a", 1), message("b", 2)]
    imported(documents, *objects)
    changed = [assistant(name="Other"), thread(metadata={}), *objects[2:]]
    done = imported(documents, *changed)
    counts = (done.assistants, done.threads, done.messages)
    assert [(count.created, count.there_already) for count in counts] == [(0, 1), (0, 1), (0, 2)]
    kept = documents.get("assistant", "asst_old")
    assert kept is not None
    assert kept.body["name"] == "Shop"
    assert (shown(documents), unsent(documents)) == (["a", "b"], ["a", "b"])


def test_what_is_twice_in_one_import_is_taken_once() -> None:
    documents = MemoryDocuments()
    done = imported(documents, thread(), message("a", 1), message("a", 1), thread())
    assert (done.messages.created, done.messages.there_already) == (1, 1)
    assert (done.threads.created, done.threads.there_already) == (1, 1)


def test_an_import_goes_on_where_messages_were_lacking() -> None:
    documents = MemoryDocuments()
    imported(documents, thread(), message("a", 1))
    done = imported(documents, message("a", 1), message("b", 2))
    assert (done.messages.created, done.messages.there_already, done.threads.there_already) == (1, 1, 0)
    assert (shown(documents), unsent(documents)) == (["a", "b"], ["a", "b"])


@pytest.mark.parametrize(
    ("times", "order"),
    [
        ([1, 2, 3], "abc"),
        ([3, 2, 1], "cba"),
        ([1, 1, 1], "cba"),
        ([1, 1, 2], "abc"),
        ([2, 1, 1], "cba"),
        ([3, 1, 2], "bca"),
    ],
)
def test_messages_stand_in_the_order_they_were_written_in(times: list[int], order: str) -> None:
    documents = MemoryDocuments()
    imported(documents, thread(), *(message(name, at) for name, at in zip("abc", times, strict=True)))
    assert "".join(shown(documents)) == order
    assert "".join(unsent(documents)) == order


def test_messages_that_came_without_their_thread_make_one() -> None:
    documents = MemoryDocuments()
    done = imported(documents, message("b", 9), message("a", 5))
    assert done.without_thread == ["thread_old"]
    document = documents.get("thread", "thread_old")
    assert document is not None
    assert (document.body["created_at"], document.body["metadata"]) == (BEGAN + 5, {})


def test_the_user_of_a_thread_and_the_files_of_its_messages_are_kept() -> None:
    documents = MemoryDocuments()
    attached: dict[str, Any] = {"attachments": [{"file_id": "file_1", "tools": [{"type": "file_search"}]}]}
    stored = thread("thread_2", tool_resources={"file_search": {"vector_store_ids": ["vs_2"]}})
    done = imported(
        documents, thread(), message("a", 1, **attached), stored, message("b", 1, thread_id="thread_2", **attached)
    )
    hidden = [documents.get("thread", each) for each in ("thread_old", "thread_2")]
    kept = [each.body["assistantguard"] for each in hidden if each is not None]
    assert [(each["user"], each["files"], each["active"]) for each in kept] == [
        ("ann", ["file_1"], None),
        ("ann", [], None),
    ]
    assert done.with_stores == ["thread_2"]


def test_a_message_that_was_cut_stays_so_and_an_empty_one_is_not_sent() -> None:
    documents = MemoryDocuments()
    cut: dict[str, Any] = {"role": "assistant", "status": "incomplete", "incomplete_details": {"reason": "max_tokens"}}
    imported(
        documents,
        thread(),
        message("a", 1, **cut),
        message("b", 2, status="in_progress", content=[]),
        message("c", 3, text=""),
    )
    first = documents.get("message", "msg_a")
    assert first is not None
    assert (first.body["status"], first.body["incomplete_details"]) == ("incomplete", {"reason": "max_tokens"})
    assert (shown(documents), unsent(documents)) == (["a", "b", "c"], ["a"])


def test_all_that_a_message_could_hold_is_kept() -> None:
    documents = MemoryDocuments()
    note = {"type": "file_citation", "text": "[1]", "start_index": 0, "end_index": 3, "file_citation": {"file_id": "f"}}
    content = [
        {"type": "text", "text": {"value": "[1]", "annotations": [note]}},
        {"type": "image_file", "image_file": {"file_id": "file_1", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "refusal", "refusal": "No."},
    ]
    assert imported(documents, thread(), message("a", 1, content=content)).bad == []
    kept = documents.get("message", "msg_a")
    assert kept is not None
    assert kept.body["content"] == content


def test_a_long_thread_is_named_with_its_tokens() -> None:
    documents = MemoryDocuments()
    done = imported(documents, thread(), message("a", 1, text="word " * 120_000), message("b", 2))
    ((thread_id, size),) = done.long
    assert thread_id == "thread_old"
    assert 115_000 < size < 125_000


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (7, "it is no object"),
        ({"object": "thread.run", "id": "run_1"}, "thread.run 'run_1': its 'object' is 'thread.run'"),
        ({"id": "x"}, "its 'object' is 'None'"),
        (assistant(model=None), "assistant 'asst_old': Missing required parameter: 'model'."),
        (assistant(tools=[{"type": "retrieval"}]), "retrieval"),
        (assistant(""), "its 'id' is '', and can be no id"),
        (assistant("a/b"), "its 'id' is 'a/b', and can be no id"),
        (assistant("a\0b"), "can be no id"),
        (thread(metadata={"a": 1}), "metadata"),
        (thread(created_at="yesterday"), "its 'created_at' is 'yesterday', and is no time in seconds"),
        (thread(created_at=float("nan")), "is no time in seconds"),
        (thread(created_at=10**400), "is no time in seconds"),
        (message("a", 1, thread_id=None), "its 'thread_id' is 'None', and can be no id"),
        (message("a", 1, role="system"), "role"),
        (message("a", 1, content="text"), "its 'content' is no list"),
        (message("a", 1, content=[{"type": "text", "text": "text"}]), "a part of its 'content' is of the type 'text'"),
        (message("a", 1, content=[{"type": ["text"]}]), "a part of its 'content'"),
        (message("a", 1, content=[{"type": "image_file", "image_file": {}}]), "has no 'file_id'"),
    ],
)
def test_what_cannot_be_taken_is_named_and_the_rest_goes_on(value: Any, why: str) -> None:
    documents = MemoryDocuments()
    done = imported(documents, value, assistant("asst_2"))
    (bad,) = done.bad
    assert (bad.file, bad.line) == ("file.json", 1)
    assert why in bad.why
    assert done.assistants.created == 1
    assert documents.get("assistant", "asst_2") is not None


def test_a_message_whose_id_is_another_threads_is_not_taken() -> None:
    documents = MemoryDocuments()
    imported(documents, thread(), message("a", 1))
    done = imported(documents, message("a", 1, thread_id="thread_2"), message("b", 1, thread_id="thread_2"))
    assert [bad.why for bad in done.bad] == ["message 'msg_a': there is one of that id in another thread"]
    assert shown(documents, "thread_2") == ["b"]


def test_a_thread_that_is_at_work_takes_no_old_messages() -> None:
    documents = MemoryDocuments()
    imported(documents, thread())

    def begin(document: Any) -> None:
        document.body["assistantguard"]["active"] = "run_1"

    documents.change("thread", "thread_old", begin)
    (bad,) = imported(documents, message("a", 1)).bad
    assert "a run of its thread is active (run_1)" in bad.why
    assert shown(documents) == []


def test_a_list_calls_answer_is_imported_as_it_was_saved() -> None:
    documents = MemoryDocuments()
    text = json.dumps(listed(message("b", 2), message("a", 1)), indent=2)
    found = [*objects_in(json.dumps(listed(assistant())), "a.json"), *objects_in(text, "m.json")]
    assert not any(isinstance(each, Bad) for each in found)
    done = import_objects(found, documents)
    assert (done.assistants.created, done.messages.created) == (1, 2)
    assert shown(documents) == ["a", "b"]
