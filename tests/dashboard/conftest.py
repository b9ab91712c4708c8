"""Dashboards over a database with a few entries."""

from __future__ import annotations

import pytest

from assistantguard.dashboard import Dashboard
from assistantguard.events import Event
from tests.dashboard.calling import Caller
from tests.support.books import Books


@pytest.fixture
def told() -> list[Event]:
    """The events of changes."""
    return []


@pytest.fixture
def caller(books: Books, told: list[Event]) -> Caller:
    """A dashboard in which changes are allowed, and who was let in."""
    return Caller(Dashboard(books.database, sink=told.append, actor="mel"))
