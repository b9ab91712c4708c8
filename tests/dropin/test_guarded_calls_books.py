"""The books of guarded calls: what is settled when, by whom, and together with what."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import openai
import pytest

from assistantguard import Budget, Policy, TokenCap, observe
from assistantguard.events import PolicyObserved, RequestSettled, UsageCorrected
from assistantguard.ledger import open_ledger
from assistantguard.policies import Decision, Refuse, Stop, View
from assistantguard.sandbox import Answer, Fault
from assistantguard.sandbox.conduct import After, Conduct
from tests.dropin.guarded import OUTPUT, Caller, answering, caller_for
from tests.support.world import MODEL, World


def settled(caller: Caller) -> list[RequestSettled]:
    return [event for event in caller.events if isinstance(event, RequestSettled)]


def booked(caller: Caller) -> int:
    """The tokens that stand on the books."""
    late = [event for event in caller.events if isinstance(event, UsageCorrected)]
    corrections = sum(event.usage.total_tokens - event.before.total_tokens for event in late)
    return sum(event.usage.total_tokens for event in settled(caller)) + corrections


def wait(caller: Caller, result: Any) -> Any:
    return caller.world.wait(result)


def read(caller: Caller, stream: Any) -> list[Any]:
    """All that a stream yields."""
    if not caller.world.is_async:
        return list(stream)

    async def read() -> list[Any]:
        return [piece async for piece in await stream]

    found: list[Any] = caller.world.wait(read())
    return found


@pytest.mark.parametrize("way", ["responses.create", "chat.completions.stream", "completions.create(stream=True)"])
def test_what_is_booked_is_what_was_billed(world: World, way: str) -> None:
    caller = caller_for(world, world.sandbox(), [TokenCap(session=10_000)])
    for _ in range(3):
        caller.try_call(way)
    assert booked(caller) == caller.billed > 0


def test_runs_and_calls_spend_of_one_session_and_nothing_is_counted_twice(world: World) -> None:
    caller = caller_for(world, world.sandbox(), [TokenCap(session=10_000)])
    beta = caller.client.beta
    assistant = wait(caller, beta.assistants.create(model=MODEL))
    thread = wait(caller, beta.threads.create(messages=[{"role": "user", "content": "Hello"}]))
    run = wait(caller, beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    caller.try_call("responses.create")
    caller.try_call("chat.completions.create")
    assert len(settled(caller)) == 3
    assert len({event.session_id for event in settled(caller)}) == 1
    assert booked(caller) == caller.billed


@pytest.mark.parametrize("usage_after", [After(reads=1), None])
def test_a_stream_that_was_left_is_corrected_by_the_next_call_once_the_server_tells(
    world: World, usage_after: After | None
) -> None:
    left = Answer(text="and on " * 100, conduct=Conduct(stopped_usage=True, usage_after=usage_after))
    caller = caller_for(world, world.sandbox([left, "Yes.", "Yes.", "Yes."]), [TokenCap(session=100_000)])
    caller.try_call("responses.create(stream=True)", leaves=True)
    (first,) = settled(caller)
    assert (first.usage.estimated, first.usage.output_tokens) == (True, OUTPUT)
    assert caller.billed < first.usage.total_tokens
    for _ in range(3):
        caller.try_call("chat.completions.create")
    assert booked(caller) == caller.billed


def test_a_call_in_the_background_is_settled_by_the_application_that_reads_its_end(world: World) -> None:
    caller = caller_for(world, world.sandbox(), [TokenCap(session=10_000)])
    answer = wait(caller, caller.client.responses.create(model=MODEL, input="Hello", background=True))
    assert not settled(caller)
    while answer.status not in {"completed", "failed"}:
        answer = wait(caller, caller.client.responses.retrieve(answer.id))
    (event,) = settled(caller)
    assert (event.response_id, event.background, event.usage.estimated) == (answer.id, True, False)
    wait(caller, caller.client.responses.retrieve(answer.id))
    assert booked(caller) == caller.billed


def test_a_call_in_the_background_that_is_cancelled_is_settled_by_that(world: World) -> None:
    conduct = Conduct(stuck="in_progress", stopped_usage=True)
    caller = caller_for(world, world.sandbox(answering(conduct=conduct)), [TokenCap(session=10_000)])
    answer = wait(caller, caller.client.responses.create(model=MODEL, input="Hello", background=True))
    assert wait(caller, caller.client.responses.cancel(answer.id)).status == "cancelled"
    assert booked(caller) == caller.billed > 0


def test_a_call_whose_connection_is_lost_after_the_work_is_booked_at_its_most(world: World) -> None:
    caller = caller_for(world, world.sandbox(answering(), faults=[Fault.dropped(after_work=True, at=1)]), [])
    assert isinstance(caller.try_call("responses.create"), openai.APIConnectionError)
    (event,) = settled(caller)
    assert (event.status, event.usage.estimated, event.usage.output_tokens) == ("unknown", True, OUTPUT)
    assert booked(caller) >= caller.billed > 0


def test_a_budget_in_a_database_holds_for_all_processes_at_once(world: World, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'guard.db'}"
    sandbox = world.sandbox(answering())
    budget = Budget("application", "day", tokens=400, wait=0.0)
    callers = [caller_for(world, sandbox, [budget], ledger=url) for _ in range(2)]
    world.at_once(*[lambda caller=caller: caller.call("responses.create") for caller in callers * 8])
    assert 0 < callers[0].billed <= 400
    ledger = open_ledger(url)
    with contextlib.closing(ledger.database):
        assert not ledger.open_holds()
        assert sum(entry.usage.total_tokens for entry in ledger.entries()) == callers[0].billed


def test_an_observed_cap_reports_and_bounds_nothing(world: World) -> None:
    caller = caller_for(world, world.sandbox(), [observe(TokenCap(session=32))])
    caller.try_call("responses.create")
    assert not isinstance(caller.try_call("responses.create"), Exception)
    assert [event.decision for event in caller.events if isinstance(event, PolicyObserved)] == ["refuse", "refuse"]


class _Closed(Policy):
    """Answers nothing that names the word."""

    def before_turn(self, view: View) -> Decision | None:
        return Refuse("it is not for this") if "homework" in view.message else None


def test_what_a_policy_refuses_before_a_turn_it_refuses_of_a_call(world: World) -> None:
    caller = caller_for(world, world.sandbox(), [_Closed()])
    messages = [{"role": "user", "content": [{"type": "text", "text": "Do my homework"}]}]
    with pytest.raises(openai.PermissionDeniedError, match="it is not for this"):
        wait(caller, caller.client.chat.completions.create(model=MODEL, messages=messages))
    assert not caller.sandbox.requests


class _Short(Policy):
    """Ends answers that grow."""

    def on_progress(self, view: View) -> Decision | None:
        return Stop("it is long enough")


def test_a_policy_that_is_asked_while_an_answer_arrives_may_cut_a_stream(world: World) -> None:
    caller = caller_for(world, world.sandbox(lambda _: Answer(text="on and " * 500)), [_Short()])
    stream = caller.client.responses.create(model=MODEL, input="Hello", stream=True)
    with pytest.raises(openai.APIError, match="it is long enough"):
        read(caller, stream)
    (event,) = settled(caller)
    assert event.usage.estimated
