"""The kill test over the drop-in: runs of the Assistants API, created by one process and polled by another."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from assistantguard import drop_in
from assistantguard.ledger import open_ledger
from assistantguard.storage import SqlThreads
from assistantguard.tools import Toolbox
from benchmarks._kill_dropin_worker import DropInSetting, drop_in_options, work_over_drop_in
from benchmarks._kill_test import KillTest
from benchmarks._soak_guards import MODEL, blocking_client, look_up
from benchmarks._soak_model import read_reply

if TYPE_CHECKING:
    from benchmarks._kill_worker import Task

__all__ = ["DropInKillTest"]

_THREADS = 24
_ENDED = ("completed", "failed", "cancelled", "expired", "incomplete")


class DropInKillTest(KillTest):
    """See `KillTest`."""

    @property
    def _work(self) -> Callable[..., None]:
        return work_over_drop_in

    def _names(self) -> list[str]:
        """The ids of new threads, for an assistant that all workers use."""
        functions = [
            {"type": "function", "function": {name: value for name, value in schema.items() if name != "type"}}
            for schema in Toolbox([look_up]).schemas
        ]
        with warnings.catch_warnings(), blocking_client(self._sandbox.base_url) as client:
            warnings.simplefilter("ignore")  # the SDK calls the whole of client.beta deprecated
            beta: Any = drop_in(client, **drop_in_options(self._setting)).beta
            assistant = beta.assistants.create(model=MODEL, instructions="You answer questions.", tools=functions)
            given = self._setting
            self._setting = DropInSetting(given.base_url, given.database, given.lease_seconds, assistant.id)
            return [beta.threads.create().id for _ in range(_THREADS)]

    def _task(self, thread: str, mark: str, text: str) -> Task:
        return replace(super()._task(thread, mark, text), hands_over=self._dice.random() < 0.5)

    def _look(self) -> tuple[dict[str, str | None], dict[str, int]]:
        ledger = open_ledger(self._setting.database)
        try:
            threads = SqlThreads(ledger.database, content=True)
            places = {thread.name: threads.state(thread.name).generation_id for thread in self._threads}
            booked = self._hold_books_against(self._sandbox.bill(), ledger)
        finally:
            ledger.database.close()
        self._judge_messages()
        return places, booked

    def _judge_messages(self) -> None:
        """Each message stands in its thread's list once, and is answered once."""
        with warnings.catch_warnings(), blocking_client(self._sandbox.base_url) as client:
            warnings.simplefilter("ignore")
            beta: Any = drop_in(client, **drop_in_options(self._setting)).beta
            for thread in self._threads:
                asked: Counter[str] = Counter()
                answered: Counter[str] = Counter()
                for message in beta.threads.messages.list(thread.name, order="asc", limit=100):
                    text = "".join(part.text.value for part in message.content)
                    if message.role == "user":
                        asked[text.partition("]")[0].lstrip("[")] += 1
                    elif (said := read_reply(text)) is not None:
                        answered[said.mark] += 1
                for mark in thread.done:
                    found = f"{thread.name} {mark}: listed {asked[mark]} times, its answer {answered[mark]} times"
                    if not asked[mark] or not answered[mark]:
                        self._wrong("turns_lost", found)
                    elif asked[mark] > 1 or answered[mark] > 1:
                        self._wrong("turns_doubled", found)
                active = [run.id for run in beta.threads.runs.list(thread.name).data if run.status not in _ENDED]
                if active:
                    self._wrong("threads_unusable", f"{thread.name} has active runs: {active}")
