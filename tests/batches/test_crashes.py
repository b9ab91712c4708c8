from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from assistantguard import (
    Assistant,
    AssistantGuard,
    Budget,
    Job,
    ModelRouting,
    Otherwise,
    Policy,
    ReplyCache,
    TransientRetry,
)
from assistantguard.batches import BatchResult, admitting
from assistantguard.batches import state as state_module
from assistantguard.ledger import Ledger, MemoryLedger, open_ledger
from tests.batches.api import INPUT, OUTPUT, Api
from tests.batches.killing import Killer
from tests.support.world import WatchedLedger

JOBS = [
    Job(f"question {number}", user="anna", model=model)
    for number, model in enumerate(["gpt-4.1-mini", "gpt-4.1-mini", "gpt-4.1"])
]
USED = INPUT + OUTPUT


SAME = [Job("question 0", user="anna"), Job("question 0", user="anna")]
"""The second is answered with the first one's reply."""


def run(
    api: Api, ledger: Ledger | None, through: Any = "batch", state: Path | None = None, jobs: Sequence[Job] = JOBS
) -> BatchResult:
    policies: list[Policy] = [Budget("user", tokens=1_000_000), TransientRetry()]
    if jobs is SAME:
        policies += [
            Budget("user", messages=2, name="messages"),
            ReplyCache(store="ledger"),
            ModelRouting([Otherwise("gpt-5-nano")]),
        ]
    with AssistantGuard(api.client(), Assistant("gpt-4.1-mini"), policies=policies, ledger=ledger, sinks=[]) as bot:
        return bot.batch(jobs, through=through, poll=0.001, idempotency_key="mine", state=state)


def check_books(ledger: Ledger) -> None:
    assert ledger.open_holds() == ()
    assert [entry.usage.total_tokens for entry in ledger.entries()] == [USED] * len(JOBS)
    (row,) = ledger.usage(["user"])
    assert (row.group, row.usage.total_tokens, row.unpriced) == (("anna",), USED * len(JOBS), 0)


def crash_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: Any, check: Any, jobs: Sequence[Job] = JOBS
) -> int:
    """End the process at each step in turn, go on in another one, and check what came of it; return how many steps."""
    empty = tmp_path / "empty.db"
    open_ledger(f"sqlite:///{empty}").database.close()
    for at in itertools.count(1):
        api = Api()
        shutil.copy(empty, tmp_path / f"{at}.db")
        ledger = open_ledger(f"sqlite:///{tmp_path}/{at}.db")
        with contextlib.closing(ledger.database), monkeypatch.context() as patched:
            killer = Killer(patched, api)
            with killer.process(at):
                run(api, ledger, through, jobs=jobs)
                return at
            result = run(api, ledger, through, jobs=jobs)
            check(api, ledger, result)
            assert ledger.open_holds() == ()
    raise AssertionError


def test_a_crash_at_any_step_neither_loses_nor_repeats_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(api: Api, ledger: Ledger, result: BatchResult) -> None:
        assert [each.text for each in result.results] == [f"re: question {number}" for number in range(len(JOBS))]
        assert set(api.done.values()) == {1}
        check_books(ledger)

    assert crash_everywhere(tmp_path, monkeypatch, "batch", check) > 50


def test_a_crash_at_any_step_loses_no_job_that_the_cache_answers_and_counts_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(api: Api, ledger: Ledger, result: BatchResult) -> None:
        assert [each.text for each in result.results] == ["re: question 0"] * 2
        assert [each.model for each in result.results] == ["gpt-5-nano"] * 2
        assert len(ledger.entries()) == 2
        assert api.done["question 0"] <= 2
        assert sum(entry.usage.total_tokens for entry in ledger.entries()) == api.done["question 0"] * USED

    assert crash_everywhere(tmp_path, monkeypatch, "batch", check, SAME) > 30


def test_a_crash_at_any_step_of_a_window_repeats_no_job_and_books_what_it_may_have_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(api: Api, ledger: Ledger, result: BatchResult) -> None:
        assert max(api.begun.values()) == 1
        unknown = [each for each in result.results if not each.completed]
        assert [each.error.code for each in unknown if each.error] in ([], ["outcome_unknown"])
        assert all(each.usage.estimated for each in unknown)
        assert len(ledger.entries()) == len(JOBS)

    assert crash_everywhere(tmp_path, monkeypatch, "2h", check) > 50


def test_books_in_memory_hold_again_what_a_state_file_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, state = Api(), tmp_path / "jobs.state"
    with monkeypatch.context() as patched:
        patched.setattr(admitting, "PROCESS", "another")
        killer = Killer(patched, api)
        api.hook = lambda moment, request: killer.die() if request == "GET /batches/batch_1" else None
        with killer.process(None):
            run(api, MemoryLedger(), state=state)
        api.hook = lambda _moment, _request: None
        patched.undo()
    monkeypatch.setattr(state_module, "_is_dead", lambda _owner: True)
    ledger = WatchedLedger()
    result = run(api, ledger, state=state)
    assert [each.completed for each in result.results] == [True] * len(JOBS)
    assert api.requests.count("POST /batches") == 2
    assert not ledger.overdrafts
    check_books(ledger)
