"""What the prompt cache could save and does not, and what it costs for nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.advice.bill import AsItWas, Change
from assistantguard.advice.making import is_worth_it, make
from assistantguard.forecast.thread_cost import CACHE_MINIMUM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistantguard.advice.bill import Loss, Reckoner
    from assistantguard.advice.history import ModelCall, ThreadHistory
    from assistantguard.advice.values import Suggestion

__all__ = ["cache_gaps", "cache_minimum", "cache_prefix", "cache_writes"]

_LONG_KEPT_WRITE = 2
"""What writing for 12 hours costs of writing for 30 minutes, https://developers.openai.com/api/docs/guides/prompt-caching:
2.5 times the input price, in place of 1.25."""
_KEPT_SECONDS = 12 * 3_600.0
_MOST_ADDED = 512
"""Tokens of instructions that may be worth adding to be cached."""
_SAME_ASSISTANT = 16
"""Tokens by which the instructions and tools of one assistant may seem to differ."""
_MARGIN = 8


def cache_prefix(reckoner: Reckoner) -> Iterator[Suggestion]:
    """Calls that follow at once and find nothing: something before the conversation changed."""
    lost = _lost(reckoner, "prefix")
    saving = reckoner.saving(Change(mended="prefix"))
    if lost and saving is not None and is_worth_it(reckoner, saving):
        yield make(
            reckoner,
            "cache_prefix",
            saving,
            title="Keep instructions and tools the same from call to call: what changes in them empties the prompt"
            " cache.",
            setting="Assistant(model, instructions=INSTRUCTIONS)  # dates, names and ids go into the message",
            method="Calls that came within 4 minutes of the last one on their thread, and found less than half of what"
            " it had read, are billed as if they had found it. Other causes, such as a server that dropped the"
            " prompt early, look the same.",
            evidence=f"{len(lost):,} of {reckoner.as_it_was.calls:,} calls",
        )


def cache_gaps(reckoner: Reckoner) -> Iterator[Suggestion]:
    """Calls that come after the cache has forgotten: it can be asked to keep prompts longer."""
    lost = _lost(reckoner, "gap")
    if not lost:
        return
    change = Change(mended="gap")
    mended = reckoner.reckon(change)
    before = reckoner.as_it_was.cost
    if mended.cost is None or before is None:
        return
    writes = any(reckoner.bills_writes(call.model) for call in lost)
    saving = before - mended.cost - (_LONG_KEPT_WRITE - 1) * mended.write_cost
    if not is_worth_it(reckoner, saving):
        return
    wanted = '{"prompt_cache_options": {"ttl": "12h"}}' if writes else '{"prompt_cache_retention": "24h"}'
    yield make(
        reckoner,
        "cache_gaps",
        saving,
        title="Have prompts kept longer: users come back after the prompt cache has forgotten their thread.",
        setting=f"Assistant(model, …, extra_body={wanted})",
        method="Calls that came 30 minutes or more after the last one on their thread, and found less than half of what"
        " it had read, are billed as if they had found it; what is written to the cache at twice its price."
        if writes
        else "Calls that came 30 minutes or more after the last one on their thread, and found less than half of what"
        " it had read, are billed as if they had found it.",
        evidence=f"{len(lost):,} of {reckoner.as_it_was.calls:,} calls",
        sureness="estimated",
        variants=[saving * sum(call.gap <= _KEPT_SECONDS for call in lost) / len(lost)],
        between="what comes after the longer time all the same lost",
    )


def cache_writes(reckoner: Reckoner) -> Iterator[Suggestion]:
    """Writes to the cache that cost more than reading from it saves."""
    for model, threads in _by_model(reckoner).items():
        if not reckoner.bills_writes(model):
            continue
        before = reckoner.reckon(AsItWas, threads).cost
        after = reckoner.reckon(Change(cache=False), threads).cost
        if before is None or after is None or not is_worth_it(reckoner, before - after):
            continue
        calls = [call for thread in threads for turn in thread.turns for call in turn.calls]
        written, read = sum(call.cache_write_tokens for call in calls), sum(call.cached_tokens for call in calls)
        yield make(
            reckoner,
            "cache_writes",
            before - after,
            title=f"Turn the prompt cache off for {model}: what is written to it is hardly ever read.",
            setting='Assistant(model, …, extra_body={"prompt_cache_options": {"mode": "explicit"}})',
            method="Every call is billed anew without writing to the prompt cache and without reading from it.",
            evidence=f"{written:,} tokens were written to the cache, {read:,} read from it",
        )


def cache_minimum(reckoner: Reckoner) -> Iterator[Suggestion]:
    """Requests that are a little too short to be cached."""
    for model, threads in _by_model(reckoner).items():
        fixed, longest = (pick(thread.fixed for thread in threads) for pick in (min, max))
        more = CACHE_MINIMUM + _MARGIN - fixed
        if not 0 < more <= _MOST_ADDED or longest - fixed > _SAME_ASSISTANT:
            continue
        before = reckoner.reckon(AsItWas, threads).cost
        after = reckoner.reckon(Change(more_fixed=more), threads).cost
        if before is None or after is None or not is_worth_it(reckoner, before - after):
            continue
        calls = [call for thread in threads for turn in thread.turns for call in turn.calls]
        short = sum(call.input_tokens < CACHE_MINIMUM for call in calls)
        yield make(
            reckoner,
            "cache_minimum",
            before - after,
            title=f"Give {model} {more} more tokens of instructions, such as examples: they and the tools have"
            f" {fixed:,} now, and nothing below {CACHE_MINIMUM:,} is cached.",
            setting=f"Assistant({model!r}, instructions=INSTRUCTIONS + EXAMPLES)  # {more} tokens more",
            method="Every call is billed anew with longer instructions, and finds in the prompt cache what such calls"
            " find. Assumed: answers stay as long.",
            evidence=f"{short:,} of {len(calls):,} calls read fewer than {CACHE_MINIMUM:,} tokens",
            sureness="estimated",
            variants=[Decimal(0)],
            between="nothing, where the server finds nothing",
        )


def _lost(reckoner: Reckoner, cause: Loss) -> list[ModelCall]:
    return [call for thread in reckoner.threads for turn in thread.turns for call in turn.calls if call.loss == cause]


def _by_model(reckoner: Reckoner) -> dict[str, list[ThreadHistory]]:
    """Threads that one model answered."""
    found: dict[str, list[ThreadHistory]] = {}
    for thread in reckoner.threads:
        models = {call.model for turn in thread.turns for call in turn.calls}
        if len(models) == 1:
            found.setdefault(models.pop(), []).append(thread)
    return found
