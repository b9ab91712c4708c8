"""What must hold in every combination, as a list of what does not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from assistantguard import Reply
from assistantguard.events import RunSettled, RunStarted
from assistantguard.models import AttemptFailed, ReplyReady, TextDelta
from tests.matrix.scene import Ending, Scene
from tests.support.checks import check_requests, check_thread, user_texts

__all__ = ["asserted", "books", "broken_at_once", "broken_at_the_end", "connections_left", "open_streams"]

_CLOSING = 30.0
"""Seconds in which a closed connection is noticed by the server."""


def broken_at_once(scene: Scene, ending: Ending) -> Iterator[str]:
    """Promises that hold as soon as the call has ended."""
    yield from _holds(scene)
    open_exchanges = scene.bot.guard._engine._exchanges._open
    if open_exchanges:
        yield f"the guard still keeps {len(open_exchanges)} requests as open"
    started, settled = scene.bot.all(RunStarted), scene.bot.all(RunSettled)
    if [event.run_id for event in started] != [event.run_id for event in settled]:
        yield f"{len(started)} runs were begun and {len(settled)} settled"
    if ending.reply is not None:
        yield from _lost(scene, ending.reply)
    if ending.reply is not None and scene.way.streamed and scene.told:
        yield from _stream_told(scene, ending)


def _holds(scene: Scene) -> Iterator[str]:
    ledger = scene.bot.ledger
    held = {metric: ledger.balance(scene.account, metric).held for metric in ("tokens", "cost")}
    if ledger.open_holds() or any(held.values()):
        yield f"{len(ledger.open_holds())} holds are open: {held}"
    if ledger.overdrafts:
        yield f"more was used than was held: {ledger.overdrafts}"


def _lost(scene: Scene, reply: Reply) -> Iterator[str]:
    """A message that was answered stands in the conversation, and its answer too."""
    items = scene.conversation
    if items is None:
        yield "the thread has no conversation"
    elif scene.asked not in user_texts(items) or reply.text not in str(items):
        yield f"{scene.asked!r} was answered with {reply.text!r}, and that does not stand in the conversation"


def _stream_told(scene: Scene, ending: Ending) -> Iterator[str]:
    reply = ending.reply
    assert reply is not None
    if not isinstance(scene.told[-1], ReplyReady):
        yield "a stream's last event is not its reply"
    text = ""
    step = 0
    for event in scene.told:
        if isinstance(event, TextDelta):
            if event.step != step:
                text, step = "", event.step
            text += event.text
        elif isinstance(event, AttemptFailed) and event.discarded_characters:
            text = ""
    if text != reply.text:
        yield f"a stream told {text!r} and its reply is {reply.text!r}"


def broken_at_the_end(scene: Scene) -> Iterator[str]:
    """Promises that hold when the next message was answered and the server has come to rest."""
    yield from books(scene)
    yield from _sums(scene)
    yield from _holds(scene)
    yield from asserted("requests", lambda: check_requests(scene.sandbox))
    yield from asserted("thread", lambda: check_thread(scene.sandbox, scene.bot.default))
    twice = {order: count for order, count in scene.lookups.counts.items() if count > 1}
    if twice:
        yield f"a tool ran twice: {twice}"
    items = scene.conversation
    if items is None:
        yield "the thread has no conversation"
        return
    halves = [item for item in items if "half an ans" in str(item)]
    if halves:
        yield f"half a turn stands in the conversation: {halves}"
    in_progress = [item for item in items if item.get("status") not in {None, "completed"}]
    if in_progress and not any(event.incomplete_reason for event in scene.bot.all(RunSettled)):
        yield f"unfinished items stand in the conversation: {in_progress}"


def books(scene: Scene) -> Iterator[str]:
    """What was booked is what was billed; where the server did not say, it is marked and not below."""
    entries = scene.bot.ledger.entries()
    named = Counter(entry.response_id for entry in entries if entry.response_id is not None)
    doubled = [response_id for response_id, count in named.items() if count > 1]
    if doubled:
        yield f"booked twice: {doubled}"
    by_id = {entry.response_id: entry for entry in entries if entry.response_id is not None}
    billed = {call.response_id: call for call in scene.sandbox.billing.calls}
    unknown = sorted(set(by_id) - set(billed))
    if unknown:
        yield f"booked and never billed: {unknown}"
    spare_tokens, spare_cost, spare = 0, Decimal(0), 0
    for entry in entries:
        if entry.response_id is None:
            if not entry.usage.estimated_tokens:
                yield f"a request without an answer is booked and not marked as an estimate: {entry}"
            spare_tokens += entry.usage.total_tokens
            spare_cost += entry.cost or 0
            spare += 1
    lost_tokens, lost_cost, lost = 0, Decimal(0), 0
    for response_id, call in billed.items():
        total = call.input_tokens + call.output_tokens
        booked = by_id.get(response_id)
        if booked is None:
            if total:
                lost_tokens, lost_cost, lost = lost_tokens + total, lost_cost + (call.cost or 0), lost + 1
        elif booked.usage.estimated_tokens:
            if booked.usage.total_tokens < total or (booked.cost or 0) < (call.cost or 0):
                yield f"{response_id} is booked as {booked.usage}, {booked.cost}, and billed {call}"
            if call.usage_reported and call.billed and _can_be_asked(scene, response_id):
                yield f"{response_id} stands as an estimate, and the server would tell its usage"
        elif (
            booked.usage.input_tokens,
            booked.usage.cached_tokens,
            booked.usage.cache_write_tokens,
            booked.usage.output_tokens,
            booked.usage.reasoning_tokens,
            booked.cost,
        ) != (
            call.input_tokens,
            call.cached_tokens,
            call.cache_write_tokens,
            call.output_tokens,
            call.reasoning_tokens,
            call.cost,
        ):
            yield f"{response_id} is booked as {booked.usage}, {booked.cost}, and billed {call}"
    if lost > spare or lost_tokens > spare_tokens or lost_cost > spare_cost:
        yield (
            f"{lost} answers ({lost_tokens} tokens, {lost_cost} $) were billed and nobody told the guard;"
            f" {spare} estimates ({spare_tokens} tokens, {spare_cost} $) are booked for them"
        )


def _can_be_asked(scene: Scene, response_id: str) -> bool:
    stored = scene.sandbox._state.responses.get(response_id)
    return stored is not None and stored.document.get("usage") is not None


def _sums(scene: Scene) -> Iterator[str]:
    """Ledger, balance and summary tell the same sums."""
    bot = scene.bot
    entries = bot.ledger.entries()
    tokens = sum(entry.usage.total_tokens for entry in entries)
    cost = sum((entry.cost for entry in entries if entry.cost is not None), Decimal(0))
    summary = bot.guard.summary()
    told = (
        summary["session_tokens_used"]["total"],
        summary["estimated_tokens"],
        summary["cost"],
        int(bot.ledger.balance(scene.account, "tokens").committed),
        bot.default.state.usage.total_tokens,
    )
    kept = (tokens, sum(entry.usage.estimated_tokens for entry in entries), cost, tokens, tokens)
    if told != kept:
        yield f"tokens, estimated, cost, balance, thread: {told}; by the rows of the ledger {kept}"


def open_streams(client: Any) -> int:
    """Connections of a client that are still in use."""
    pool = client._client._transport._pool
    return sum(not (one.is_idle() or one.is_closed()) for one in pool.connections)


def connections_left(scene: Scene) -> int:
    """Connections that the sandbox's server still has, once it had the time to notice that they are closed."""
    server = scene.sandbox._server
    assert server is not None
    inner = server._server
    assert inner is not None
    connections = inner.server_state.connections
    until = time.monotonic() + _CLOSING
    while connections and time.monotonic() < until:
        time.sleep(0.002)
    return len(connections)


def asserted(what: str, check: Callable[[], None]) -> Iterator[str]:
    try:
        check()
    except AssertionError as error:
        yield f"{what}: {error}"
