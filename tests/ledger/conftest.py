"""The same ledger in memory, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistantguard.ledger import Ledger
from tests.support.databases import DIALECTS, Open, opened_again


@pytest.fixture(params=("memory", *DIALECTS))
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the books once more."""
    with opened_again(request.param, tmp_path, lambda: request.getfixturevalue("postgres")) as open_again:
        yield open_again


@pytest.fixture
def ledger(another: Open) -> Ledger:
    return another()
