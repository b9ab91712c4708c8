"""The server under a small load: nothing goes wrong, and the benchmark would tell if it did."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from assistantguard import drop_in
from assistantguard.sandbox import Sandbox
from benchmarks import serve
from benchmarks._serve_clients import kinds_of, told
from benchmarks._serve_figures import figures_of_database
from benchmarks._serve_line import Line
from benchmarks._serve_tally import Tally

ANSWER = b"HTTP/1.1 408 Request Timeout\r\n\r\n"


@pytest.mark.timeout(240)
def test_forty_clients_of_all_kinds_are_answered_or_refused_and_nothing_is_left() -> None:
    figures = serve.measure(40, 3, 1, read_seconds=1, write_seconds=1)
    assert figures["wrong"] == [], figures["details"]
    assert sum(figures["clients"].values()) == 40
    outcomes = (figures["refused"], figures["closed"], figures["left"])
    assert figures["requests"] == figures["answered"] + sum(sum(counts.values()) for counts in outcomes)
    assert {"400", "401", "408"} <= set(figures["refused"])
    assert figures["closed"]["reader that takes nothing"] > 0
    assert figures["turns"] > 0
    assert figures["without_key"] > 0
    assert 0 < figures["tokens_billed"] <= figures["tokens_booked"]
    assert figures["height"]["descriptors"] > figures["idle"]["descriptors"]
    assert (figures["exit_code"], figures["runs_in_flight"], figures["holds_open"]) == (0, 0, 0)


def test_a_client_that_is_held_up_still_reads_what_came_meanwhile() -> None:
    """The program does nothing else while the answer comes and the client's patience ends, as on a busy machine."""

    async def read(server: socket.socket) -> tuple[bytes, bytes]:
        line = Line(server.getsockname())
        try:
            await line.open()
            connection, _ = server.accept()
            with connection:
                reading = asyncio.ensure_future(line.more(patience=0.05))
                await asyncio.sleep(0)
                connection.sendall(ANSWER)
                time.sleep(0.1)  # noqa: ASYNC251 - the whole program is held up
                first = await reading
            return first, await line.more()
        finally:
            line.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        assert asyncio.run(read(server)) == (ANSWER, b"")


@pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")
def test_what_a_database_holds_that_it_must_not_is_found(tmp_path: Path) -> None:
    file = tmp_path / "guard.db"
    with Sandbox() as sandbox:
        client = drop_in(sandbox.client(), ledger=f"sqlite:///{file}", sinks=[])
        client.beta.threads.create(messages=[{"role": "user", "content": "a mark"}])
        client.responses.create(model="gpt-6-luna", input="Hello")
        clean = figures_of_database(file, [], "another mark")
        assert not any(clean.values())
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            database.execute(
                "INSERT INTO guard_documents (kind, id, parent, mark, created_at, body)"
                """ VALUES ('run', 'run_1', '', '', 0, '{"status": "in_progress"}')"""
            )
        spoilt = figures_of_database(file, sandbox.billing.calls, "a mark")
    assert spoilt["without_key_in_the_database"] == 1
    assert spoilt["runs_in_flight"] == 1
    assert spoilt["tokens_booked_wrong"] == spoilt["tokens_billed"] > 0


def test_every_kind_of_client_is_there_at_any_number() -> None:
    for clients in (20, 40, 333, 1000):
        counts = told(kinds_of(clients))
        assert (sum(counts.values()), len(counts)) == (clients, 8)
    assert told(kinds_of(1000))["poll"] + told(kinds_of(1000))["stream"] > 500


def test_each_request_counts_as_one_thing() -> None:
    tally = Tally()
    for outcome in (200, 401, 503, "closed", "left", "silent", "200 cut off"):
        tally.note("a kind", outcome, frozenset({200, 401, "closed"}))
    assert (tally.requests, tally.answered) == (7, 1)
    assert tally.refused == {401: 1, 503: 1}
    assert (tally.closed, tally.left) == ({"a kind": 1}, {"a kind": 1})
    assert tally.unanswered == {"a kind: silent": 1, "a kind: 200 cut off": 1}
    assert tally.unexpected == {}


def test_what_is_not_due_is_told() -> None:
    tally = Tally()
    tally.note("a kind", "closed", frozenset({200}))
    tally.note("a kind", 500, frozenset({200}))
    tally.note("a kind", 200, frozenset({401}))
    other = Tally()
    other.add(tally)
    assert other.unanswered == {"a kind: closed": 1}
    assert other.unexpected == {"a kind: 500": 1, "a kind: 200": 1}


def test_the_exit_code_tells_that_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures: dict[str, Any] = {"unanswered": 1, "rest": [{"tasks": 2}], "details": ["a poll: silent"]}
    monkeypatch.setattr(serve, "measure", lambda *arguments: {**figures, "wrong": ["unanswered"]})
    for arguments in (["--json"], []):
        with pytest.raises(SystemExit) as ended:
            serve.main(arguments)
        assert ended.value.code == 1
    written = capsys.readouterr()
    document, _, lines = written.out.partition("\n}\n")
    assert json.loads(f"{document}}}")["wrong"] == ["unanswered"]
    assert "2 tasks" in lines
    assert "a poll: silent" in written.err
