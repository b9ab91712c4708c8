"""What a database URL says."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistantguard.storage import parse_url


def test_three_slashes_are_beside_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    url = parse_url("sqlite:///data/guard.db")
    monkeypatch.chdir("/")
    assert url.path == tmp_path / "data/guard.db"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////var/lib/guard.db", "/var/lib/guard.db"),
        ("SQLite:////var/lib/my%20guard%3F.db", "/var/lib/my guard?.db"),
        ("sqlite:////var/lib/guard.db?synchronous=FULL", "/var/lib/guard.db"),
        ("sqlite:////home/me@work/guard.db", "/home/me@work/guard.db"),
    ],
)
def test_four_slashes_are_an_absolute_path(url: str, path: str) -> None:
    assert parse_url(url).path == Path(path)


def test_a_file_may_be_written_through_at_every_commit() -> None:
    assert parse_url("sqlite:///guard.db?synchronous=full").synchronous == "full"
    assert parse_url("sqlite:///guard.db").synchronous == "normal"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "PostgreSQL"])
def test_what_stands_behind_the_scheme_is_for_libpq(scheme: str) -> None:
    url = parse_url(f"{scheme}://user:p%40ss@db.example:5433/app?sslmode=require")
    assert url.conninfo == "postgresql://user:p%40ss@db.example:5433/app?sslmode=require"
    assert url.shown == f"{scheme}://user:***@db.example:5433/app?sslmode=require"


def test_a_long_url_is_cut_where_it_is_shown() -> None:
    shown = parse_url("sqlite:///" + "x" * 3_000 + "/guard.db").shown
    assert len(shown) == 200
    assert shown.endswith("…")
