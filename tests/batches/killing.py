"""Ending a process at each of its steps: before and after each request, and before and after each transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from assistantguard.batches import state
from assistantguard.storage.sqlite import SqliteDatabase
from tests.batches.api import Api, Killed

__all__ = ["Killer"]


class Killer:
    """Counts steps, and ends the process at one of them: nothing that it does from then on has any effect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, api: Api) -> None:
        self.at: int | None = None
        self.steps = 0
        self._dead = False
        api.hook = lambda _moment, _request: self._step()
        begun: Any = SqliteDatabase._begun

        @contextlib.contextmanager
        def watched(database: SqliteDatabase, *, repeated: bool) -> Iterator[Any]:
            self._step()
            with begun(database, repeated=repeated) as transaction:
                yield transaction
            self._step()

        monkeypatch.setattr(SqliteDatabase, "_begun", watched)
        monkeypatch.setattr(state, "_is_dead", lambda _owner: True)

    def _step(self) -> None:
        self.steps += 1
        if self._dead or self.steps == self.at:
            self._dead = True
            raise Killed

    def die(self) -> None:
        """End the process now."""
        self._dead = True
        raise Killed

    @contextlib.contextmanager
    def process(self, at: int | None) -> Iterator[None]:
        """A process that ends at that step; None lets it live."""
        self.at, self.steps, self._dead = at, 0, False
        with contextlib.suppress(Killed):
            yield
        self.at, self._dead = None, False
