"""The schema: made when it is missing, brought up to date once, refused when it is newer."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from assistantguard import ConfigurationError
from assistantguard.storage import MIGRATIONS, Database, Migration, migrations, open_database

FIRST = Migration(len(MIGRATIONS) + 1, "Colours", ("CREATE TABLE colours (id {identity}, name {text_key})",))
SECOND = Migration(
    len(MIGRATIONS) + 2,
    "Shades",
    ("ALTER TABLE colours ADD COLUMN shade TEXT", "INSERT INTO colours (name) VALUES ('red')"),
)


def set_known(monkeypatch: pytest.MonkeyPatch, known: Sequence[Migration]) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", tuple(known))


def versions(database: Database) -> list[tuple[object, ...]]:
    return database.query("SELECT version, title FROM guard_schema ORDER BY version")


def test_steps_are_numbered_from_one() -> None:
    assert [step.number for step in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_a_new_database_gets_every_step(database_url: str) -> None:
    database = open_database(database_url)
    assert versions(database) == [(step.number, step.title) for step in MIGRATIONS]
    database.close()


def test_an_older_database_gets_what_it_lacks(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(database_url).close()
    for known in ((FIRST,), (FIRST, SECOND), (FIRST, SECOND)):
        set_known(monkeypatch, (*MIGRATIONS, *known))
        database = open_database(database_url)
        assert versions(database) == [(step.number, step.title) for step in (*MIGRATIONS, *known)]
        database.close()
    assert database.query("SELECT id, name, shade FROM colours") == [(1, "red", None)]
    database.close()


def test_a_newer_database_is_refused_with_the_mend(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        set_known(later, (*MIGRATIONS, FIRST))
        open_database(database_url).close()
    with pytest.raises(ConfigurationError) as caught:
        open_database(database_url)
    newest = MIGRATIONS[-1].number
    assert f"has schema version {newest + 1}, this assistantguard knows versions up to {newest}" in str(caught.value)
    assert "pip install --upgrade assistantguard" in str(caught.value)


def test_a_step_that_fails_changes_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Migration(len(MIGRATIONS) + 2, "Broken", ("CREATE TABLE shapes (id {identity})", "SELECT 1 FROM nowhere"))
    with monkeypatch.context() as later:
        set_known(later, (*MIGRATIONS, FIRST, broken))
        with pytest.raises(Exception, match="nowhere"):
            open_database(database_url)
    database = open_database(database_url)
    assert not database.has_table("colours")
    assert not database.has_table("shapes")
    database.close()


def test_several_open_a_new_database_at_once(database_url: str) -> None:
    opened: list[Database] = []
    threads = [threading.Thread(target=lambda: opened.append(open_database(database_url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 6
    assert versions(opened[0]) == [(step.number, step.title) for step in MIGRATIONS]
    for database in opened:
        database.close()
