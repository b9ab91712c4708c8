"""The connection is lost at the end of a transaction: documents are written once, and what is told is what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from assistantguard import DatabaseUnavailable
from assistantguard.storage import open_database
from assistantguard.storage.database import Row
from assistantguard.storage.documents import Document, DocumentExists
from assistantguard.storage.postgres import PostgresDatabase
from assistantguard.storage.sql_documents import SqlDocuments

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

Lose = Callable[..., None]


@pytest.fixture
def store(database_url: str) -> Iterator[SqlDocuments]:
    database = open_database(database_url)
    yield SqlDocuments(database)
    database.close()


@pytest.fixture
def other(database_url: str) -> Iterator[SqlDocuments]:
    database = open_database(database_url)
    yield SqlDocuments(database)
    database.close()


@pytest.fixture(params=[True, False], ids=["written", "undone"])
def written(request: pytest.FixtureRequest) -> bool:
    """Whether the server had done what it could not tell any more."""
    return bool(request.param)


@pytest.fixture
def lose(written: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lose]:
    """Once, the next end of a transaction is not heard; `meanwhile` somebody else does something."""
    execute_on = PostgresDatabase.execute_on
    armed: list[Callable[[], object]] = []

    def lossy(self: PostgresDatabase, connection: Any, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        if statement != "COMMIT" or not armed:
            return execute_on(self, connection, statement, parameters)
        meanwhile = armed.pop()
        execute_on(self, connection, "COMMIT" if written else "ROLLBACK")
        connection.close()
        self._set_current(None)
        meanwhile()
        raise DatabaseUnavailable("the connection was lost")

    def arm(meanwhile: Callable[[], object] = lambda: None) -> None:
        armed.append(meanwhile)

    monkeypatch.setattr(PostgresDatabase, "execute_on", lossy)
    yield arm
    assert not armed, "nothing was lost"


def message(document_id: str) -> Document:
    return Document("message", document_id, "t-1", 12.5, {})


def count_up(document: Document) -> None:
    document.body["count"] = document.body.get("count", 0) + 1


def count(store: SqlDocuments) -> int:
    document = store.get("message", "m-1")
    assert document is not None
    return int(document.body["count"])


def test_documents_are_added_once(store: SqlDocuments, lose: Lose) -> None:
    documents = [message(f"m-{number}") for number in range(60)]
    lose()
    store.add(*documents)
    assert store.page("message", "t-1", limit=100, descending=False).documents == documents


def test_of_two_that_add_the_same_the_other_is_told(
    store: SqlDocuments, other: SqlDocuments, lose: Lose, written: bool
) -> None:
    told: list[bool] = []

    def rival() -> None:
        try:
            other.add(message("m-1"))
        except DocumentExists:
            told.append(True)
        else:
            told.append(False)

    lose(rival)
    if written:
        store.add(message("m-1"))
    else:
        with pytest.raises(DocumentExists):
            store.add(message("m-1"))
    assert told == [written]


def test_a_change_is_made_once(store: SqlDocuments, lose: Lose) -> None:
    store.add(message("m-1"))
    for expected in (1, 2):
        if expected == 2:
            lose()
        changed = store.change("message", "m-1", count_up)
        assert changed is not None
        assert changed.body == {"count": expected}
    assert count(store) == 2


def test_a_change_that_cannot_be_told_from_another_s_is_said_to_be_unknown(
    store: SqlDocuments, other: SqlDocuments, lose: Lose, written: bool
) -> None:
    store.add(message("m-1"))
    lose(lambda: other.change("message", "m-1", lambda document: document.body.update(count=10)))
    with pytest.raises(DatabaseUnavailable, match="somebody else has changed it since: read it again") as caught:
        store.change("message", "m-1", count_up)
    assert caught.value.outcome_unknown
    assert not caught.value.undone
    assert count(store) == 10


def test_a_deletion_is_told(store: SqlDocuments, lose: Lose) -> None:
    store.add(message("m-1"))
    lose()
    assert store.delete("message", "m-1")
    assert not store.delete("message", "m-1")


def test_a_deletion_of_many_is_told(store: SqlDocuments, lose: Lose) -> None:
    store.add(message("m-1"), message("m-2"))
    lose()
    assert store.delete_children("message", "t-1") == 2
    assert store.delete_children("message", "t-1") == 0
