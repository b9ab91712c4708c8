"""The same story on the Responses backend and on the Assistants backend: the same replies, books and telemetry."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import tenacity

from assistantguard import (
    CostCap,
    Policy,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    TransientRetry,
    VectorStoreReuse,
)
from assistantguard.sandbox import Fault, ModelRequest
from tests.support.assistants_server import AssistantsServer, Calls, Ends, Says, ServerWays
from tests.support.backends import on_another_server, on_responses, on_the_drop_in, on_the_served_drop_in
from tests.support.stories import Account, Shop, Story, tell
from tests.support.world import World

NOT_TOLD = {"service_tier", "background", "mode_reason"}
"""A run has no service tier, and always goes on by itself."""
OF_FAILED = {"response_model", "error"}
"""A refused request has no answer that names its model; a run that has failed does."""
EXPECTED = {"estimated_input_tokens", "exact"}
"""The API has no route that counts a request's input before it is sent: what is expected is a bound."""
EXPECTED_OF_REFUSED = {"reason"}
"""So is what a refusal says that the request would have read."""
REASONS = {"max_completion_tokens": "max_output_tokens"}
"""The word of either API for an answer that was cut at the limit."""
RETRIED = {"code", "status_code", "reason"}
"""A request that the model's server refuses is an HTTP status there; here it is a run that has failed."""


def retrying() -> list[Policy]:
    return [TransientRetry(3, wait=tenacity.wait_none())]


def talking(_: ModelRequest) -> str:
    return "word " * 500


PLAIN = Story("a plain answer", ["Hello"])
CEILING = "Where is order 1. And order 2. And order 3."
REFUSED = Story(
    "a refusal that passes",
    ["Hello", "Again"],
    retrying,
    fault=lambda: Fault.rate_limit(at=1, endpoint="POST /responses"),
)
FAILING = Story(
    "an answer that fails in passing", ["Hello", "Again"], retrying, fault=lambda: Fault.failed_response(at=1)
)
STORIES = [
    PLAIN,
    Story("several turns", ["Hello", "And you?", "Goodbye"]),
    Story("tools", ["Where is order 1?", "Where are order 2 and order 3. And order 4?", "Thanks"], tools=True),
    Story("a tool that fails", ["Where are order 0 and order 1?", "Hello"], tools=True),
    Story("a ceiling", [CEILING, "Hello"], lambda: [ToolStepCeiling(2)], tools=True),
    Story("wrapping up", [CEILING, "Hello"], lambda: [ToolStepCeiling(2, then="wrap_up")], tools=True),
    Story("a cap that refuses", ["Hello", "word " * 1200, "Hello"], lambda: [TokenCap(session=1_000)]),
    Story("caps that clamp", ["Hello", "Hello"], lambda: [TokenCap(session=5_000, run=2_000), CostCap(session=1)]),
    Story("a bound on output", ["Hello", "Hello"], model=talking, max_output_tokens=300),
    REFUSED,
    FAILING,
    Story("a rotation", ["One", "Two", "Three", "Four"], lambda: [ThreadRotation(max_turns=2)]),
]
FILES = Story(
    "files",
    ["When may I return it?", "Thanks"],
    lambda: [VectorStoreReuse()],
    files=["You may return it within thirty days.", "Shipping takes a week."],
)
UNSTREAMED = ("a plain answer", "tools", "an answer that fails in passing")
WAYS = {
    "usage is null": lambda: ServerWays(usage=False, extra_fields=True, lock_text="thread busy"),
    "next to nothing is kept": lambda: ServerWays(
        usage=False,
        extra_fields=True,
        lists_steps=False,
        keeps_metadata=False,
        filters_by_run=False,
        tells_run_of_message=False,
        locks=False,
        deletes_messages=False,
    ),
    "nothing is streamed": lambda: ServerWays(usage=False, streams=False),
}
"""What servers send no header with that says when to ask again, and words of their own."""
SERVERS = [
    (story, ways) for story in STORIES for ways in WAYS if ways != "nothing is streamed" or story.name in UNSTREAMED
]
_STATUSES = ("in_progress",)
SAME = ("ended in", "text", "status", "steps", "calls", "retries", "answers")
"""What a turn ends in on every server."""


def told_on(backend: Any, world: World, story: Story, *, streamed: bool) -> tuple[Account, list[Any]]:
    """What came of a story on a backend, and the bill of the model's server."""
    shop = Shop()
    with ExitStack() as stack:
        sandbox = world.sandbox(story.model, faults=[] if story.fault is None else [story.fault()])
        bot = backend(world, stack, story, shop, sandbox)
        account = tell(story, bot, shop, streamed=streamed, sandbox=sandbox)
    bill = [(call.input_tokens, call.cached_tokens, call.output_tokens, call.cost) for call in sandbox.billing.calls]
    return account, bill


def without_what_differs(account: Account, story: Story) -> Account:
    """An account without what the protocols cannot have in common."""
    for turn in account.turns:
        turn["incomplete_reason"] = REASONS.get(turn["incomplete_reason"], turn["incomplete_reason"])
    events = []
    for event in account.events:
        drop = {
            "request.settled": NOT_TOLD | EXPECTED,
            "budget.refused": EXPECTED_OF_REFUSED,
            "run.retried": RETRIED,
        }.get(event["event"], set())
        if event["event"] == "request.settled" and event.get("error") is not None:
            drop |= OF_FAILED
        kept = {name: value for name, value in event.items() if name not in drop}
        if "incomplete_reason" in kept:
            kept["incomplete_reason"] = REASONS.get(kept["incomplete_reason"], kept["incomplete_reason"])
        events.append(kept)
    account.events = events
    if story.fault is not None:
        _without_the_failed_run(account)
    return account


def _without_the_failed_run(account: Account) -> None:
    """A run that failed has taken its message up: it is deleted before the next attempt, and the books have a row for
    it, of nothing where nothing was used. A request that was refused leaves neither behind."""
    account.events = [event for event in account.events if event["event"] != "thread.healed"]
    account.rows = [row for row in account.rows if any(row["usage"])]
    for event in account.events:
        event.pop("requests", None)
        if event["event"] == "request.settled" and not event["input_tokens"]:
            for name in ("status", "price_source", "cost"):
                event.pop(name, None)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_story_is_the_same_on_the_served_drop_in(world: World, story: Story, *, streamed: bool) -> None:
    expected, bill = told_on(on_responses, world, story, streamed=streamed)
    found, bill_there = told_on(on_the_served_drop_in, world, story, streamed=streamed)
    assert without_what_differs(found, story) == without_what_differs(expected, story)
    assert bill_there == bill
    assert found.open_holds == 0
    assert all(balance.held == 0 for balance in found.balances.values())


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_files_are_the_same_on_the_drop_in(world: World, *, streamed: bool) -> None:
    expected, bill = told_on(on_responses, world, FILES, streamed=streamed)
    found, bill_there = told_on(on_the_drop_in, world, FILES, streamed=streamed)
    assert without_what_differs(found, FILES) == without_what_differs(expected, FILES)
    assert bill_there == bill


@pytest.mark.parametrize("backend", [on_responses, on_the_served_drop_in])
def test_a_cap_cuts_an_answer_short_on_both(world: World, backend: Any) -> None:
    # How short depends on what the request is expected to read, which one API tells and the other does not.
    story = Story("a cap that cuts", ["Hello"], lambda: [TokenCap(run=400)], model=talking)
    account, _ = told_on(backend, world, story, streamed=False)
    (turn,) = account.turns
    assert (turn["ended in"], turn["status"]) == ("Reply", "incomplete")
    assert 300 < account.balances["tokens"].committed <= 400


class Noted:
    """A model, and what it said."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.said: list[Any] = []

    def __call__(self, request: ModelRequest) -> Any:
        self.said.append(self._story.model(request))
        return self.said[-1]

    def acts(self, story: Story, turns: list[dict[str, Any]]) -> list[Any]:
        """What another server is to do, so that it says the same."""
        if story.max_output_tokens is not None:
            return [Ends("incomplete", reason="max_completion_tokens", text=turn["text"]) for turn in turns]
        failed = Ends("failed", {"code": "E42", "message": "The model is temporarily overloaded."})
        acts: list[Any] = [failed] if story is FAILING else []
        for said in self.said:
            if isinstance(said, str):
                acts.append(Says(said, _STATUSES))
            else:
                acts.append(Calls({each.call_id: (each.name, each.arguments_json) for each in said.calls}, _STATUSES))
        return acts


@pytest.mark.parametrize(("story", "ways"), SERVERS, ids=str)
def test_a_story_is_the_same_on_other_servers_and_what_they_do_not_tell_is_estimated(
    world: World, story: Story, ways: str
) -> None:
    streamed = world.is_async or ways == "nothing is streamed"
    model = Noted(story)
    expected, _ = told_on(on_responses, world, replace(story, model=model), streamed=streamed)
    server = AssistantsServer(*model.acts(story, expected.turns), ways=WAYS[ways]())
    if story is REFUSED:
        server.ways.refuses_runs.append((429, {"message": "Not now, my friend.", "code": "E7", "type": "busy"}))
    shop = Shop()
    with ExitStack() as stack:
        stack.enter_context(server)
        found = tell(story, on_another_server(world, stack, story, shop, server), shop, streamed=streamed)
    for turn, wanted in zip(found.turns, expected.turns, strict=True):
        assert {name: turn[name] for name in SAME} == {name: wanted[name] for name in SAME}
    assert found.asked == expected.asked
    assert found.open_holds == 0
    assert all(balance.held == 0 for balance in found.balances.values())
    booked = [row["usage"][0] + row["usage"][2] for row in found.rows]
    assert booked == [row["usage"][4] for row in found.rows]
    assert all(booked)
    assert sum(booked) >= sum(row["usage"][0] + row["usage"][2] for row in expected.rows)
    assert found.balances["tokens"].committed == sum(booked)
