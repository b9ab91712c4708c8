"""`Pacing` through the guard: waiting, refusing, learning, and what others may do meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from assistantguard import (
    Assistant,
    ConfigurationError,
    CostCap,
    Pacing,
    Reply,
    TooManyRequests,
    TransientRetry,
    drop_in,
    observe,
)
from assistantguard.events import PolicyObserved
from assistantguard.events.traffic import PacingRefused, PacingWaited
from assistantguard.pacing import lane, window
from assistantguard.sandbox import Fault, Sandbox
from assistantguard.sandbox.rate_limits import RateLimits
from tests.support.checks import check_all
from tests.support.world import Bot, World


@pytest.fixture
def short_minute(monkeypatch: pytest.MonkeyPatch) -> float:
    """A minute of pacing lasts a second or so."""
    monkeypatch.setattr(window, "_WIDTH", 0.01)
    monkeypatch.setattr(lane, "MINUTE", 1.2)
    return 1.2


def refused(bot: Bot, message: str = "Again?", **options: Any) -> TooManyRequests:
    outcome = bot.try_chat(message, **options)
    assert isinstance(outcome, TooManyRequests), outcome
    return outcome


def test_who_cannot_be_sent_in_time_is_refused_with_the_time_and_nothing_is_spent(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [Pacing(1, max_wait=0, name="the limit")])
    assert bot.chat("Hello").text
    before = time.time()
    error = refused(bot)
    assert error.policy == "the limit"
    assert error.lane == f"model:{bot.guard.assistant.model}"
    assert error.available_at is not None
    assert 0 < error.available_at - before <= 61
    assert "1 requests a minute" in str(error)
    (event,) = bot.all(PacingRefused)
    assert (event.lane, event.policy, event.available_at) == (error.lane, "the limit", error.available_at)
    assert len(sandbox.billing.calls) == 1
    check_all(bot, sandbox)


@pytest.mark.usefixtures("short_minute")
@pytest.mark.parametrize("streamed", [False, True])
def test_who_waits_is_answered_in_turn(world: World, streamed: bool) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [Pacing(2)])
    for number in range(5):
        assert isinstance(bot.try_chat(f"Message {number}", streamed=streamed), Reply)
    waited = bot.all(PacingWaited)
    assert len(waited) >= 2
    assert all(event.seconds > 0 for event in waited)
    check_all(bot, sandbox)


def test_many_at_once_are_sent_no_faster_than_the_limit_and_the_rest_is_refused(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [Pacing(5, max_wait=1, burst=1)])
    threads = [bot.thread(f"thread {number}") for number in range(12)]
    outcomes = bot.at_once(*(lambda thread=thread: thread.chat("Hello") for thread in threads))
    assert [type(outcome) for outcome in outcomes].count(Reply) == 5
    assert [type(outcome) for outcome in outcomes].count(TooManyRequests) == 7
    assert len(sandbox.billing.calls) == 5


@pytest.mark.parametrize("streamed", [False, True])
def test_the_servers_limits_are_learned_before_they_are_passed(world: World, streamed: bool) -> None:
    sandbox = world.sandbox(limits=RateLimits(requests_per_minute=3))
    bot = world.bot(sandbox, [Pacing(max_wait=0, burst=1)])
    for _ in range(3):
        assert isinstance(bot.try_chat("Hello", streamed=streamed), Reply)
    assert refused(bot, streamed=streamed).available_at is not None
    assert [request.status for request in sandbox.requests if request.path.endswith("/responses")] == [200] * 3


def test_a_rate_limit_of_the_server_is_waited_for_and_then_known(world: World) -> None:
    sandbox = world.sandbox(faults=[Fault.rate_limit(at=1, retry_after=0.2)])
    bot = world.bot(sandbox, [Pacing(1_000), TransientRetry(3)])
    assert bot.chat("Hello").text
    check_all(bot, sandbox)


def test_what_was_not_used_is_given_back(world: World) -> None:
    sandbox = world.sandbox(lambda _: "Yes.")
    assistant = Assistant("gpt-6-luna", "You answer.", max_output_tokens=800)
    bot = world.bot(sandbox, [Pacing(tokens_per_minute=1_000, max_wait=0, burst=1)], assistant=assistant)
    for _ in range(3):
        assert bot.chat("Is it?").text == "Yes."


def test_a_request_that_a_cap_refuses_takes_no_place(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [Pacing(1, max_wait=0), CostCap(session="0.000001")])
    for _ in range(3):
        assert not isinstance(bot.try_chat("Hello"), (Reply, TooManyRequests))


def test_an_observed_pace_only_tells(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [observe(Pacing(1, max_wait=0))])
    for _ in range(3):
        assert bot.chat("Hello").text
    assert [event.decision for event in bot.all(PolicyObserved)] == ["refuse", "refuse"]


def test_guards_that_share_a_database_share_the_pace(world: World, database_url: str) -> None:
    sandbox = world.sandbox()
    first, second = (world.bot(sandbox, [Pacing(2, max_wait=0, burst=1)], ledger=database_url) for _ in range(2))
    assert first.chat("Hello").text
    assert second.chat("Hello").text
    refused(first)
    refused(second)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_runs_of_the_drop_in_keep_to_the_pace(tmp_path: Path) -> None:
    with Sandbox() as sandbox, drop_in(sandbox.client(), policies=[Pacing(1, max_wait=0)], sinks=[]) as client:
        assistant = client.beta.assistants.create(model="gpt-6-luna")
        runs = []
        for _ in range(2):
            thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
            runs.append(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
        assert [run.status for run in runs] == ["completed", "failed"]
        assert runs[1].last_error is not None
        assert runs[1].last_error.code == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"requests_per_minute": 0}, "requests_per_minute is 0"),
        ({"tokens_per_minute": -1}, "tokens_per_minute is -1"),
        ({"tokens_per_minute": 1.5}, "tokens_per_minute is 1.5"),
        ({"max_wait": -1}, "max_wait is -1"),
        ({"max_queue": -1}, "max_queue is -1"),
        ({"per": "user"}, "per is 'user'"),
        ({"tier": "9"}, "tier is '9'"),
        ({"tier": "2", "requests_per_minute": 5}, "both a tier and numbers"),
        ({"priority": 101}, "priority is 101"),
        ({"burst": 0}, "burst is 0"),
    ],
)
def test_bad_input_is_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Pacing(**arguments)


def test_a_tier_stands_for_the_published_limits_of_the_model(world: World) -> None:
    sandbox = world.sandbox()
    assert world.bot(sandbox, [Pacing(tier="2")], assistant=Assistant("gpt-6-luna")).chat("Hello").text
    with pytest.raises(ConfigurationError, match="'a-model-of-mine' are known for the tier '2'"):
        world.bot(sandbox, [Pacing(tier="2")], assistant=Assistant("a-model-of-mine"))
