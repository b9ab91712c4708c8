"""What must hold after anything that can happen to a guard."""

from __future__ import annotations

from collections import Counter
from typing import Any

from assistantguard import Reply
from assistantguard.events import RunSettled, RunStarted, UsageCorrected
from assistantguard.sandbox import Sandbox
from tests.support.world import Bot, Outcome, Thread

__all__ = [
    "check_all",
    "check_books",
    "check_holds",
    "check_outcome",
    "check_requests",
    "check_thread",
    "paths",
    "user_texts",
]


def check_all(bot: Bot, sandbox: Sandbox, *threads: Thread, nameless: int = 0) -> None:
    check_books(bot, sandbox, nameless=nameless)
    check_holds(bot)
    check_requests(sandbox)
    for thread in threads or (bot.default,):
        check_thread(sandbox, thread)


def check_books(bot: Bot, sandbox: Sandbox, *, nameless: int = 0) -> None:
    """Every response is booked once, exactly as billed; where the server did not say, marked and not below.

    `nameless` responses were lost before their ids were told: each is covered by an entry without one.
    """
    entries = {entry.response_id: entry for entry in bot.ledger.entries()}
    known = [entry.response_id for entry in bot.ledger.entries() if entry.response_id is not None]
    assert len(known) == len(set(known)), "a response was booked twice"
    lost = [call for call in sandbox.billing.calls if call.response_id not in entries]
    assert len(lost) == nameless
    assert len(known) + nameless == len(sandbox.billing.calls)
    named = {"reply_cache"}  # for which nothing was sent
    covers = [entry.usage for entry in bot.ledger.entries() if entry.response_id is None and entry.purpose not in named]
    assert len(covers) >= nameless
    assert all(usage.estimated_tokens == usage.total_tokens > 0 for usage in covers)
    assert sum(usage.input_tokens for usage in covers) >= sum(call.input_tokens for call in lost)
    assert sum(usage.output_tokens for usage in covers) >= sum(call.output_tokens for call in lost)
    for call in sandbox.billing.calls:
        if call in lost:
            continue
        entry = entries[call.response_id]
        usage = entry.usage
        if call.usage_reported and not (usage.estimated and not call.billed):
            booked = (usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.output_tokens)
            billed = (call.input_tokens, call.cached_tokens, call.cache_write_tokens, call.output_tokens)
            assert booked == billed
            assert usage.reasoning_tokens == call.reasoning_tokens
            assert not usage.estimated
            assert entry.cost == call.cost
        else:
            # Not told, or told to be nothing although text was produced: a bound, marked as one.
            assert usage.estimated_tokens == usage.total_tokens > 0
            assert usage.input_tokens >= call.input_tokens
            assert usage.output_tokens >= call.output_tokens
            assert entry.cost is not None
            assert entry.cost >= (call.cost or 0)
    _check_sums(bot)


def _check_sums(bot: Bot) -> None:
    """Entries, balance, summary and events tell the same sums."""
    entries = bot.ledger.entries()
    tokens = sum(entry.usage.total_tokens for entry in entries)
    cost = sum(entry.cost for entry in entries if entry.cost is not None)
    summary = bot.guard.summary()
    used = summary["session_tokens_used"]
    assert used["total"] == used["input"] + used["output"] == tokens
    assert used["cached"] == sum(entry.usage.cached_tokens for entry in entries)
    assert used["reasoning"] == sum(entry.usage.reasoning_tokens for entry in entries)
    assert summary["estimated_tokens"] == sum(entry.usage.estimated_tokens for entry in entries)
    if all(entry.cost is not None for entry in entries):
        assert summary["cost"] == cost
    assert bot.ledger.balance(bot.session_account, "tokens").committed == tokens
    settled = bot.all(RunSettled)
    assert sorted(event.run_id for event in settled) == sorted(event.run_id for event in bot.all(RunStarted))
    ended: set[str] = set()
    told = 0
    for event in bot.events:
        if isinstance(event, RunSettled):
            ended.add(event.run_id)
            told += event.usage.total_tokens
        elif isinstance(event, UsageCorrected) and event.run_id in ended:
            told += event.usage.total_tokens - event.before.total_tokens
    assert told == tokens
    assert summary["run_count"] == len(settled)


def check_holds(bot: Bot) -> None:
    assert not bot.ledger.open_holds()
    assert bot.ledger.balance(bot.session_account, "tokens").held == 0
    assert bot.ledger.balance(bot.session_account, "cost").held == 0
    assert not bot.ledger.overdrafts, "more was used than was held"


def check_requests(sandbox: Sandbox) -> None:
    """Retries are the guard's alone, and each paid request can be told apart."""
    assert {request.headers.get("x-stainless-retry-count", "0") for request in sandbox.requests} <= {"0"}
    ids = [
        request.headers["x-client-request-id"] for request in sandbox.requests if request.endpoint == "POST /responses"
    ]
    assert len(ids) == len(set(ids))


def check_thread(sandbox: Sandbox, thread: Thread) -> None:
    """No message and no output stands twice, and no call is left open."""
    if thread.state.generation_id is None or thread.state.generation_id not in sandbox.conversations:
        return
    items = sandbox.conversation(thread.state.generation_id)
    twice = [text for text, count in Counter(user_texts(items)).items() if count > 1]
    assert not twice, f"stands twice: {twice}"
    calls = [item["call_id"] for item in items if item["type"] == "function_call"]
    outputs = [item["call_id"] for item in items if item["type"] == "function_call_output"]
    assert sorted(calls) == sorted(outputs)
    assert len(set(outputs)) == len(outputs)


def check_outcome(outcome: Outcome, text: str) -> None:
    """A reply is the answer to its own message."""
    if isinstance(outcome, Reply) and outcome.complete:
        assert outcome.text == text


def user_texts(items: list[dict[str, Any]]) -> list[str]:
    return [
        "".join(part.get("text", "") for part in item["content"])
        for item in items
        if item["type"] == "message" and item["role"] == "user"
    ]


def paths(sandbox: Sandbox, endpoint: str) -> int:
    """How many requests came to an endpoint."""
    return sum(request.endpoint == endpoint for request in sandbox.requests)
