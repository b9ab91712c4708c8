"""Each transition of a run is callable on its own, from nothing but plain state."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from hypothesis import given
from pydantic import TypeAdapter

from assistantguard import AssistantGuardError, Policy, RunState, ThreadState, TokenCap
from assistantguard.engine.input import new_run
from assistantguard.models import TERMINAL_STATUSES
from tests.properties.acts import Act, Chore, Refusal, Vanish
from tests.properties.stage import Colour
from tests.properties.strategies import acts, chores, colours, guarding
from tests.properties.world import World

_RUNS, _THREADS = TypeAdapter(RunState), TypeAdapter(ThreadState)


def _another_process(thread: ThreadState, run: RunState) -> tuple[ThreadState, RunState]:
    """Both states, through JSON."""
    thread_copy = _THREADS.validate_json(_THREADS.dump_json(thread))
    run_copy = _RUNS.validate_json(_RUNS.dump_json(run))
    assert thread_copy == thread
    assert run_copy == run
    return thread_copy, run_copy


async def _turn(world: World, text: str) -> RunState:
    """`Engine.turn`, with every transition made from copies of the state."""
    engine, driver = world.engine, world.driver
    thread, run = world.thread, new_run(world.thread, engine.session, text, driver.now())
    try:
        await engine.start(thread, run, text)
        while run.status not in TERMINAL_STATUSES:
            thread, run = _another_process(thread, run)
            if run.status == "requires_action":
                outputs = await driver.call_tools(run.tool_calls, run.deadline)
                await engine.submit(thread, run, outputs)
            else:
                await engine.advance(thread, run)
    except AssistantGuardError as error:
        thread, run = _another_process(thread, run)
        await engine.abandon(thread, run, error)
    world.thread, run = _another_process(thread, run)
    return run


@given(script=acts, faults=chores, others=guarding(), colour=colours)
def test_a_run_goes_on_from_a_copy_of_its_state_at_every_transition(
    script: list[Act | Refusal | Vanish], faults: list[Chore | None], others: list[Policy], colour: Colour
) -> None:
    policies = [*others, TokenCap(400_000, counting="always")]
    copied = World(script, faults, policies, colour)
    whole = World(script, faults, policies, colour)

    for text in ("One.", "Two."):
        run = copied.run(_turn(copied, text))
        assert run.status in TERMINAL_STATUSES
        assert run.hold_id is None
        with contextlib.suppress(AssistantGuardError):
            whole.chat(text)

    copied.check_books()
    assert _story(copied) == _story(whole)
    copied.server.recover()
    assert copied.run(_turn(copied, "Three.")).text == "done"


def _story(world: World) -> Sequence[object]:
    """What happened, but for the names that are made anew each time."""
    return [
        world.driver.steps,
        world.thread.usage,
        [event.name for event in world.events],
        [[*request.input] for request in world.server.sent],
    ]
