"""Replies in memory, in SQLite, in PostgreSQL and in a Valkey server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assistantguard.replies import MemoryReplies, RedisReplies, ReplyStore, SqlReplies
from assistantguard.storage import open_database
from tests.support.databases import DIALECTS, fresh_url
from tests.support.valkey import valkey_server

Open = Callable[[], ReplyStore]


@pytest.fixture(scope="session")
def valkey() -> Iterator[Any]:
    """A Valkey server of this process's own."""
    with valkey_server() as server:
        yield server


@pytest.fixture
def valkey_url(valkey: Any) -> Iterator[str]:
    """The URL of an empty Valkey server."""
    url = f"redis://{valkey.host}:{valkey.port}/0"
    yield url
    store = RedisReplies(url)
    store._client.flushall()
    store.close()


@pytest.fixture(params=["memory", *DIALECTS, "valkey"])
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same store once more: as another process would, or, in memory, as another part of the same."""
    if request.param == "memory":
        memory = MemoryReplies()
        yield lambda: memory
        return
    opened: list[Any] = []

    def kept(thing: Any) -> Any:
        opened.append(thing)
        return thing

    if request.param == "valkey":
        url = request.getfixturevalue("valkey_url")
        yield lambda: kept(RedisReplies(url))
    else:
        with fresh_url(request.param, tmp_path, lambda: request.getfixturevalue("postgres")) as url:
            yield lambda: SqlReplies(kept(open_database(url)))
            for database in opened:
                database.close()
        return
    for store in opened:
        store.close()


@pytest.fixture
def store(another: Open) -> ReplyStore:
    return another()
