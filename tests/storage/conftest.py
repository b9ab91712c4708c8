"""The stores that the conformance suites run over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistantguard.storage import MemoryThreads, SqlThreads, ThreadStore, open_database


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ThreadStore]:
    if request.param == "memory":
        yield MemoryThreads()
        return
    database = open_database(f"sqlite:///{tmp_path}/guard.db")
    yield SqlThreads(database)
    database.close()
