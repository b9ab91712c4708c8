"""From a history to advice."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.advice.bill import Reckoner
from assistantguard.advice.caching import cache_gaps, cache_minimum, cache_prefix, cache_writes
from assistantguard.advice.cheaper import DEFAULT_CHEAPER, cheaper_model
from assistantguard.advice.others import limits, topics, vector_stores
from assistantguard.advice.rotating import rotation
from assistantguard.advice.steps import step_ceiling
from assistantguard.advice.values import Advice
from assistantguard.errors import ConfigurationError
from assistantguard.forecast.thread_cost import CACHE_MINIMUM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistantguard.advice.history import History
    from assistantguard.advice.values import Suggestion
    from assistantguard.prices import PriceBook

__all__ = ["advise"]


def advise(history: History, *, prices: PriceBook | None = None, cheaper: str = DEFAULT_CHEAPER) -> Advice:
    """What would change the bill of a history.

    Args:
        history: From `read_events`, `read_ledger` or `history_of`.
        prices: What models cost; None takes the table.
        cheaper: The model that short and simple turns could go to.

    Raises:
        ConfigurationError: `cheaper` has no known price.
    """
    reckoner = Reckoner(history, prices)
    if reckoner.prices.price(cheaper) is None:
        raise ConfigurationError(
            f"cheaper is {cheaper!r}, which has no known price, so nothing could be compared: name another, for example"
            f" {DEFAULT_CHEAPER!r}"
        )
    found = sorted(_all(reckoner, cheaper), key=lambda each: (each.saving is None, -(each.saving or Decimal(0))))
    _note(history)
    return Advice(
        history.source,
        len(history.threads),
        history.turns,
        history.calls,
        reckoner.booked,
        reckoner.error,
        history.first_time,
        history.last_time,
        tuple(found),
        history.notes,
    )


def _all(reckoner: Reckoner, cheaper: str) -> Iterator[Suggestion]:
    yield from rotation(reckoner)
    yield from topics(reckoner)
    yield from cheaper_model(reckoner, cheaper)
    yield from step_ceiling(reckoner)
    yield from cache_prefix(reckoner)
    yield from cache_gaps(reckoner)
    yield from cache_writes(reckoner)
    yield from cache_minimum(reckoner)
    yield from vector_stores(reckoner)
    yield from limits(reckoner)


def _note(history: History) -> None:
    calls = [call for thread in history.threads for turn in thread.turns for call in turn.calls]
    short = sum(call.input_tokens < CACHE_MINIMUM for call in calls)
    notes = {
        f"calls that read fewer than {CACHE_MINIMUM:,} tokens, of which no prompt cache keeps anything": short,
        "calls whose usage was never told; the booked bound stands for them": sum(call.is_estimate for call in calls),
        "threads that were not told the size of their instructions and tools; it was guessed": sum(
            not thread.fixed_known for thread in history.threads
        ),
    }
    history.notes.update({note: count for note, count in notes.items() if count})
    if not history.topics_judged and history.threads:
        history.notes["threads whose topics nobody judged: give the guard topic_check=TopicCheck()"] += len(
            history.threads
        )
