"""Something strikes at one await after another: the very exception comes out, and the books are settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_none

from assistantguard import (
    AssistantGuardError,
    CarryOver,
    Policy,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
)
from tests.properties.acts import Act, Chore, Refusal, Vanish
from tests.properties.stage import Colour
from tests.properties.strategies import REFUSALS, acts, chores, guarding, manners
from tests.properties.world import MODEL, Manner, World

_FAILED = Act("half", (1,), "failed", appends="all")
_POLICIES: Sequence[Policy] = (
    TransientRetry(3, wait=wait_none()),
    ToolStepCeiling(2),
    TokenCap(200_000, counting="always"),
    ThreadRotation(1, carry_over=CarryOver(summary_model=MODEL, summary_tokens=128)),
)
_SCENARIOS: dict[str, Sequence[Act | Refusal | Vanish]] = {
    "an answer": [],
    "two tool steps": [Act("", (1, 2)), Act("Let me see.", (3,))],
    "a rate limit": [Refusal(REFUSALS[0]), Act("", (1,)), Refusal(REFUSALS[0])],
    "a failed answer that was appended": [_FAILED, Act("", (1,)), _FAILED],
    "a conversation that is gone": [Vanish()],
}


def _world(scenario: str, colour: Colour, *, in_process: bool = True) -> World:
    """A thread with one turn behind it, so that the next one rotates, summary included."""
    world = World(policies=_POLICIES, colour=colour, in_process=in_process)
    world.chat("Before.")
    world.stage.points.clear()
    world.server.script(_SCENARIOS[scenario])
    return world


def _points(scenario: str, colour: Colour, *, in_process: bool = True) -> int:
    world = _world(scenario, colour, in_process=in_process)
    world.chat("Now.")
    return len(world.stage.points)


def _each_point(scenario: str, colour: Colour, *, in_process: bool = True) -> Iterator[tuple[int, World]]:
    for number in range(_points(scenario, colour, in_process=in_process)):
        yield number, _world(scenario, colour, in_process=in_process)


@pytest.mark.parametrize("scenario", _SCENARIOS)
@pytest.mark.parametrize(
    ("colour", "make"),
    [
        ("blocking", lambda: LookupError("a bug")),
        ("blocking", KeyboardInterrupt),
        ("blocking", asyncio.CancelledError),
        ("asyncio", lambda: LookupError("a bug")),
        ("asyncio", asyncio.CancelledError),
    ],
    ids=["a bug", "Ctrl-C", "a cancellation", "a bug async", "a cancellation async"],
)
def test_the_very_exception_comes_out_and_the_books_are_settled(
    scenario: str, colour: Colour, make: Callable[[], BaseException]
) -> None:
    for number, world in _each_point(scenario, colour):
        struck = world.stage.breaks[number] = make()

        with pytest.raises(type(struck)):
            world.chat("Now.")

        assert world.raised is struck, world.stage.points[number]
        world.check_recovery()


@pytest.mark.parametrize("scenario", _SCENARIOS)
@pytest.mark.parametrize("in_process", [True, False], ids=["memory", "elsewhere"])
def test_a_cancelled_task_settles_its_books_first(scenario: str, in_process: bool) -> None:
    for number, world in _each_point(scenario, "asyncio", in_process=in_process):
        world.stage.cancels = frozenset({number})

        try:
            world.chat("Now.")
        except asyncio.CancelledError:
            assert world.stage.cancelled
        else:
            assert not world.stage.cancelled

        world.check_recovery()


@pytest.mark.parametrize("scenario", _SCENARIOS)
@pytest.mark.parametrize("colour", ["blocking", "asyncio"])
def test_failing_clean_up_leaves_notes_on_the_exception(scenario: str, colour: Colour) -> None:
    noted = 0
    for number, world in _each_point(scenario, colour):
        struck = world.stage.breaks[number] = LookupError("a bug")
        world.stage.down_from = number + 1

        with pytest.raises(LookupError):
            world.chat("Now.")

        assert world.raised is struck
        world.stage.down_from = None
        noted += bool(getattr(struck, "__notes__", ()))
        world.ledger.expire(float("inf"))
        world.check_recovery()
    assert noted > 0


@given(
    script=acts,
    faults=chores,
    others=guarding(),
    cancels=st.frozensets(st.integers(0, 60), max_size=6),
    in_process=st.booleans(),
    manner=manners,
)
def test_cancelled_as_often_as_you_like_the_books_are_settled(
    script: list[Act | Refusal | Vanish],
    faults: list[Chore | None],
    others: list[Policy],
    cancels: frozenset[int],
    in_process: bool,
    manner: Manner,
) -> None:
    world = World(
        script, faults, [*others, TokenCap(400_000, counting="always")], "asyncio", in_process=in_process, manner=manner
    )
    world.stage.cancels = cancels
    for text in ("One.", "Two."):
        world.stage.cancelled = False
        try:
            world.chat(text)
        except asyncio.CancelledError:
            assert world.stage.cancelled
        except AssistantGuardError:
            assert not world.stage.cancelled

    world.check_recovery()


@pytest.mark.parametrize("colour", ["blocking", "asyncio"])
def test_ctrl_c_while_a_stopped_run_is_cleaned_up_comes_out_and_the_run_is_settled(colour: Colour) -> None:
    asks = [Act("", (1,)), Act("", (2,))]
    for number in range(_points_of(asks, colour)):
        world = World(asks, policies=[ToolStepCeiling(1)], colour=colour)
        strikes: BaseException = KeyboardInterrupt() if colour == "blocking" else asyncio.CancelledError()
        if colour == "blocking":
            world.stage.breaks[number] = strikes
        else:
            world.stage.cancels = frozenset({number})

        with pytest.raises((type(strikes), ToolStepCeilingReached)):
            world.chat("Now.")

        world.stage.breaks.clear()
        world.stage.cancels = frozenset()
        world.check_books(interrupted=True)
        world.server.recover()
        assert world.chat("After.").text == "done"


def _points_of(script: Sequence[Act], colour: Colour) -> int:
    world = World(script, policies=[ToolStepCeiling(1)], colour=colour)
    with pytest.raises(ToolStepCeilingReached):
        world.chat("Now.")
    return len(world.stage.points)
