"""A streamed turn is the same turn: the same reply, books, telemetry and requests."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import tenacity

from assistantguard import (
    AssistantGuardError,
    Policy,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    TransientRetry,
)
from assistantguard.events import Event
from assistantguard.sandbox import Answer, Fault, FunctionCall, ToolCalls
from tests.support.checks import check_all
from tests.support.models import Lookups
from tests.support.world import Bot, World

RETRY = TransientRetry(3, wait=tenacity.wait_none())


TOOLS = [
    FunctionCall("lookup", {"order": "1"}),
    ToolCalls(FunctionCall("lookup", {"order": "2"}), FunctionCall("lookup", {"order": "3"})),
    "Both were sent.",
    "Two.",
]
PLAIN = ["One.", "Two.", "Three."]
SPOKEN_TOOLS = [Answer(text="Let me see.", tool_calls=[FunctionCall("lookup", {"order": "1"})]), "It was sent.", "Two."]

SCRIPTS: dict[str, Sequence[Any]] = {"plain": PLAIN, "tools": TOOLS, "text before tools": SPOKEN_TOOLS}

FAULTS: dict[str, Callable[[], Fault]] = {
    "429": lambda: Fault.rate_limit(at=[1, 2]),
    "500 for good": lambda: Fault.server_error(at=[1, 2, 3]),
    "quota": lambda: Fault.quota(at=1),
    "400": lambda: Fault.http(400, type="invalid_request_error", at=1),
    "locked": lambda: Fault.conversation_locked(at=1),
    "gone": lambda: Fault.conversation_gone(at=2),
    "unanswered call": lambda: Fault.unanswered_call(at=2),
    "failed": lambda: Fault.failed_response(at=1, text="Hal"),
    "failed, usage not told": lambda: Fault.failed_response(at=1, text="Hal", usage_reported=False),
    "failed, appended": lambda: Fault.failed_response(at=1, text="Hal", appended=True),
    "failed for good": lambda: Fault.failed_response("invalid_prompt", at=1),
    "cancelled by another": lambda: Fault.cancelled_response(at=1, text="Hal"),
    "incomplete": lambda: Fault.incomplete(at=1, text="Hal"),
    "incomplete, nothing said": lambda: Fault.incomplete(at=1),
    "incomplete, usage not told": lambda: Fault.incomplete(at=1, text="Hal", usage_reported=False),
    "content filter": lambda: Fault.incomplete("content_filter", at=1, text="Hal"),
    "usage never told": lambda: Fault.no_usage(at=1),
    "lost before the work": lambda: Fault.dropped(at=1),
    "lost after the work": lambda: Fault.dropped(at=1, after_work=True),
}

POLICIES: dict[str, Sequence[Policy]] = {
    "rotation": [RETRY, ThreadRotation(max_turns=1)],
    "a cap that is reached": [RETRY, TokenCap(session=400)],
    "a cap that is too small": [RETRY, TokenCap(session=32)],
    "a ceiling": [RETRY, ToolStepCeiling(1)],
    "wrapping up": [RETRY, ToolStepCeiling(1, then="wrap_up")],
}

_OWN = {
    "time",
    "seconds",
    "session_id",
    "thread_id",
    "run_id",
    "call_id",
    "response_id",
    "request_id",
    "generation_id",
    "from_generation_id",
    "to_generation_id",
}
"""Fields of events that differ from one turn to the next: ids and times."""
_ID = re.compile(r"\b(run|session|conv|resp|thread|call|req)[:_]\w+")


def comparable(event: Event) -> dict[str, Any]:
    record = {name: value for name, value in event.record().items() if name not in _OWN}
    return {name: _ID.sub("an id", value) if isinstance(value, str) else value for name, value in record.items()}


def outcome_of(bot: Bot, message: str, *, streamed: bool) -> tuple[Any, ...]:
    outcome = bot.try_chat(message, streamed=streamed)
    if isinstance(outcome, AssistantGuardError):
        return type(outcome), _ID.sub("an id", str(outcome))
    run = outcome.run
    counts = (run.status, run.attempt, run.retries, run.mends, run.steps, run.calls, run.incomplete_reason)
    return outcome.text, outcome.usage, outcome.cost, counts


def told(world: World, script: Sequence[Any], policies: Sequence[Policy], fault: Fault | None, **how: Any) -> Any:
    """All that can be seen of three turns, but for ids and times."""
    streamed = how.pop("streamed")
    sandbox = world.sandbox(list(script), faults=[] if fault is None else [fault])
    bot = world.bot(sandbox, policies, tools=[Lookups().lookup], **how)
    outcomes = [outcome_of(bot, message, streamed=streamed) for message in ("one", "two", "three")]
    books = [
        dataclasses.replace(entry, time=0.0, thread_id="", run_id="", response_id=entry.response_id and "an id")
        for entry in bot.ledger.entries()
    ]
    events = [comparable(event) for event in bot.events]
    requests = [(one.endpoint, one.status) for one in sandbox.requests if one.endpoint != "GET /responses/{id}"]
    items = sandbox.conversation(bot.default.state.generation_id or "")
    told_items = [(item["type"], item.get("role"), item.get("content"), item.get("output")) for item in items]
    return {"outcomes": outcomes, "books": books, "events": events, "requests": requests, "items": told_items}


def check_same(world: World, script: Sequence[Any], policies: Sequence[Policy], make: Any = None, **how: Any) -> None:
    plain, streamed = (
        told(world, script, policies, None if make is None else make(), streamed=streamed, **how)
        for streamed in (False, True)
    )
    for part, seen in plain.items():
        assert streamed[part] == seen, part


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_turn_is_the_same_streamed_or_not(world: World, script: str, *, background: bool) -> None:
    check_same(world, SCRIPTS[script], [RETRY], background=background)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_turn_with_a_fault_is_the_same_streamed_or_not(world: World, fault: str) -> None:
    check_same(world, PLAIN, [RETRY], FAULTS[fault])


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("policies", POLICIES)
def test_policies_do_the_same_to_a_turn_streamed_or_not(world: World, policies: str, script: str) -> None:
    check_same(world, SCRIPTS[script], POLICIES[policies])


@pytest.mark.parametrize("script", SCRIPTS)
def test_files_are_searched_by_a_turn_streamed_or_not(world: World, script: str) -> None:
    for streamed in (False, True):
        sandbox = world.sandbox(list(SCRIPTS[script]))
        bot = world.bot(sandbox, [RETRY], tools=[Lookups().lookup])
        file = world.wait(bot.guard.client.files.create(file=("a.txt", b"an order"), purpose="assistants"))
        store = bot.attach_files([file.id])
        bot.chat("one", streamed=streamed)
        body = next(one.body for one in sandbox.requests if one.endpoint == "POST /responses")
        assert {"type": "file_search", "vector_store_ids": [store]} in body["tools"]
        assert body.get("stream", False) is streamed
        check_all(bot, sandbox)
