from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from assistantguard.cli.app import app
from tests.support.books import Books

PROGRAM = (sys.executable, "-W", "error", "-m", "assistantguard.cli", "dashboard", "--port", "0")


class Program:
    """``assistantguard dashboard`` over books."""

    def __init__(self, books: Books, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env={**os.environ, "COLUMNS": "60", "ASSISTANTGUARD_LEDGER": books.url},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", self.said)
        assert found is not None, self.said + self.process.stderr.read()
        self.link = found[0]

    def ends(self, number: int) -> tuple[int, str, str]:
        """Send a signal; the exit code, and what it said after its first line."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        with self.process.stdout as stdout, self.process.stderr as stderr:
            remarks, output = stderr.read(), stdout.read()
        return self.process.wait(60), output, remarks


def test_it_prints_a_link_once_lets_its_holder_in_and_tells_changes(books: Books) -> None:
    program = Program(books, "--allow-changes")
    try:
        assert "changes are allowed" in program.said
        with httpx.Client(follow_redirects=True) as client:
            page = client.get(program.link)
            assert (page.status_code, page.url.query) == (200, b"")
            form = client.get(page.url.join("/account?account=user:ann@day")).text
            token = form.partition('name="form_token" value="')[2].partition('"')[0]
            fields = {"form_token": token, "account": "user:ann@day", "metric": "tokens", "amount": "5"}
            assert client.post(page.url.join("/account/set"), data=fields).status_code == 200
    finally:
        code, output, remarks = program.ends(signal.SIGTERM)
    assert (code, output) == (0, "")
    assert "give --events FILE to have them kept" in remarks
    assert "budget.limit_changed" in remarks
    assert "account=user:ann@day metric=tokens limit=5" in remarks.replace("\n", " ")
    assert "token=" not in remarks


def test_it_reads_only_unless_told_otherwise_and_ends_at_ctrl_c(books: Books) -> None:
    program = Program(books)
    assert "read only" in program.said
    assert program.ends(signal.SIGINT) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "70000"], "it must be at most 65535"),
        (["--port", "0", "--timezone", "Mars/Olympus"], "Mars/Olympus"),
        (["--port", "0", "--events", "."], "--events . is no file"),
        (["--port", "0", "--events", "/nowhere/events", "--allow-changes"], "/nowhere/events"),
        (["--port", "0", "--policies", "nothing"], "give MODULE:NAME"),
        (["--port", "0", "--database", "sqlite:////nowhere/guard.db"], "there are no books"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(books: Books, arguments: list[str], told: str) -> None:
    assert told in re.sub(r"[\s│]+", " ", books.refused("dashboard", *arguments))


def test_a_port_that_is_taken_is_told(books: Books) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "give another port" in books.refused("dashboard", "--port", str(taken.getsockname()[1]))


def test_no_database_is_told() -> None:
    done = CliRunner().invoke(app, ["dashboard"])
    assert done.exit_code == 2
    assert "no database is named" in done.stderr


def test_a_missing_extra_is_named(books: Books) -> None:
    blocked = (
        "import sys; sys.modules[sys.argv[1]] = None; del sys.argv[1]; from assistantguard.cli import main; main()"
    )
    command = [sys.executable, "-c", blocked, "jinja2", "dashboard", "--database", books.url, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install 'assistantguard[dashboard]'" in done.stderr.splitlines()[-1]
