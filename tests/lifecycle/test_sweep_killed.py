from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from assistantguard.lifecycle import ServerDeletion
from assistantguard.storage.sqlite import SqliteDatabase
from tests.lifecycle.office import Office


class Killed(BaseException):
    """Stands in for SIGKILL: from then on, nothing that the sweep does reaches the database or the server."""


class Reaper:
    """Kills a sweep before or after the step of a number: a transaction, a query, or a call of the server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, *, after: bool) -> None:
        self.steps = 0
        self.step = step
        self.after = after
        self.dead = False
        open_one = SqliteDatabase._begun
        reaper = self

        @contextlib.contextmanager
        def transaction(database: SqliteDatabase, *, repeated: bool) -> Iterator[Any]:
            late = reaper.tick()
            with open_one(database, repeated=repeated) as begun:
                yield begun
            if late:
                raise Killed

        monkeypatch.setattr(SqliteDatabase, "_begun", transaction)
        for method in ("conversation", "vector_store"):
            monkeypatch.setattr(ServerDeletion, method, self._killing(getattr(ServerDeletion, method)))

    def tick(self) -> bool:
        """Count a step; return whether to die after it."""
        self.steps += 1
        if self.dead:
            raise Killed
        if self.steps < self.step:
            return False
        self.dead = True
        if not self.after:
            raise Killed
        return True

    def _killing(self, call: Callable[[ServerDeletion, str], Any]) -> Callable[[ServerDeletion, str], Any]:
        def method(server: ServerDeletion, identity: str) -> Any:
            late = self.tick()
            result = call(server, identity)
            if late:
                raise Killed
            return result

        return method


def unknown_to_the_books(office: Office) -> set[str]:
    """Conversations at the server that the database does not know, so that nobody would ever delete them."""
    rows = office.database.query("SELECT id FROM guard_generations WHERE deleted_at IS NULL")
    return set(office.sandbox.conversations) - {row[0] for row in rows}


def needed_and_gone(office: Office) -> set[str | None]:
    """Conversations that threads are in, and that are deleted at the server."""
    return {info.generation_id for info in office.threads()} - set(office.sandbox.conversations)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_sweep_may_be_killed_at_any_step(office: Office, after: bool) -> None:
    files = [office.client.files.create(file=("a.txt", b"text"), purpose="assistants").id]
    step, finished = 0, False
    while not finished:
        step += 1
        office.chat("u-1", f"old {step}", files=files)
        office.chat("u-1", f"older {step}")
        (older,) = (info for info in office.threads() if info.name == f"older {step}")
        office.store.archive(older.id, "u-1", office.later_time(-400))
        office.later(31)
        office.consent()
        with pytest.MonkeyPatch.context() as monkeypatch:
            reaper = Reaper(monkeypatch, step, after=after)
            try:
                office.sweep()
                finished = True
            except Killed:
                assert reaper.dead
        assert not needed_and_gone(office)
        assert not unknown_to_the_books(office)
        office.later(0.01)
        office.sweep()
        assert office.names(archived=False) == []
        assert f"older {step}" not in office.names()
        assert f"old {step}" in office.names(archived=True)
        assert {info.generation_id for info in office.threads()} == set(office.sandbox.conversations)
    assert step > 12
