"""One suite over every document store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from assistantguard import AssistantGuardError, ConfigurationError, MemoryLedger
from assistantguard.ledger import Ledger, open_ledger
from assistantguard.storage.documents import Document, DocumentExists, DocumentStore, DocumentUnknown, open_documents
from tests.ledger.books import claim
from tests.support.databases import DIALECTS, Open, opened_again

ODD = (
    "'; DROP TABLE guard_documents; --",
    '"quoted" `and` \\ [more]',
    "100 % of_it",
    "?",
    "$1",
    " ",
    "A",
    "a",
    "naïve café",
    "ТОПИК",
    "\U0001f9fe\u200d\U0001f4b3",
    "x" * 200,
    "\U0001f9fe" * 256,
    "line\nbreak\ttab",
)
"""Ids that are allowed."""
UNFIT = ("a\0b", "a\ud800b")
"""Ids that nothing can have."""


@pytest.fixture(params=("memory", *DIALECTS))
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the books once more."""
    with opened_again(request.param, tmp_path, lambda: request.getfixturevalue("postgres")) as open_again:
        yield open_again


@pytest.fixture
def ledger(another: Open) -> Ledger:
    return another()


@pytest.fixture
def store(ledger: Ledger) -> DocumentStore:
    return open_documents(ledger)


@pytest.fixture
def other(another: Open, store: DocumentStore) -> DocumentStore:
    """The same documents, as somebody else sees them."""
    return open_documents(another())


def message(document_id: str, *, parent: str = "t-1", mark: str = "", **body: Any) -> Document:
    return Document("message", document_id, parent, 12.5, {"id": document_id, **body}, mark)


def add(store: DocumentStore, *ids: str, parent: str = "t-1", mark: str = "") -> None:
    store.add(*(message(each, parent=parent, mark=mark) for each in ids))


def listed(store: DocumentStore, *, limit: int = 100, **options: Any) -> list[str]:
    return [each.id for each in store.page("message", "t-1", limit=limit, **options).documents]


def got(store: DocumentStore, document_id: str, kind: str = "message") -> Document:
    found = store.get(kind, document_id)
    assert found is not None
    return found


def count_up(document: Document) -> None:
    document.body["count"] = document.body.get("count", 0) + 1


def fail(document: Document) -> None:
    document.body["failed"] = True
    raise ZeroDivisionError


def test_what_was_added_is_there_for_everybody(store: DocumentStore, other: DocumentStore) -> None:
    body: dict[str, Any] = {
        "text": "naïve \U0001f9fe \0 \ud800",
        "parts": [1, 2.5, None, True, {"a": []}],
        "": {},
        "long": "x" * 50_000,
    }
    document = Document("message", "m-1", "t-1", 1_764_000_000.25, body, "r-1")
    store.add(document)
    assert document.position > 0
    assert store.get("message", "m-1") == document
    assert other.get("message", "m-1", "t-1") == document
    assert store.get("message", "m-1", "t-2") is None
    assert store.get("message", "m-2") is None
    assert store.get("run", "m-1") is None


def test_positions_are_given_in_the_order_of_adding(store: DocumentStore, other: DocumentStore) -> None:
    many = [message(f"m-{number}") for number in range(120)]
    store.add(*many)
    last = message("another")
    other.add(last)
    store.add()
    positions = [document.position for document in (*many, last)]
    assert positions == sorted(set(positions))
    assert listed(store, limit=200, descending=False) == [*(document.id for document in many), "another"]


def test_what_the_holder_does_to_its_own_copy_changes_nothing_kept(store: DocumentStore) -> None:
    document = message("m-1", parts=["a"])
    store.add(document)
    held: list[Document] = [document, got(store, "m-1"), *store.page("message", "t-1", limit=1).documents]
    newest = store.newest("message", "t-1")
    assert newest is not None
    changed = store.change("message", "m-1", held.append)
    assert changed is not None
    for each in (*held, newest, changed):
        each.body["parts"].append("b")
    assert got(store, "m-1").body == {"id": "m-1", "parts": ["a"]}


@pytest.mark.parametrize("odd", ODD)
def test_any_text_is_an_id_a_parent_and_a_mark(store: DocumentStore, odd: str) -> None:
    document = Document("message", odd, odd, 0.0, {}, odd)
    plain = Document("message", "plain", odd, 0.0, {})
    store.add(document, plain)
    assert store.get("message", odd, odd) == document
    assert store.page("message", odd, limit=9, mark=odd).documents == [document]
    assert store.page("message", odd, limit=9, after="plain").documents == [document]
    assert store.page("message", odd, limit=9, before=odd).documents == [plain]
    assert store.newest("message", odd, odd) == document
    assert store.change("message", odd, count_up) is not None
    assert store.delete("message", odd)
    assert store.delete_children("message", odd) == 1


@pytest.mark.parametrize("unfit", UNFIT)
def test_what_cannot_be_an_id_is_refused_and_never_found(store: DocumentStore, unfit: str) -> None:
    add(store, "m-1")
    for document in (message(unfit), message("m", parent=unfit), message("m", mark=unfit)):
        with pytest.raises(ConfigurationError, match="NUL and lone surrogates cannot be kept"):
            store.add(message("m-2"), document)
    assert store.get("message", unfit) is None
    assert store.get("message", "m-1", unfit) is None
    assert store.change("message", unfit, count_up) is None
    assert not store.delete("message", unfit)
    assert store.delete_children("message", unfit) == 0
    assert store.newest("message", unfit) is None
    assert store.newest("message", "t-1", unfit) is None
    assert store.page("message", unfit, limit=9).documents == []
    assert listed(store, mark=unfit) == []
    for refused in (
        lambda: listed(store, after=unfit),
        lambda: listed(store, before=unfit),
        lambda: store.page("message", unfit, limit=9, after="m-1"),
    ):
        with pytest.raises(DocumentUnknown):
            refused()
    assert listed(store) == ["m-1"]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (Document("k" * 65, "m", "", 0.0, {}), "the kind of a document, 'k.*'…, has 65 characters, at most 64"),
        (message("x" * 257), "the id of a document, 'x.*'…, has 257 characters, at most 256 are allowed: shorten it"),
        (message("m", parent="x" * 257), "the parent of a document"),
        (message("m", mark="x" * 257), "the mark of a document"),
        (message(""), "neither may be empty"),
        (Document("", "m", "", 0.0, {}), "neither may be empty"),
    ],
)
def test_what_would_not_fit_is_refused(store: DocumentStore, document: Document, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        store.add(document)


def test_what_is_no_json_is_refused_and_nothing_is_written(store: DocumentStore) -> None:
    with pytest.raises(TypeError):
        store.add(message("m-1"), message("m-2", text={"a", "set"}))
    add(store, "m-3")
    with pytest.raises(TypeError):
        store.change("message", "m-3", lambda document: document.body.update(text=object()))
    assert [document.body for document in store.page("message", "t-1", limit=9).documents] == [{"id": "m-3"}]


def test_an_id_is_given_once_in_its_kind(store: DocumentStore) -> None:
    add(store, "m-1")
    store.add(Document("run", "m-1", "t-1", 0.0, {}))
    for documents in (
        [message("m-2"), message("m-1", parent="t-2")],
        [message("m-1"), message("m-2")],
        [message(f"x-{number}") for number in range(70)] + [message("m-1")],
    ):
        with pytest.raises(DocumentExists, match="there is a message 'm-1' already") as caught:
            store.add(*documents)
        assert (caught.value.kind, caught.value.id) == ("message", "m-1")
    with pytest.raises(DocumentExists, match="'twice'"):
        store.add(message("once"), message("twice"), message("twice"))
    assert listed(store) == ["m-1"]


def test_a_change_is_written_and_returned(store: DocumentStore, other: DocumentStore) -> None:
    add(store, "m-1", "m-2")

    def work(document: Document) -> None:
        document.body = {"new": [1]}
        document.mark = "r-1"

    changed = store.change("message", "m-1", work)
    assert changed is not None
    assert (changed.body, changed.mark) == ({"new": [1]}, "r-1")
    assert other.get("message", "m-1") == changed
    assert listed(other, mark="r-1") == ["m-1"]
    assert listed(other, mark="") == ["m-2"]
    assert listed(other) == ["m-2", "m-1"]
    assert store.change("message", "m-1", lambda document: None) == changed
    assert store.change("message", "nowhere", work) is None


def test_what_a_change_raises_undoes_it(store: DocumentStore) -> None:
    add(store, "m-1")
    with pytest.raises(ZeroDivisionError):
        store.change("message", "m-1", fail)
    assert got(store, "m-1").body == {"id": "m-1"}
    assert store.change("message", "m-1", count_up) is not None


def test_what_a_change_writes_elsewhere_is_part_of_it(store: DocumentStore) -> None:
    add(store, "m-1")

    def work(document: Document) -> None:
        add(store, "m-2")
        if document.body.get("count"):
            raise ZeroDivisionError
        count_up(document)

    store.change("message", "m-1", work)
    assert listed(store) == ["m-2", "m-1"]
    store.delete("message", "m-2")
    with pytest.raises(ZeroDivisionError):
        store.change("message", "m-1", work)
    assert listed(store) == ["m-1"]


def test_no_change_of_several_at_once_is_lost(store: DocumentStore, other: DocumentStore) -> None:
    add(store, "m-1")
    with ThreadPoolExecutor(8) as pool:
        for each in [
            pool.submit((store, other)[number % 2].change, "message", "m-1", count_up) for number in range(80)
        ]:
            assert each.result() is not None
    assert got(store, "m-1").body["count"] == 80


def test_of_several_that_add_the_same_one_succeeds(store: DocumentStore, other: DocumentStore) -> None:
    outcomes: list[str] = []

    def insist(which: DocumentStore) -> None:
        try:
            which.add(message("m-1"))
        except DocumentExists:
            outcomes.append("exists")
        else:
            outcomes.append("added")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(insist, [store, other] * 8))
    assert sorted(outcomes) == ["added", *["exists"] * 15]


def test_several_that_add_at_once_get_a_place_each(store: DocumentStore, other: DocumentStore) -> None:
    def fill(number: int) -> None:
        add((store, other)[number % 2], f"m-{number}-a", f"m-{number}-b")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(40)))
    documents = store.page("message", "t-1", limit=100, descending=False).documents
    positions = [document.position for document in documents]
    assert len(documents) == 80
    assert positions == sorted(set(positions))


def test_one_document_is_deleted(store: DocumentStore, other: DocumentStore) -> None:
    add(store, "m-1", "m-2")
    assert store.delete("message", "m-1")
    assert not other.delete("message", "m-1")
    assert not store.delete("run", "m-2")
    assert other.get("message", "m-1") is None
    assert listed(other) == ["m-2"]
    add(other, "m-1")
    assert listed(store) == ["m-1", "m-2"]


def test_all_children_of_a_kind_are_deleted(store: DocumentStore) -> None:
    add(store, "m-1", "m-2", mark="r-1")
    add(store, "m-3")
    add(store, "m-4", parent="t-2")
    store.add(Document("run", "r-1", "t-1", 0.0, {}))
    assert store.delete_children("message", "t-1") == 3
    assert store.delete_children("message", "t-1") == 0
    assert listed(store) == listed(store, mark="r-1") == []
    assert store.get("message", "m-4") is not None
    assert store.get("run", "r-1") is not None


IDS = [f"m-{number}" for number in range(7)]


@pytest.mark.parametrize("descending", [True, False])
def test_a_list_is_read_page_by_page_in_both_directions(store: DocumentStore, descending: bool) -> None:
    add(store, *IDS)
    add(store, "elsewhere", parent="t-2")
    order = IDS[::-1] if descending else IDS
    for limit in (1, 2, 3, 6, 7, 8):
        options: dict[str, Any] = {"limit": limit, "descending": descending}
        forwards: list[str] = []
        page = store.page("message", "t-1", **options)
        forwards += [each.id for each in page.documents]
        while page.has_more:
            assert len(page.documents) == limit
            page = store.page("message", "t-1", after=forwards[-1], **options)
            forwards += [each.id for each in page.documents]
        assert forwards == order
        backwards = [order[-1]]
        has_more = True
        while has_more:
            page = store.page("message", "t-1", before=backwards[0], **options)
            backwards = [*(each.id for each in page.documents), *backwards]
            has_more = page.has_more
        assert backwards == order


@pytest.mark.parametrize("descending", [True, False])
def test_cursors_bound_a_list(store: DocumentStore, descending: bool) -> None:
    add(store, *IDS)
    order = IDS[::-1] if descending else IDS

    def read(**options: Any) -> tuple[list[int], bool]:
        page = store.page("message", "t-1", descending=descending, **options)
        return [order.index(each.id) for each in page.documents], page.has_more

    assert read(limit=3, after=order[1]) == ([2, 3, 4], True)
    assert read(limit=5, after=order[1]) == ([2, 3, 4, 5, 6], False)
    assert read(limit=3, after=order[6]) == ([], False)
    assert read(limit=3, before=order[5]) == ([2, 3, 4], True)
    assert read(limit=5, before=order[5]) == ([0, 1, 2, 3, 4], False)
    assert read(limit=3, before=order[0]) == ([], False)
    assert read(limit=3, after=order[0], before=order[6]) == ([1, 2, 3], True)
    assert read(limit=3, after=order[0], before=order[4]) == ([1, 2, 3], False)
    assert read(limit=3, after=order[4], before=order[0]) == ([], False)
    assert read(limit=3, after=order[3], before=order[3]) == ([], False)


def test_a_list_is_filtered_by_mark(store: DocumentStore) -> None:
    for number, each in enumerate(IDS):
        add(store, each, mark=("", "r-1", "r-2")[number % 3])
    assert listed(store, mark="r-1") == ["m-4", "m-1"]
    assert listed(store, mark="") == ["m-6", "m-3", "m-0"]
    assert listed(store, mark="r-3") == []
    assert listed(store, mark="r-2", after="m-4") == ["m-2"]
    assert listed(store, mark="", before="m-2", descending=False) == ["m-0"]
    page = store.page("message", "t-1", limit=1, mark="r-1")
    assert ([each.id for each in page.documents], page.has_more) == (["m-4"], True)
    newest = [store.newest("message", "t-1", mark) for mark in (None, "r-1", "r-2", "", "r-3")]
    assert [each and each.id for each in newest] == ["m-6", "m-4", "m-5", "m-6", None]
    assert store.newest("message", "t-2") is None


def test_a_cursor_must_be_in_the_list(store: DocumentStore) -> None:
    add(store, "m-1", "m-2")
    add(store, "elsewhere", parent="t-2")
    store.add(Document("run", "r-1", "t-1", 0.0, {}))
    for strange in ("elsewhere", "r-1", "nowhere", ""):
        for after, before in ((strange, None), (None, strange), ("m-2", strange)):
            with pytest.raises(DocumentUnknown, match="there is no message") as caught:
                listed(store, after=after, before=before)
            assert caught.value.id == strange
    store.delete("message", "m-1")
    with pytest.raises(DocumentUnknown, match="m-1"):
        listed(store, after="m-1")


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_has_room(store: DocumentStore, limit: int) -> None:
    with pytest.raises(ConfigurationError, match=f"a page of {limit} documents was asked for: ask for at least 1"):
        store.page("message", "t-1", limit=limit)


def write_everything(store: DocumentStore) -> None:
    add(store, "m-3", "m-4", mark="r-1")
    store.change("message", "m-1", count_up)
    store.change("message", "m-1", lambda document: setattr(document, "mark", "r-1"))
    store.delete("message", "m-2")
    store.delete("message", "m-3")
    store.add(message("m-2", mark="again"))
    store.delete_children("message", "t-2")


def everything(store: DocumentStore) -> list[list[Document]]:
    return [
        [*store.page("message", parent, limit=100, mark=mark).documents]
        for parent in ("t-1", "t-2")
        for mark in (None, "", "r-1", "again")
    ]


def write_together_and_fail(store: DocumentStore) -> None:
    with store.together():
        write_everything(store)
        assert listed(store) == ["m-2", "m-4", "m-1"]
        raise ZeroDivisionError


def test_what_fails_together_is_undone_together(store: DocumentStore, other: DocumentStore) -> None:
    add(store, "m-1", "m-2")
    add(store, "elsewhere", parent="t-2")
    before = everything(store)
    with pytest.raises(ZeroDivisionError):
        write_together_and_fail(store)
    assert everything(store) == everything(other) == before
    with store.together(), store.together():
        write_everything(store)
    assert listed(other) == ["m-2", "m-4", "m-1"]
    assert listed(other, mark="r-1") == ["m-4", "m-1"]


def test_a_part_that_fails_undoes_the_whole_even_if_that_is_caught(store: DocumentStore) -> None:
    add(store, "m-1")

    def swallow(part: Callable[[], object]) -> None:
        with store.together():
            add(store, "m-2")
            with suppress(ZeroDivisionError, DocumentExists):
                part()
            for further in (lambda: add(store, "m-3"), lambda: got(store, "m-1"), lambda: listed(store)):
                with pytest.raises(AssistantGuardError, match="a part of this transaction failed before"):
                    further()

    for part in (
        lambda: add(store, "m-1"),
        lambda: store.change("message", "m-1", fail),
        lambda: write_together_and_fail(store),
    ):
        with pytest.raises(AssistantGuardError, match="a part of this transaction failed before") as caught:
            swallow(part)
        assert isinstance(caught.value.__cause__, (ZeroDivisionError, DocumentExists))
        assert listed(store) == ["m-1"]
    add(store, "m-2")


def test_what_is_not_found_fails_nothing(store: DocumentStore) -> None:
    with store.together():
        add(store, "m-1")
        with pytest.raises(DocumentUnknown):
            listed(store, after="nowhere")
        assert store.change("message", "nowhere", fail) is None
    assert listed(store) == ["m-1"]


def test_nobody_sees_half_of_what_is_done_together(store: DocumentStore, other: DocumentStore) -> None:
    seen: list[list[str]] = []
    reading = threading.Event()

    def read() -> None:
        reading.set()
        seen.append(listed(other))

    reader = threading.Thread(target=read)
    with store.together():
        add(store, "m-1")
        reader.start()
        reading.wait()
        add(store, "m-2")
    reader.join()
    assert seen in ([[]], [["m-2", "m-1"]])


def test_documents_are_where_the_books_are(ledger: Ledger, store: DocumentStore) -> None:
    add(store, "m-1")
    assert listed(open_documents(ledger)) == ["m-1"]
    assert store.in_process == ledger.in_process
    assert listed(open_documents(MemoryLedger())) == []


def test_documents_and_books_are_written_together(database_url: str) -> None:
    books = open_ledger(database_url)
    store = open_documents(books)

    def reserve_and_fail() -> None:
        with store.together():
            add(store, "m-1")
            books.reserve("h1", [claim(10)], 99.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        reserve_and_fail()
    assert (listed(store), books.open_holds()) == ([], ())
    with store.together():
        add(store, "m-1")
        books.reserve("h1", [claim(10)], 99.0)
    assert (listed(store), len(books.open_holds())) == (["m-1"], 1)
    books.database.close()
