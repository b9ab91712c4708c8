"""The same ledger in memory, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assistantguard import MemoryLedger
from assistantguard.ledger import Ledger, SqlLedger, open_ledger
from tests.support.databases import DIALECTS, fresh_url

Open = Callable[[], Ledger]


@pytest.fixture(params=("memory", *DIALECTS))
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the books once more: as another process would, or, in memory, as another part of the same."""
    if request.param == "memory":
        books = MemoryLedger()
        yield lambda: books
        return
    opened: list[SqlLedger] = []
    with fresh_url(request.param, tmp_path, lambda: request.getfixturevalue("postgres")) as url:

        def open_again() -> Ledger:
            opened.append(open_ledger(url))
            return opened[-1]

        yield open_again
        for ledger in opened:
            ledger.database.close()


@pytest.fixture
def ledger(another: Open) -> Ledger:
    return another()
