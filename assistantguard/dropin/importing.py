"""Assistants, threads and messages that were exported before the sunset, created here under their old ids."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistantguard import tokens
from assistantguard._refusals import ApiProblem
from assistantguard.dropin import objects, parameters
from assistantguard.dropin.exported import Bad, Found
from assistantguard.dropin.recording import HIDDEN, attach
from assistantguard.dropin.translation import attached_files
from assistantguard.models.values import Record
from assistantguard.storage.documents import LONGEST_ID, Document, DocumentStore, can_be_kept

__all__ = ["Count", "Imported", "import_objects"]

Body = dict[str, Any]
LONG_THREAD = 100_000
"""Tokens in messages from which on a thread is named: its first run carries them all."""
_ASSISTANT = (
    "model",
    "name",
    "description",
    "instructions",
    "tools",
    "tool_resources",
    "metadata",
    "temperature",
    "top_p",
    "response_format",
    "reasoning_effort",
)
_THREAD = ("metadata", "tool_resources")
_MESSAGE = ("role", "attachments", "metadata")
_PARTS = {"text": "text", "image_file": "image_file", "image_url": "image_url", "refusal": "refusal"}
"""Where a part of a message of each type keeps what it holds."""
_AT_ONCE = 500
LATEST = 1e11
"""Seconds; what is beyond was no time in seconds."""


@dataclass(slots=True, eq=False, repr=False)
class Count(Record):
    """Objects of a kind."""

    created: int = 0
    there_already: int = 0


@dataclass(slots=True, eq=False, repr=False)
class Imported(Record):
    """What an import did."""

    assistants: Count = field(default_factory=Count)
    threads: Count = field(default_factory=Count)
    messages: Count = field(default_factory=Count)
    bad: list[Bad] = field(default_factory=list)
    """What was not taken, and why."""
    without_thread: list[str] = field(default_factory=list)
    """Threads that were made for messages whose thread was in no file: their own metadata are lost."""
    with_stores: list[str] = field(default_factory=list)
    """New threads that name a vector store, which may have expired."""
    long: list[tuple[str, int]] = field(default_factory=list)
    """Threads whose first run carries more than `LONG_THREAD` tokens, and how many: more than many contexts take."""


@dataclass(slots=True, eq=False, repr=False)
class _Kept(Record):
    """An object that can be created."""

    found: Found
    body: Body


def import_objects(found: Iterable[Found | Bad], documents: DocumentStore) -> Imported:
    """Create what was exported: assistants, threads, and messages in the order in which they were written.

    What is there already under its id stays as it is, so that an import may be repeated, or go on where it broke off.
    A thread and its messages are created together or not at all. The model has not read the messages: a thread's first
    run carries them.

    Args:
        found: JSON values, told apart by their ``object``.
        documents: Where they go.
    """
    done = Imported()
    assistants: list[_Kept] = []
    threads: dict[str, _Kept] = {}
    messages: defaultdict[str, list[_Kept]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for each in found:
        if isinstance(each, Bad):
            done.bad.append(each)
            continue
        try:
            kind, body = _body_of(each.value)
        except ApiProblem as problem:
            where = f" ({problem.param})" if problem.param and problem.param not in problem.message else ""
            done.bad.append(each.bad(f"{_name_of(each.value)}{problem.message}{where}"))
            continue
        if (kind, body["id"]) in seen:
            _count(done, kind).there_already += 1
            continue
        seen.add((kind, body["id"]))
        if kind == "assistant":
            assistants.append(_Kept(each, body))
        elif kind == "thread":
            threads[body["id"]] = _Kept(each, body)
        else:
            messages[body["thread_id"]].append(_Kept(each, body))
    for kept in assistants:
        _add_assistant(documents, kept.body, done.assistants)
    for thread_id in dict.fromkeys([*threads, *messages]):
        _add_thread(documents, thread_id, threads.get(thread_id), _in_order(messages[thread_id]), done)
    return done


def _add_assistant(documents: DocumentStore, body: Body, count: Count) -> None:
    with documents.together():
        is_new = documents.get("assistant", body["id"]) is None
        if is_new:
            documents.add(Document("assistant", body["id"], "", body["created_at"], body))
    _note(count, is_new=is_new)


def _add_thread(
    documents: DocumentStore, thread_id: str, kept: _Kept | None, messages: Sequence[_Kept], done: Imported
) -> None:
    """Create a thread and its messages, or add to one that is there the messages that it lacks."""
    with documents.together():
        thread = documents.get("thread", thread_id)
        lacking: list[_Kept] = []
        elsewhere: list[_Kept] = []
        there = 0
        for message in messages:
            known = documents.get("message", message.body["id"])
            if known is None:
                lacking.append(message)
            elif known.parent == thread_id:
                there += 1
            else:
                elsewhere.append(message)
        active = None if thread is None else thread.body[HIDDEN]["active"]
        if active is not None:
            why = f"a run of its thread is active ({active}): import it when that has ended"
            done.bad += [message.found.bad(f"message {message.body['id']!r}: {why}") for message in lacking]
            lacking = []
        new = [message.body for message in lacking]
        unread = [body["id"] for body in new if _says_something(body)]
        body: Body | None = None
        if thread is None:
            body = _thread_of(thread_id, messages) if kept is None else kept.body
            body[HIDDEN] = {
                "active": None,
                "unsent": unread,
                "files": [] if _stores_of(body) else attached_files(new, "file_search"),
                "code_files": attached_files(new, "code_interpreter"),
                "user": body["metadata"].get("user") or None,
            }
            documents.add(Document("thread", thread_id, "", body["created_at"], body))
        elif new:

            def note(document: Document) -> None:
                hidden = document.body[HIDDEN]
                hidden["unsent"] = [*hidden["unsent"], *unread]
                searched = hidden["files"]
                attach(hidden, new)
                if _stores_of(document.body):
                    hidden["files"] = searched

            documents.change("thread", thread_id, note)
        for at in range(0, len(new), _AT_ONCE):
            documents.add(*(_document(body) for body in new[at : at + _AT_ONCE]))
    if kept is not None or thread is None:
        _note(done.threads, is_new=thread is None)
    if body is not None and kept is None:
        done.without_thread.append(thread_id)
    if body is not None and _stores_of(body):
        done.with_stores.append(thread_id)
    done.messages.created += len(new)
    done.messages.there_already += there
    done.bad += [
        message.found.bad(f"message {message.body['id']!r}: there is one of that id in another thread")
        for message in elsewhere
    ]
    size = _tokens_of(new)
    if size > LONG_THREAD:
        done.long.append((thread_id, size))


def _in_order(messages: Sequence[_Kept]) -> list[_Kept]:
    """Messages oldest first. List calls give the newest first unless asked otherwise; times are whole seconds."""
    times = [message.body["created_at"] for message in messages]
    upward = sum(one < other for one, other in itertools.pairwise(times))
    downward = sum(one > other for one, other in itertools.pairwise(times))
    read = messages if upward > downward else messages[::-1]
    return sorted(read, key=lambda message: message.body["created_at"])


def _body_of(value: Any) -> tuple[str, Body]:
    """The kind of an exported object, and what is kept of it.

    Raises:
        ApiProblem: It cannot be kept.
    """
    if not isinstance(value, dict):
        raise ApiProblem(400, "it is no object")
    kind = value.get("object")
    if kind == "assistant":
        given = parameters.assistant_parameters(_given(value, _ASSISTANT))
        return "assistant", objects.new_assistant(_id_in(value, "id"), _time_of(value), given)
    if kind == "thread":
        given = parameters.thread_parameters(_given(value, _THREAD))
        return "thread", objects.new_thread(_id_in(value, "id"), _time_of(value), given)
    if kind == "thread.message":
        return "message", _message_of(value)
    raise ApiProblem(400, f"its 'object' is {str(kind)[:40]!r}: 'assistant', 'thread' and 'thread.message' are taken")


def _message_of(value: Mapping[str, Any]) -> Body:
    given = parameters.message_parameters({"content": "-", **_given(value, _MESSAGE)})
    given["content"] = _content_of(value.get("content"))
    status = value.get("status")
    cut = status in ("incomplete", "in_progress")
    body = objects.new_message(
        _id_in(value, "id"),
        _time_of(value),
        _id_in(value, "thread_id"),
        given,
        assistant_id=_text_or_none(value.get("assistant_id")),
        run_id=_text_or_none(value.get("run_id")),
    )
    if cut:
        details = value.get("incomplete_details")
        body.update(
            status="incomplete",
            completed_at=None,
            incomplete_at=body["created_at"],
            incomplete_details=details if isinstance(details, dict) else None,
        )
    return body


def _content_of(content: Any) -> list[Body]:
    """The parts of a message's content.

    Raises:
        ApiProblem: They are not as the API gave them.
    """
    if not isinstance(content, list):
        raise ApiProblem(400, "its 'content' is no list")
    parts: list[Body] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        holds = part.get(_PARTS[kind]) if isinstance(kind, str) and kind in _PARTS else None
        if kind == "text" and isinstance(holds, dict) and isinstance(holds.get("value"), str):
            notes = holds.get("annotations")
            kept: Any = {"value": holds["value"], "annotations": notes if isinstance(notes, list) else []}
        elif kind == "refusal" and isinstance(holds, str):
            kept = holds
        elif kind in ("image_file", "image_url") and isinstance(holds, dict):
            key = "file_id" if kind == "image_file" else "url"
            if not isinstance(holds.get(key), str):
                raise ApiProblem(400, f"a part of its 'content' has no '{key}'")
            kept = {name: holds[name] for name in (key, "detail") if isinstance(holds.get(name), str)}
        else:
            raise ApiProblem(400, f"a part of its 'content' is of the type {str(kind)[:40]!r}, or holds nothing")
        parts.append({"type": kind, _PARTS[kind]: kept})
    return parts


def _given(value: Mapping[str, Any], names: Sequence[str]) -> Body:
    return {name: value[name] for name in names if value.get(name) is not None}


def _id_in(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found or len(found) > LONGEST_ID or "/" in found or not can_be_kept(found):
        raise ApiProblem(400, f"its '{name}' is {str(found)[:40]!r}, and can be no id")
    return found


def _time_of(value: Mapping[str, Any]) -> float:
    """When it was created; the API gave whole seconds, some servers give floats."""
    found = value.get("created_at")
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found < LATEST:
        raise ApiProblem(400, f"its 'created_at' is {str(found)[:40]!r}, and is no time in seconds")
    return found


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value and len(value) <= LONGEST_ID and can_be_kept(value) else None


def _name_of(value: Any) -> str:
    """What to call an object that is not taken."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return ""
    return f"{str(value.get('object'))[:40]} {value['id'][:80]!r}: "


def _thread_of(thread_id: str, messages: Sequence[_Kept]) -> Body:
    """The thread of messages that came without it."""
    return objects.new_thread(thread_id, messages[0].body["created_at"], {})


def _stores_of(thread: Mapping[str, Any]) -> Sequence[str]:
    """The vector stores of a thread; what was attached for file search is in them."""
    return ((thread.get("tool_resources") or {}).get("file_search") or {}).get("vector_store_ids") or ()


def _says_something(body: Mapping[str, Any]) -> bool:
    return any(part["type"] != "text" or part["text"]["value"] for part in body["content"])


def _document(body: Body) -> Document:
    return Document("message", body["id"], body["thread_id"], body["created_at"], body, body["run_id"] or "")


def _tokens_of(messages: Sequence[Body]) -> int:
    """Tokens of the messages' texts; 0 where they are too short to be counted."""
    texts = [part["text"]["value"] for body in messages for part in body["content"] if part["type"] == "text"]
    return tokens.count("\n".join(texts)) if sum(map(len, texts)) > LONG_THREAD else 0


def _count(done: Imported, kind: str) -> Count:
    return {"assistant": done.assistants, "thread": done.threads, "message": done.messages}[kind]


def _note(count: Count, *, is_new: bool) -> None:
    if is_new:
        count.created += 1
    else:
        count.there_already += 1
