"""Books, threads and commands over a database, for the tests of the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from typer.testing import CliRunner

from assistantguard.cli.app import app
from assistantguard.ledger import Claim, Entry, SqlLedger
from assistantguard.models import Usage
from assistantguard.models.thread import ThreadState
from assistantguard.storage import SqlThreads, open_database

__all__ = ["Books"]


class Books:
    """A database, what is written into it, and the commands that read it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = open_database(url)
        self.ledger = SqlLedger(self.database)
        self.threads = SqlThreads(self.database)
        self._count = 0

    def close(self) -> None:
        self.database.close()

    def run(self, *arguments: str, **options: Any) -> Any:
        """Run a command over the database."""
        command, *rest = arguments
        result = CliRunner().invoke(app, [command, "--database", self.url, *rest], **options)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What a command prints as JSON."""
        done = self.run(*arguments)
        assert done.exit_code == code, done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str, **options: Any) -> str:
        """What a command says that refuses."""
        done = self.run(*arguments, **options)
        assert done.exit_code == 2, done.output
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return str(done.stderr).replace("\n", " ")

    def book(
        self,
        user: str | None = None,
        *,
        tokens: int = 100,
        cost: str | None = "0.01",
        model: str = "gpt-6-luna",
        time: float = 1_795_000_000.0,
        tenant: str | None = None,
        thread: str = "t-1",
        claims: Sequence[Claim] = (),
    ) -> None:
        """Put one request on the books."""
        self._count += 1
        hold = f"hold_{self._count}"
        self.ledger.reserve(hold, claims, time + 600)
        usage = Usage(tokens, 0, 0, 0, 0, 0, 1)
        price = None if cost is None else Decimal(cost)
        self.ledger.commit(hold, Entry(time, thread, "run_1", 1, model, usage, price, user=user, tenant=tenant))

    def thread(self, thread_id: str, user: str | None = None, name: str | None = None, *tags: str) -> None:
        """Begin a thread."""
        state = ThreadState(thread_id, created_at=1_795_000_000.0, last_used_at=1_795_000_000.0)
        state.user, state.name, state.tags = user, name, tags
        self.threads.open(thread_id, "test", 0.0, 0.0, user=user, fresh=state)
        self.database.run(lambda transaction: transaction.execute("UPDATE guard_threads SET owner = NULL"))
