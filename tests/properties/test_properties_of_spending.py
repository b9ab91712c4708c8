"""Over random scripts, faults and caps: what is spent, what is held, what is booked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from hypothesis import example, given, note
from hypothesis import strategies as st

from assistantguard import (
    AssistantGuardError,
    Policy,
    Refused,
    RepeatedCallBreaker,
    RunStopped,
    TokenCap,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
)
from tests.properties.acts import Act, Chore, Refusal, Vanish
from tests.properties.stage import Colour
from tests.properties.strategies import acts, caps, chores, colours, guarding, leaves, manners, messages
from tests.properties.world import Manner, World


def _converse(world: World, texts: Sequence[str], left: Sequence[int | None] = ()) -> None:
    """Say everything; every turn ends in a reply or in one of our errors, or is left after so many events."""
    for number, text in enumerate(texts):
        after = left[number] if number < len(left) and world.manner.streamed else None
        try:
            if after is not None:
                world.leave(f"{text} ({number})", after)
                note(f"turn {number}: left after {after} events")
                continue
            reply = world.chat(f"{text} ({number})")
            note(f"turn {number}: {reply.run.status} {reply.text!r}")
        except AssistantGuardError as error:
            note(f"turn {number}: {error!r} {getattr(error, '__notes__', '')}")


def _billed(world: World) -> int:
    return sum(billed.usage.total_tokens for billed in world.server.bill)


@given(
    script=acts,
    faults=chores,
    capped=caps("always"),
    others=guarding(),
    texts=messages,
    colour=colours,
    manner=manners,
    left=leaves,
    density=st.sampled_from([0.05, 0.3, 1.0]),
    obedient=st.booleans(),
)
def test_spending_never_passes_a_cap_when_input_is_counted_exactly(
    script: list[Act | Refusal | Vanish],
    faults: list[Chore | None],
    capped: list[Policy],
    others: list[Policy],
    texts: list[str],
    colour: Colour,
    manner: Manner,
    left: list[int | None],
    density: float,
    obedient: bool,
) -> None:
    world = World(script, faults, [*others, *capped], colour, density=density, obedient=obedient, manner=manner)

    _converse(world, texts, left)

    world.check_books()
    for cap in capped:
        if isinstance(cap, TokenCap) and cap.session is not None:
            assert _billed(world) <= cap.session


@given(
    script=acts,
    faults=chores,
    capped=st.one_of(caps("near"), caps("never")),
    others=guarding(),
    texts=messages,
    colour=colours,
    manner=manners,
    left=leaves,
    density=st.sampled_from([0.05, 0.3, 1.0]),
    counts=st.booleans(),
)
def test_the_local_bound_keeps_the_caps_where_input_is_not_counted(
    script: list[Act | Refusal | Vanish],
    faults: list[Chore | None],
    capped: list[Policy],
    others: list[Policy],
    texts: list[str],
    colour: Colour,
    manner: Manner,
    left: list[int | None],
    density: float,
    counts: bool,
) -> None:
    world = World(script, faults, [*others, *capped], colour, density=density, counts=counts, manner=manner)

    _converse(world, texts, left)

    world.check_books()
    for cap in capped:
        if isinstance(cap, TokenCap) and cap.session is not None:
            assert _billed(world) <= cap.session


@given(
    script=acts,
    faults=chores,
    others=guarding(),
    texts=messages,
    colour=colours,
    manner=manners,
    left=leaves,
    obedient=st.booleans(),
)
@example(
    script=[
        Act("", (0,), lost=True),
        Act("", (1,), lost=True),
        Act("It is on its way.", (0,), lost=True),
    ],
    faults=[],
    others=[TransientRetry(max_attempts=1), RepeatedCallBreaker(max_repeats=1, then="wrap_up")],
    texts=["Where is it?"],
    colour="blocking",
    manner=Manner(streamed=True),
    left=[],
    obedient=True,
).via("text beside a call that is refused, and the text of the answer that wraps up")
def test_after_any_outcome_the_next_turn_succeeds(
    script: list[Act | Refusal | Vanish],
    faults: list[Chore | None],
    others: list[Policy],
    texts: list[str],
    colour: Colour,
    manner: Manner,
    left: list[int | None],
    obedient: bool,
) -> None:
    world = World(script, faults, others, colour, obedient=obedient, manner=manner)
    _converse(world, texts, left)
    world.server.recover()

    reply = world.chat("And now?")

    assert reply.text == "done"
    world.check_books()
    generation = world.thread.generation_id
    assert generation is not None
    assert world.server.open_calls(generation) == []
    assert world.server.user_texts(generation)[-1] == "And now?"
    assert world.server.user_texts(generation).count("And now?") == 1


@given(
    ceiling=st.integers(1, 4),
    asked=st.integers(0, 6),
    width=st.integers(1, 3),
    max_calls=st.one_of(st.none(), st.integers(1, 8)),
    wrap_up=st.booleans(),
    obedient=st.booleans(),
    colour=colours,
)
def test_step_n_runs_and_step_n_plus_1_never_reaches_a_tool(
    ceiling: int, asked: int, width: int, max_calls: int | None, wrap_up: bool, obedient: bool, colour: Colour
) -> None:
    allowed = ceiling if max_calls is None else min(ceiling, max_calls // width)
    policy = ToolStepCeiling(ceiling, max_calls=max_calls, then="wrap_up" if wrap_up else "stop")
    script = [Act("", tuple(range(width)))] * asked
    world = World(script, policies=[policy], colour=colour, obedient=obedient)

    stopped: type[AssistantGuardError] | None = None
    try:
        world.chat("Go.")
    except AssistantGuardError as error:
        stopped = type(error)

    assert [len(step) for step in world.driver.steps] == [width] * min(asked, allowed)
    if asked <= allowed or (wrap_up and (obedient or asked == allowed + 1)):
        assert stopped is None
    else:
        assert stopped is (RunStopped if wrap_up else ToolStepCeilingReached)
    world.check_books()
    world.server.recover()
    assert world.chat("Again.").text == "done"


@given(
    scripts=st.lists(acts, min_size=2, max_size=4),
    capped=caps("always"),
    others=guarding(),
    texts=messages,
    manner=manners,
)
def test_conversations_side_by_side_keep_one_cap(
    scripts: list[list[Act | Refusal | Vanish]],
    capped: list[Policy],
    others: list[Policy],
    texts: list[str],
    manner: Manner,
) -> None:
    world = World([act for script in scripts for act in script], (), [*others, *capped], "asyncio", manner=manner)

    async def converse(number: int) -> None:
        thread = world.new_thread(f"thread_{number}")
        for text in texts:
            with contextlib.suppress(AssistantGuardError):
                await world.answer(thread, f"{text} ({number})")

    async def all_at_once() -> None:
        await asyncio.gather(*(converse(number) for number in range(len(scripts))))

    world.run(all_at_once())

    world.check_books()
    for cap in capped:
        if isinstance(cap, TokenCap) and cap.session is not None:
            assert _billed(world) <= cap.session


@given(cap=st.integers(2_000, 30_000), threads=st.integers(2, 6))
def test_a_cap_that_is_only_held_is_waited_for_and_used(cap: int, threads: int) -> None:
    world = World(policies=[TokenCap(cap, counting="always", wait=1_000.0)], colour="asyncio", run_timeout=10_000.0)
    outcomes: list[bool] = []

    async def converse(number: int) -> None:
        try:
            await world.engine.turn(world.new_thread(f"thread_{number}"), "Hello?")
        except Refused:
            outcomes.append(False)
        else:
            outcomes.append(True)

    async def all_at_once() -> None:
        await asyncio.gather(*map(converse, range(threads)))

    world.run(all_at_once())

    assert all(outcomes)
    world.check_books()
