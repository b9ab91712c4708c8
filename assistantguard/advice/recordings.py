"""From recorded conversations to a history: what an application without a guard would have been billed for them.

Tokens are counted as the sandbox counts them, and the prompt cache forgets nothing, as in ``assistantguard replay``.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

from assistantguard import tokens
from assistantguard.advice.carrying import TextCarrier
from assistantguard.advice.history import History, ModelCall, ThreadHistory, Turn
from assistantguard.models import Item, Usage
from assistantguard.models.items import assistant_message, user_message
from assistantguard.policies.topics import TopicCheck
from assistantguard.prices import PriceBook
from assistantguard.replay.model import NO_ANSWER, NO_OUTPUT
from assistantguard.sandbox.billing import PromptCache, writes_are_billed
from assistantguard.sandbox.counting import FRAME, REQUEST, text_tokens
from assistantguard.sandbox.parameters import tools_segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.replay import RecordedThread, RecordedTurn

__all__ = ["history_of"]


def history_of(threads: Sequence[RecordedThread], prices: PriceBook | None = None) -> History:
    """The history of recorded threads, one request after another in one conversation for good.

    Args:
        threads: From `assistantguard.replay.make_threads`.
        prices: What models cost; None takes the table.
    """
    tokens.wait_until_ready()
    prices = PriceBook() if prices is None else prices
    history = History("recordings", topics_judged=True)
    prefixes: set[tuple[str, str]] = set()
    for thread in threads:
        history.threads.append(_thread(thread, prices, prefixes))
    return history


def _thread(thread: RecordedThread, prices: PriceBook, prefixes: set[tuple[str, str]]) -> ThreadHistory:
    tools_text, tools_tokens = tools_segment(list(thread.tools))
    fixed = REQUEST + tools_tokens + (FRAME + text_tokens(thread.instructions) if thread.instructions else 0)
    prefix = hashlib.sha256(f"{tools_text}\0{thread.instructions}".encode()).hexdigest()
    made = ThreadHistory(thread.id, fixed=fixed, prefix=prefix)
    context = fixed
    read = fixed if (thread.model, prefix) in prefixes else 0
    prefixes.add((thread.model, prefix))
    topics, said = TopicCheck(), deque[str](maxlen=TopicCheck().remember)
    items: list[list[Item]] = []
    for number, recorded in enumerate(thread.turns):
        turn = Turn(f"{thread.id}/{number}", float(number), context=context, message=recorded.text)
        turn.steps, turn.leaves_topic = len(recorded.steps), topics.leaves(recorded.text, tuple(said))
        said += (recorded.text, recorded.answer or NO_ANSWER)
        for request, (added, written) in enumerate(_sizes(recorded)):
            context += added
            usage = _usage(thread.model, context, read, written)
            cost = prices.cost(usage, thread.model)
            cached, stored = usage.cached_tokens, usage.cache_write_tokens
            call = ModelCall(turn.time, thread.model, context, cached, stored, written, written, cost, request=request)
            call.offset = context - turn.context
            turn.calls.append(call)
            read = context
            context += written
        turn.growth, turn.answer_tokens = context - turn.context, turn.calls[-1].kept_tokens
        made.turns.append(turn)
        items.append(_items(number, recorded))

    def count(text: str) -> int:
        return tokens.estimate(text, thread.model).tokens

    made.carrier = TextCarrier(items, count, FRAME)
    return made


def _usage(model: str, context: int, read: int, written: int) -> Usage:
    cached = PromptCache.rounded(min(read, context) - REQUEST)
    stored = max(0, PromptCache.rounded(context) - cached) if writes_are_billed(model) else 0
    return Usage(context, cached, stored, written, requests=1)


def _sizes(turn: RecordedTurn) -> list[tuple[int, int]]:
    """What each request of a turn adds to the context, and what is written to it."""
    sizes: list[tuple[int, int]] = []
    added = FRAME + text_tokens(turn.text)
    for step in turn.steps:
        written = FRAME + text_tokens(step.text) if step.text else 0
        written += sum(FRAME + text_tokens(call.name) + text_tokens(call.arguments) for call in step.calls)
        sizes.append((added, written))
        added = sum(FRAME + text_tokens(_output(call.output)) for call in step.calls)
    sizes.append((added, FRAME + text_tokens(turn.answer or NO_ANSWER)))
    return sizes


def _output(output: str | None) -> str:
    return NO_OUTPUT if output is None else output


def _items(number: int, turn: RecordedTurn) -> list[Item]:
    """What a turn leaves in the conversation."""
    items = [user_message(turn.text)]
    for position, step in enumerate(turn.steps):
        if step.text:
            items.append(assistant_message(step.text))
        names = [f"call_{number}_{position}_{place}" for place in range(len(step.calls))]
        for name, call in zip(names, step.calls, strict=True):
            items.append(Item("function_call", call.arguments, call_id=name, name=call.name))
        for name, call in zip(names, step.calls, strict=True):
            items.append(Item("function_call_output", _output(call.output), call_id=name))
    items.append(assistant_message(turn.answer or NO_ANSWER))
    return items
