"""Every fault of a model call, wherever it strikes: a reply or a named error, exact books, a usable thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tenacity

from assistantguard import (
    AssistantGuardError,
    QuotaExhausted,
    Reply,
    RequestRejected,
    RetriesExhausted,
    ToolStepCeiling,
    TransientRetry,
)
from assistantguard.sandbox import Fault, Sandbox
from tests.support.checks import check_all, check_outcome, paths
from tests.support.models import Lookups, order_desk
from tests.support.world import Bot, Outcome, World

RESPONSES = "POST /responses"
ATTEMPTS = 3

PLACES = {"first request": 1, "request after tools": 2, "second turn": 3}

REFUSALS: dict[str, tuple[Callable[..., Fault], type[AssistantGuardError] | None, int]] = {
    # What is served, what the call ends in when it never passes, and how many requests are made then.
    "429": (Fault.rate_limit, RetriesExhausted, ATTEMPTS),
    "429 with Retry-After": (lambda **when: Fault.rate_limit(retry_after=0.01, **when), RetriesExhausted, ATTEMPTS),
    "insufficient_quota": (Fault.quota, QuotaExhausted, 1),
    "500": (Fault.server_error, RetriesExhausted, ATTEMPTS),
    "503": (lambda **when: Fault.server_error(503, **when), RetriesExhausted, ATTEMPTS),
    "500 do retry": (lambda **when: Fault.server_error(should_retry=True, **when), RetriesExhausted, ATTEMPTS),
    "500 do not retry": (lambda **when: Fault.server_error(should_retry=False, **when), RetriesExhausted, 1),
    "429 do not retry": (
        lambda **when: Fault.http(429, code="rate_limit_exceeded", headers={"x-should-retry": "false"}, **when),
        RetriesExhausted,
        1,
    ),
    "400 do retry": (
        lambda **when: Fault.http(400, headers={"x-should-retry": "true"}, **when),
        RetriesExhausted,
        ATTEMPTS,
    ),
    "400": (lambda **when: Fault.http(400, type="invalid_request_error", **when), RequestRejected, 1),
    "401": (lambda **when: Fault.http(401, type="invalid_request_error", **when), RequestRejected, 1),
    "409": (lambda **when: Fault.http(409, **when), RetriesExhausted, ATTEMPTS),
}


class Story:
    """Two turns with a tool step each, and a third to see that the thread goes on."""

    def __init__(self, world: World, *faults: Fault, **options: Any) -> None:
        self.lookups = Lookups()
        self.sandbox: Sandbox = world.sandbox(order_desk, faults=faults)
        self.bot: Bot = world.bot(
            self.sandbox,
            [TransientRetry(ATTEMPTS, wait=tenacity.wait_none()), ToolStepCeiling(4)],
            tools=[self.lookups.lookup],
            **options,
        )
        self.outcomes: list[Outcome] = []
        for number in (1, 2, 3):
            message = f"Where is order {number}?"
            outcome = self.bot.try_chat(message)
            check_outcome(outcome, f"Done: {message}")
            self.outcomes.append(outcome)

    @property
    def failed(self) -> AssistantGuardError:
        """The one turn that failed."""
        (error,) = [outcome for outcome in self.outcomes if isinstance(outcome, AssistantGuardError)]
        return error

    def check(self) -> None:
        check_all(self.bot, self.sandbox)
        last = self.outcomes[-1]
        assert isinstance(last, Reply), "the thread takes no next message"
        assert self.lookups.counts["3"] == 1
        assert set(self.lookups.counts.values()) == {1}, "a tool ran twice"
        assert paths(self.sandbox, RESPONSES) == self.sandbox.billing.requests + self._refused()

    def _refused(self) -> int:
        return sum(request.endpoint == RESPONSES and (request.status or 0) >= 400 for request in self.sandbox.requests)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_that_passes_is_retried_if_it_may_be(world: World, name: str, place: str) -> None:
    fault, error, attempts = REFUSALS[name]
    story = Story(world, fault(at=PLACES[place]))
    story.check()
    assert story.sandbox.faults_fired == 1
    if attempts > 1:
        assert all(isinstance(outcome, Reply) for outcome in story.outcomes)
        assert paths(story.sandbox, RESPONSES) == 7
        assert story.bot.guard.summary()["retried_runs"] == 1
    else:
        assert error is not None
        assert type(story.failed) is error


@pytest.mark.parametrize("place", ["first request", "request after tools"])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_that_stays_ends_in_its_own_error(world: World, name: str, place: str) -> None:
    fault, error, attempts = REFUSALS[name]
    first = PLACES[place]
    story = Story(world, fault(at=range(first, first + attempts)))
    story.check()
    assert error is not None
    assert type(story.failed) is error
    assert story.sandbox.faults_fired == attempts
    assert story.failed.run is not None
    assert story.failed.run.status == "failed"
    assert story.failed.thread_id == story.bot.guard.thread_id


ENDINGS = {
    "server_error": (ATTEMPTS, RetriesExhausted),
    "rate_limit_exceeded": (ATTEMPTS, RetriesExhausted),
    "invalid_prompt": (1, RequestRejected),
}


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ("reported", "first request"),
        ("reported", "request after tools"),
        ("reported", "second turn"),
        ("unreported", "request after tools"),
        ("free", "first request"),
        ("free and unreported", "second turn"),
    ],
)
@pytest.mark.parametrize("appended", [False, True], ids=["nothing appended", "half a turn appended"])
@pytest.mark.parametrize("code", ENDINGS)
def test_a_failed_response_is_booked_and_leaves_no_trace(
    world: World, code: str, told: str, *, appended: bool, place: str
) -> None:
    attempts, error = ENDINGS[code]
    fault = Fault.failed_response(
        code,
        text=None if told == "free" else "half an ans",
        billed="free" not in told,
        usage_reported="unreported" not in told,
        appended=appended,
        at=PLACES[place],
    )
    story = Story(world, fault)
    story.check()
    assert story.sandbox.faults_fired == 1
    if attempts > 1:
        assert all(isinstance(outcome, Reply) for outcome in story.outcomes)
    else:
        assert type(story.failed) is error
    assert (story.bot.guard.summary()["estimated_tokens"] > 0) == ("unreported" in told)
    items = story.sandbox.conversation(story.bot.default.state.generation_id or "")
    assert "half an ans" not in str(items)


@pytest.mark.parametrize("appended", [False, True], ids=["nothing appended", "half a turn appended"])
@pytest.mark.parametrize("place", PLACES)
def test_a_response_that_keeps_failing_exhausts_the_retries(world: World, place: str, *, appended: bool) -> None:
    first = PLACES[place]
    fault = Fault.failed_response(appended=appended, text="half", at=range(first, first + ATTEMPTS))
    story = Story(world, fault)
    story.check()
    assert type(story.failed) is RetriesExhausted
    assert story.failed.usage is not None
    assert story.failed.usage.requests >= ATTEMPTS


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", [None, "The order is"], ids=["silent", "cut"])
@pytest.mark.parametrize(
    ("told", "appended"),
    [("reported", True), ("reported", False), ("unreported", True), ("free", False)],
    ids=["reported", "not appended", "unreported", "free and not appended"],
)
def test_an_incomplete_response_is_told_and_booked(
    world: World, text: str | None, told: str, place: str, *, appended: bool
) -> None:
    fault = Fault.incomplete(
        text=text, usage_reported=told != "unreported", billed=told != "free", appended=appended, at=PLACES[place]
    )
    story = Story(world, fault)
    story.check()
    struck = story.outcomes[0 if PLACES[place] < 3 else 1]
    if text is None:
        assert type(struck).__name__ == "RunIncomplete"
        assert isinstance(struck, AssistantGuardError)
        assert struck.run is not None
        assert struck.run.incomplete_reason == "max_output_tokens"
    else:
        assert isinstance(struck, Reply)
        assert struck.text == text
        assert not struck.complete
        assert struck.run.incomplete_reason == "max_output_tokens"
