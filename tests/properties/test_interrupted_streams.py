"""Something strikes at one await after another of a turn that is streamed, or made in the background, or both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import pytest
from tenacity import wait_none

from assistantguard import Policy, TokenCap, TransientRetry
from tests.properties.acts import Act
from tests.properties.stage import Colour
from tests.properties.world import Manner, World

_POLICIES: Sequence[Policy] = (TransientRetry(3, wait=wait_none()), TokenCap(200_000, counting="always"))
_SCENARIOS: dict[str, Sequence[Act]] = {
    "an answer": [Act("one two three")],
    "tools": [Act("Let me see.", (1, 2))],
    "a stream that breaks": [Act("one two three", cut=1, looks=2)],
    "a stream that breaks at once": [Act("one two three", cut=-1, survives=True)],
    "an answer that survives its stream": [Act("one two three", cut=1, survives=True, looks=2)],
    "an answer that is lost": [Act("one", lost=True, looks=2)],
    "a failed answer that was appended": [Act("half", (1,), "failed")],
    "an answer that is completed after it was cancelled": [Act("one two", cancels="flips", looks=6)],
    "an answer that cannot be cancelled": [Act("one two", cancels="refused", looks=6, survives=True)],
    "usage that is told late": [Act("one two", silent_looks=2, looks=2)],
}
_MANNERS = {
    "streamed": Manner(streamed=True),
    "in the background": Manner(background=True),
    "streamed in the background": Manner(streamed=True, background=True),
}
scenarios = pytest.mark.parametrize("scenario", _SCENARIOS)
manners = pytest.mark.parametrize("manner", _MANNERS)


def _world(scenario: str, manner: str, colour: Colour) -> World:
    """A thread with one turn behind it."""
    world = World(policies=_POLICIES, colour=colour, manner=_MANNERS[manner])
    world.chat("Before.")
    world.stage.points.clear()
    world.server.script(_SCENARIOS[scenario])
    return world


def _each_point(scenario: str, manner: str, colour: Colour) -> Iterator[tuple[int, World]]:
    whole = _world(scenario, manner, colour)
    whole.chat("Now.")
    whole.check_books()
    for number in range(len(whole.stage.points)):
        yield number, _world(scenario, manner, colour)


@scenarios
@manners
@pytest.mark.parametrize(
    ("colour", "make"),
    [("blocking", KeyboardInterrupt), ("asyncio", lambda: LookupError("a bug"))],
    ids=["Ctrl-C", "a bug async"],
)
def test_the_very_exception_comes_out_and_the_books_are_settled(
    scenario: str, manner: str, colour: Colour, make: Callable[[], BaseException]
) -> None:
    for number, world in _each_point(scenario, manner, colour):
        struck = world.stage.breaks[number] = make()

        with pytest.raises(type(struck)):
            world.chat("Now.")

        assert world.raised is struck, world.stage.points[number]
        world.check_recovery()


@scenarios
@manners
def test_a_cancelled_task_settles_its_books_first(scenario: str, manner: str) -> None:
    for number, world in _each_point(scenario, manner, "asyncio"):
        world.stage.cancels = frozenset({number})

        try:
            world.chat("Now.")
        except asyncio.CancelledError:
            assert world.stage.cancelled
        else:
            assert not world.stage.cancelled

        world.check_recovery()


@scenarios
@pytest.mark.parametrize("manner", ["streamed", "streamed in the background"])
@pytest.mark.parametrize("colour", ["blocking", "asyncio"])
def test_a_stream_that_is_left_is_settled_and_leaves_no_half_turn(scenario: str, manner: str, colour: Colour) -> None:
    for after in range(8):
        world = _world(scenario, manner, colour)

        world.leave("Now.", after)

        world.check_recovery()


@scenarios
@manners
def test_failing_clean_up_leaves_the_books_to_the_hold_and_the_thread_to_the_next_turn(
    scenario: str, manner: str
) -> None:
    for number, world in _each_point(scenario, manner, "blocking"):
        struck = world.stage.breaks[number] = LookupError("a bug")
        world.stage.down_from = number + 1

        with pytest.raises(LookupError):
            world.chat("Now.")

        assert world.raised is struck
        world.stage.down_from = None
        world.ledger.expire(float("inf"))
        world.check_recovery()
