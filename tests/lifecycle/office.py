"""A bot that serves users over a database and the sandbox, and is swept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from typing_extensions import Self

from assistantguard import Assistant, AssistantGuard, Policy
from assistantguard.events import Event
from assistantguard.lifecycle import SweepReport, consent_to_deletion, sweep
from assistantguard.sandbox import Sandbox
from assistantguard.storage import SqlThreads, ThreadFilter, ThreadInfo, open_database
from tests.support.clock import Clock

__all__ = ["DAY", "Office"]

DAY = 86_400.0


class Office:
    """Everything that a sweep has to do with."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.url = url
        self.clock = clock
        self.events: list[Event] = []
        """Of the sweeps."""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.sandbox = self._stack.enter_context(Sandbox())
        self.client = self._stack.enter_context(self.sandbox.client())
        self.database = open_database(self.url)
        self._stack.callback(self.database.close)
        self.store = SqlThreads(self.database)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def chat(
        self,
        user: str,
        *topics: str,
        policies: Sequence[Policy] = (),
        turns: int = 1,
        files: Sequence[str] = (),
    ) -> None:
        """One message of a user on each of his threads."""
        with AssistantGuard(
            self.client, Assistant(model="gpt-6-luna"), policies, ledger=self.url, sinks=[], max_threads_per_user=None
        ) as bot:
            for topic in topics:
                thread = bot.thread(user=user, topic=topic)
                if files:
                    thread.attach_files(files)
                for _ in range(turns):
                    thread.chat("Hello")

    def later(self, days: float) -> None:
        self.clock.advance(days * DAY)

    def later_time(self, days: float = 0.0) -> float:
        """The time so many days from now."""
        return time.time() + days * DAY

    def sweep(self, *, key: bool = True, apply: bool = True, **options: Any) -> SweepReport:
        return sweep(self.url, client=self.client if key else None, apply=apply, sinks=[self.events.append], **options)

    def consent(self, days: float = 365) -> None:
        consent_to_deletion(self.url, "Ada, the terms of use say so", delete_after=timedelta(days=days))

    def threads(self, *, archived: bool | None = None) -> list[ThreadInfo]:
        wanted = ThreadFilter(everyone=True, archived=archived, limit=1_000)
        return sorted(self.store.select(wanted), key=lambda info: (info.user or "", info.name or ""))

    def names(self, *, archived: bool | None = None) -> list[str | None]:
        return [info.name for info in self.threads(archived=archived)]

    def told(self) -> list[str]:
        """Names of the events of the sweeps since the last time."""
        names = [event.name for event in self.events]
        self.events.clear()
        return names
