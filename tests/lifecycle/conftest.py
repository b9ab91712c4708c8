"""A bot over a database, and a clock that can be put forward."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.office import Office
from tests.support.clock import Clock


@pytest.fixture
def office(tmp_path: Path, clock: Clock) -> Iterator[Office]:
    with Office(f"sqlite:///{tmp_path / 'guard.db'}", clock) as office:
        yield office


@pytest.fixture
def any_office(database_url: str, clock: Clock) -> Iterator[Office]:
    """Once over each kind of database."""
    with Office(database_url, clock) as office:
        yield office
