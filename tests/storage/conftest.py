"""The stores that the conformance suite runs over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistantguard.storage import MemoryThreads, SqlThreads, ThreadStore, open_database
from tests.support.databases import DIALECTS, fresh_url


@pytest.fixture(params=["memory", *DIALECTS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ThreadStore]:
    if request.param == "memory":
        yield MemoryThreads()
        return
    with fresh_url(request.param, tmp_path, lambda: request.getfixturevalue("postgres")) as url:
        database = open_database(url)
        yield SqlThreads(database)
        database.close()
