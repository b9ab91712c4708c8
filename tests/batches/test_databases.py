from __future__ import annotations

import contextlib

import pytest

from assistantguard import Budget, Job, ModelRouting, ReplyCache, ShortMessages
from assistantguard.batches import state
from assistantguard.ledger import open_ledger
from tests.batches.api import INPUT, OUTPUT, Api, Killed

ROUTED = "gpt-5-nano"
LONG = "Tell me all about it, from its beginning to its end, and leave nothing out."
JOBS = [Job(text, user="anna") for text in ("Hi", LONG, "Hi", "Known")]


@pytest.mark.parametrize(("through", "last"), [("batch", "GET /batches/batch_2"), ("2h", "GET /responses/resp_3")])
def test_what_a_killed_process_began_another_one_ends_on_either_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch, through: str, last: str
) -> None:
    api = Api()
    policies = [
        Budget("user", tokens=1_000_000, messages=100),
        ModelRouting([ShortMessages(ROUTED, max_tokens=5)]),
        ReplyCache(store="ledger"),
    ]

    def die(_moment: str, request: str) -> None:
        if request == last:
            raise Killed

    def batch(jobs: list[Job]) -> object:
        with api.guard(policies, ledger=database_url) as bot:
            return bot.batch(jobs, through=through, poll=0.001)  # type: ignore[arg-type]

    batch(JOBS[3:])
    api.hook = die
    with contextlib.suppress(Killed):
        batch(JOBS)
    monkeypatch.setattr(state, "_is_dead", lambda _owner: True)
    api.hook = lambda _moment, _request: None
    with api.guard(policies, ledger=database_url) as bot:
        result = bot.batch(JOBS, through=through, poll=0.001)  # type: ignore[arg-type]
        committed = {line.metric: line.committed for line in bot.budget("anna").lines}
    assert [each.text for each in result.results] == [f"re: {job.input}" for job in JOBS]
    assert [each.model for each in result.results] == [ROUTED, "gpt-4.1-mini", ROUTED, ROUTED]
    assert [each.cached for each in result.results] == [False, False, True, True]
    assert set(api.done.values()) == {1}
    assert committed == {"tokens": 3 * (INPUT + OUTPUT), "messages": 5}
    ledger = open_ledger(database_url)
    with contextlib.closing(ledger.database):
        assert not ledger.open_holds()
        assert sum(entry.usage.total_tokens for entry in ledger.entries()) == 3 * (INPUT + OUTPUT)
        assert sorted(entry.purpose for entry in ledger.entries()) == ["reply_cache"] * 2 + ["run"] * 3
