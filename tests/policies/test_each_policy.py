"""Each policy as a pure object: one view in, one decision out, and nothing changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import tenacity

from assistantguard import (
    CarryOver,
    CostCap,
    Policy,
    RepeatedCallBreaker,
    RepeatedToolCall,
    ThreadRotation,
    TokenCap,
    ToolCall,
    ToolOutput,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
    VectorStoreReuse,
)
from assistantguard.policies import Cap, EmbedFiles, Limit, Retry, Rotate, Stop, View, WrapUp
from assistantguard.policies.repeated import note_calls, note_errors
from tests.support.views import NOW, calls, failed, make_view


@pytest.mark.parametrize(
    ("policy", "thread", "rotates"),
    [
        (ThreadRotation(3), {"generation_turns": 2}, False),
        (ThreadRotation(3), {"generation_turns": 3}, True),
        (ThreadRotation(3), {"generation_turns": 9}, True),
        (ThreadRotation(1), {"generation_turns": 0}, False),
        (ThreadRotation(1), {"generation_turns": 5, "generation_id": None}, False),
        (ThreadRotation(None, max_context_tokens=1_000), {"context_tokens": 1_000}, False),
        (ThreadRotation(None, max_context_tokens=1_000), {"context_tokens": 1_001}, True),
        (
            ThreadRotation(max_history_tokens=500, min_turns=2),
            {"context_tokens": 899, "fixed_tokens": 400, "generation_turns": 2},
            False,
        ),
        (
            ThreadRotation(max_history_tokens=500, min_turns=2),
            {"context_tokens": 900, "fixed_tokens": 400, "generation_turns": 2},
            True,
        ),
        (
            ThreadRotation(max_history_tokens=500, min_turns=2),
            {"context_tokens": 9_000, "fixed_tokens": 400, "generation_turns": 1},
            False,
        ),
        (ThreadRotation(), {"context_tokens": 100_000, "fixed_tokens": 99_000, "generation_turns": 90}, False),
        (ThreadRotation(), {"context_tokens": 100_000, "fixed_tokens": 0, "generation_turns": 90}, True),
        (ThreadRotation(None, max_age=60), {"generation_started_at": NOW - 60}, False),
        (ThreadRotation(None, max_age=60), {"generation_started_at": NOW - 61}, True),
        (ThreadRotation(None, max_age=timedelta(minutes=1)), {"generation_started_at": NOW - 61}, True),
        (ThreadRotation(9, max_age=60), {"generation_turns": 3, "generation_started_at": NOW - 61}, True),
    ],
)
def test_rotation_is_wanted_at_its_limits_and_not_before(
    policy: ThreadRotation, thread: dict[str, Any], *, rotates: bool
) -> None:
    values = {"generation_started_at": NOW, **thread}
    decision = policy.before_turn(make_view(**{f"thread_{key}": value for key, value in values.items()}))
    assert (decision is not None) == rotates
    if decision is not None:
        assert isinstance(decision, Rotate)
        assert "limit" in decision.reason


def test_rotation_hands_on_what_to_carry_and_what_becomes_of_the_old() -> None:
    carry = CarryOver(tail_turns=1)
    decision = ThreadRotation(1, carry_over=carry, old="scrub").before_turn(make_view())
    assert isinstance(decision, Rotate)
    assert (decision.carry_over, decision.old) == (carry, "scrub")


@pytest.mark.parametrize(
    ("policy", "steps", "done", "asked", "stops"),
    [
        (ToolStepCeiling(3), 2, 2, 1, False),
        (ToolStepCeiling(3), 3, 3, 1, True),
        (ToolStepCeiling(3), 2, 20, 20, False),
        (ToolStepCeiling(None, max_calls=5), 4, 4, 1, False),
        (ToolStepCeiling(None, max_calls=5), 4, 4, 2, True),
        (ToolStepCeiling(None, max_calls=5), 90, 0, 5, False),
        (ToolStepCeiling(2, max_calls=50), 2, 2, 1, True),
    ],
)
@pytest.mark.parametrize("then", ["stop", "wrap_up"])
def test_the_ceiling_lets_step_n_run_and_the_next_not(
    policy: ToolStepCeiling, steps: int, done: int, asked: int, then: Any, *, stops: bool
) -> None:
    policy = ToolStepCeiling(policy.max_steps, max_calls=policy.max_calls, then=then)
    decision = policy.on_step(make_view(run_steps=steps, run_calls=done, calls=calls(*["lookup"] * asked)))
    if not stops:
        assert decision is None
    elif then == "wrap_up":
        assert isinstance(decision, WrapUp)
    else:
        assert isinstance(decision, Stop)
        assert decision.error is ToolStepCeilingReached


@pytest.mark.parametrize(("steps", "done", "left"), [(0, 0, 4), (3, 3, 1), (4, 4, 1), (1, 6, 2)])
def test_the_ceiling_bounds_built_in_tools_by_what_is_left(steps: int, done: int, left: int) -> None:
    decision = ToolStepCeiling(4, max_calls=8).before_request(make_view(run_steps=steps, run_calls=done))
    assert isinstance(decision, Limit)
    assert decision.max_tool_calls == left


def rounds(policy: RepeatedCallBreaker, *steps: tuple[ToolCall, ...], error: str | None = None) -> int:
    """How many of the steps run."""
    view = make_view()
    assert view.run is not None
    for number, step in enumerate(steps):
        if policy.on_step(View(NOW, "s", view.thread, "m", view.run, calls=step)) is not None:
            return number
        note_calls(view.run, step)
        note_errors(view.run, [ToolOutput(call.id, error or "", failed=error is not None) for call in step])
    return len(steps)


def call(name: str = "lookup", text: str = '{"order": 1}', **arguments: Any) -> tuple[ToolCall, ...]:
    return (ToolCall("call_x", name, arguments or {"order": 1}, text),)


@pytest.mark.parametrize(
    ("steps", "run"),
    [
        ([call()] * 5, 2),
        ([call(), call("weigh")] * 3, 4),
        ([call(order=number) for number in range(5)], 5),
        ([call(text='{"order":1}'), call(text='{ "order" : 1 }'), call()], 2),
        ([call("a"), call("b"), call("c")], 3),
    ],
    ids=["the same", "two in turn", "others each time", "only spaced otherwise", "other tools"],
)
def test_the_breaker_counts_the_same_call(steps: list[tuple[ToolCall, ...]], run: int) -> None:
    assert rounds(RepeatedCallBreaker(2), *steps) == run


def test_the_breaker_counts_the_same_error() -> None:
    steps = [call(order=number) for number in range(9)]
    assert rounds(RepeatedCallBreaker(3), *steps, error="ConnectionError: down") == 3
    assert rounds(RepeatedCallBreaker(3), *steps) == 9


def test_the_breaker_keeps_no_arguments() -> None:
    view = make_view()
    assert view.run is not None
    note_calls(view.run, call(text='{"order": "SECRET"}', order="SECRET"))
    note_errors(view.run, [ToolOutput("call_x", "SECRET", failed=True)])
    assert "SECRET" not in repr(view.run.seen)
    assert len(view.run.seen) == 2


def test_the_breaker_stops_with_its_own_error() -> None:
    view = make_view(calls=call())
    assert view.run is not None
    note_calls(view.run, call())
    decision = RepeatedCallBreaker(1).on_step(view)
    assert isinstance(decision, Stop)
    assert decision.error is RepeatedToolCall
    assert isinstance(RepeatedCallBreaker(1, then="wrap_up").on_step(view), WrapUp)


def wait_of(policy: TransientRetry, **values: Any) -> float | None:
    """The wait before the next attempt, or None for giving up."""
    failure = failed(**{key: values.pop(key) for key in ("retry_after", "max_retries") if key in values})
    decision = policy.on_failure(make_view(failure=failure, **values))
    assert decision is None or isinstance(decision, Retry)
    return None if decision is None else decision.wait


@pytest.mark.parametrize(("attempt", "retried"), [(1, True), (2, True), (3, False), (4, False)])
def test_so_many_attempts_are_made_and_no_more(attempt: int, *, retried: bool) -> None:
    assert (wait_of(TransientRetry(3), run_attempt=attempt) is not None) == retried


@pytest.mark.parametrize(
    ("values", "wait"),
    [
        ({}, 7.0),
        ({"retry_after": 0.25}, 0.25),
        ({"retry_after": 0.0}, 0.0),
        ({"retry_after": 120.0}, 120.0),
        ({"retry_after": 120.5}, None),
        ({"max_retries": 0}, None),
        ({"max_retries": 1}, 7.0),
        ({"max_retries": 1, "run_attempt": 2}, None),
        ({"max_retries": 99, "run_attempt": 5}, None),
    ],
)
def test_the_servers_word_on_waiting_comes_first(values: dict[str, Any], wait: float | None) -> None:
    assert wait_of(TransientRetry(5, wait=tenacity.wait_fixed(7)), **values) == wait


@pytest.mark.parametrize(
    ("wait", "waits"),
    [
        (tenacity.wait_fixed(2), [2, 2, 2]),
        (tenacity.wait_exponential(multiplier=1), [1, 2, 4]),
        (tenacity.wait_incrementing(1, 5), [1, 6, 11]),
        (tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(9)), [1, 9, 9]),
        (tenacity.wait_fixed(1) + tenacity.wait_fixed(2), [3, 3, 3]),
    ],
)
def test_tenacitys_waits_are_taken_as_they_are(wait: Any, waits: list[float]) -> None:
    assert [wait_of(TransientRetry(9, wait=wait), run_attempt=number) for number in (1, 2, 3)] == waits


@pytest.mark.parametrize(
    ("stop", "attempt", "started", "retried"),
    [
        (tenacity.stop_after_attempt(2), 1, NOW, True),
        (tenacity.stop_after_attempt(2), 2, NOW, False),
        (tenacity.stop_after_delay(30), 5, NOW - 10, True),
        (tenacity.stop_after_delay(30), 1, NOW - 31, False),
        (tenacity.stop_after_delay(30) | tenacity.stop_after_attempt(3), 3, NOW, False),
    ],
)
def test_tenacitys_stops_are_taken_as_they_are(stop: Any, attempt: int, started: float, *, retried: bool) -> None:
    wait = wait_of(TransientRetry(9, stop=stop), run_attempt=attempt, run_started_at=started)
    assert (wait is not None) == retried


def test_the_default_wait_grows_and_is_bounded() -> None:
    for attempt, most in ((1, 0.5), (2, 1.0), (3, 2.0), (20, 30.0)):
        waits = [wait_of(TransientRetry(99), run_attempt=attempt) for _ in range(40)]
        assert all(wait is not None and 0 <= wait <= most for wait in waits)
        assert len(set(waits)) > 1


def test_a_retry_says_why() -> None:
    decision = TransientRetry(3).on_failure(make_view(failure=failed(code="rate_limit_exceeded")))
    assert decision is not None
    assert decision.reason == "attempt 1 of 3 failed: rate_limit_exceeded"


@pytest.mark.parametrize(
    ("policy", "caps"),
    [
        (TokenCap(session=500), (Cap("session:session_1", "tokens", Decimal(500)),)),
        (TokenCap(run=70), (Cap("run:run_1", "tokens", Decimal(70)),)),
        (
            TokenCap(500, 70),
            (Cap("session:session_1", "tokens", Decimal(500)), Cap("run:run_1", "tokens", Decimal(70))),
        ),
        (CostCap(session="2.50"), (Cap("session:session_1", "cost", Decimal("2.50")),)),
        (CostCap(run=0.1), (Cap("run:run_1", "cost", Decimal("0.1")),)),
    ],
)
def test_a_cap_names_its_accounts(policy: Policy, caps: tuple[Cap, ...]) -> None:
    decision = policy.before_request(make_view())
    assert isinstance(decision, Limit)
    assert decision.caps == caps


def test_a_cap_says_how_to_count_and_how_long_to_wait() -> None:
    decision = TokenCap(500, counting="always", wait=3).before_request(make_view())
    assert isinstance(decision, Limit)
    assert (decision.counting, decision.busy_wait) == ("always", 3.0)


def test_reuse_says_how_files_are_embedded() -> None:
    decision = VectorStoreReuse(expires_after_days=30, timeout=9).on_files(make_view())
    assert isinstance(decision, EmbedFiles)
    assert (decision.reuse, decision.expires_after_days, decision.timeout) == (True, 30, 9.0)


EVERY: list[Callable[[], Policy]] = [
    ThreadRotation,
    ToolStepCeiling,
    RepeatedCallBreaker,
    TransientRetry,
    VectorStoreReuse,
    lambda: TokenCap(500),
    lambda: CostCap(1),
]


@pytest.mark.parametrize("make", EVERY)
def test_a_policy_changes_nothing_that_it_sees(make: Callable[[], Policy]) -> None:
    policy = make()
    view = make_view(failure=failed(), calls=calls("lookup", "lookup"), run_steps=3)
    before = copy.deepcopy((view.run, view.thread))
    for checkpoint in ("before_turn", "before_request", "on_progress", "on_step", "on_failure", "on_files"):
        first = getattr(policy, checkpoint)(view)
        second = getattr(policy, checkpoint)(view)
        assert type(first) is type(second)
        assert first is None or first.reason
    assert (view.run, view.thread) == before
