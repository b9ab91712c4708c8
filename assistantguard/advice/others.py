"""Threads that mix topics, vector stores that nothing uses, users near their limits."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import unquote

from assistantguard.advice.bill import Change
from assistantguard.advice.making import is_worth_it, make
from assistantguard.advice.values import Suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistantguard.advice.bill import Reckoner
    from assistantguard.advice.history import LimitState

__all__ = ["limits", "topics", "vector_stores"]

_GIGABYTE = 1 << 30
_STORAGE_PRICE = Decimal("0.10")
"""US dollars for a gigabyte in vector stores, a day; https://developers.openai.com/api/docs/pricing. The first gigabyte
of all stores together is free."""
_DAY = 86_400
_NEAR = Decimal("0.8")
_MOST_LIMITS = 10


def topics(reckoner: Reckoner) -> Iterator[Suggestion]:
    """A new thread where a message leaves the topic."""
    leaving = sum(turn.leaves_topic for thread in reckoner.threads for turn in thread.turns[1:])
    if not leaving:
        return
    change = Change(fresh_topics=True)
    saving = reckoner.saving(change)
    if saving is None or not is_worth_it(reckoner, saving):
        return
    mixed = sum(any(turn.leaves_topic for turn in thread.turns[1:]) for thread in reckoner.threads)
    yield make(
        reckoner,
        "topics",
        saving,
        title="Begin a new thread where a message leaves the topic: what was said before is of no use to it.",
        setting='AssistantGuard(…, topic_check=TopicCheck())  # a new thread where reply.suggestion == "new_thread"',
        method="Every call is billed anew, with nothing of the thread before the last message that left its topic."
        " Topics are told by words, see TopicCheck.",
        evidence=f"{leaving:,} messages left the topic, on {mixed:,} of {len(reckoner.threads):,} threads",
        variants=reckoner.variants(change),
    )


def vector_stores(reckoner: Reckoner) -> Iterator[Suggestion]:
    """Stores that nothing uses."""
    history = reckoner.history
    stores = history.unused_stores
    if not stores:
        return
    sized = [store for store in stores if store.size_bytes is not None]
    end = history.last_time or 0.0
    byte_days = sum(
        ((store.size_bytes or 0) * Decimal(repr((end - store.idle_since) / _DAY)) for store in sized), Decimal(0)
    )
    saving = byte_days / _GIGABYTE * _STORAGE_PRICE if sized else None
    total = sum(store.size_bytes or 0 for store in sized)
    low = None if saving is None or not total else saving * max(0, total - _GIGABYTE) / total
    evidence = f"{len(stores):,} stores, {total / _GIGABYTE:.3g} GB in the {len(sized):,} whose size is known"
    yield Suggestion(
        "vector_stores",
        "Let vector stores go that nothing uses.",
        "VectorStoreReuse(expires_after_days=1)  # those that are there: assistantguard sweep",
        saving,
        low if saving is not None else None,
        saving,
        "unknown" if saving is None else "estimated",
        "Storage since their last known use, at 0.10 US dollars for a gigabyte and day. Range: from the free first"
        " gigabyte being left to these stores, to its being used by others."
        if sized
        else "Nobody told how large they are, so what they cost is not known.",
        evidence,
    )


def limits(reckoner: Reckoner) -> Iterator[Suggestion]:
    """Accounts that have spent most of their limit."""
    near = [state for state in reckoner.history.limits if state.refusals or state.spent >= _NEAR * state.limit]
    near.sort(key=lambda state: (-state.refusals, -state.spent / state.limit if state.limit else 0))
    if len(near) > _MOST_LIMITS:
        reckoner.history.notes["more accounts near their limits"] += len(near) - _MOST_LIMITS
    for state in near[:_MOST_LIMITS]:
        yield _limit(state)


def _limit(state: LimitState) -> Suggestion:
    who, named = _owner(state)
    share = state.spent / state.limit if state.limit else Decimal(1)
    refused = f" {state.refusals:,} requests were refused." if state.refusals else ""
    return Suggestion(
        "limits",
        f"{who} has spent {share:.0%} of {state.budget}.{refused}",
        f"bot.set_budget({named}{_limit_text(state)}, budget={state.budget!r})  # as it is now: raise it, or say so",
        None,
        None,
        None,
        "unknown",
        "The largest share of the limit that was told. It saves nothing; it tells who is served no more soon.",
        f"{state.spent:f} of {state.limit:f} {state.metric}",
    )


def _owner(state: LimitState) -> tuple[str, str]:
    """Whose account it is, for people and as an argument of ``set_budget``."""
    kind, _, name = state.account.partition("@")[0].partition(":")
    name = state.user or unquote(name)
    if not name:
        return "the application", ""
    return (name, f"{name!r}, ") if kind == "user" else (f"{kind} {name}", f"{kind}={name!r}, ")


def _limit_text(state: LimitState) -> str:
    return f"cost='{state.limit:f}'" if state.metric == "cost" else f"{state.metric}={int(state.limit):_}"
