"""Whoever walks away: Ctrl-C, cancelled tasks and scopes, streams that are left, deadlines, tools that do not end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from assistantguard import Reply
from assistantguard.events import (
    RequestSettled,
    RunRetried,
    RunSettled,
    RunStarted,
    RunStep,
    ThreadHealed,
    ThreadRotated,
    ToolSettled,
    TurnStarted,
)
from assistantguard.models import AttemptFailed, ReplyReady, TextDelta, ToolCallRequested, ToolCallSettled
from assistantguard.sandbox import Fault
from tests.matrix import leaving
from tests.matrix.moments import Answered, BackingOff, Emitted, InTool, Sending, Told, Waiting
from tests.matrix.scene import Scene
from tests.matrix.shape import Often, Row, Transition, Way, only
from tests.matrix.transitions import BY_NAME, SHORT, half_a_turn, rotating, stuck

__all__ = ["interrupt_rows"]

_POLLED = only(streamed=False, background=True)
_STREAMED = only(streamed=True)


def _earlier(scene: Scene) -> None:
    scene.turn("Where is order 7?")


def _refused_for_long(_: Way) -> list[Fault]:
    return [Fault.rate_limit(retry_after=10, at=1)]


def _moments() -> Iterator[Transition]:
    """In a turn with one tool step: the requests, the events, and the waits."""
    for number in range(1, 6):
        fields: dict[str, Any] = {"ways": _POLLED} if number > 3 else {}
        yield Transition(f"before request {number}", "*", moment=Sending(number), **fields)
        yield Transition(f"at the answer to request {number}", "*", moment=Answered(number), **fields)
    for kind in (TurnStarted, RunStarted, RequestSettled, RunStep, ToolSettled):
        yield Transition(f"at {kind.name}", "*", moment=Emitted(kind))
    yield Transition(f"at {RunSettled.name}", "*", moment=Emitted(RunSettled), ends=frozenset({"Reply"}))
    again: dict[str, Any] = {"leads": half_a_turn}
    yield Transition(f"at {ThreadHealed.name}", "*", moment=Emitted(ThreadHealed), **again)
    yield Transition(f"at {RunRetried.name}", "*", moment=Emitted(RunRetried), **again)
    rotated: dict[str, Any] = {"prepare": _earlier, "options": rotating()}
    yield Transition(f"at {ThreadRotated.name}", "*", moment=Emitted(ThreadRotated), **rotated)
    for number in range(1, 4):
        yield Transition(f"before request {number} of a rotation", "*", moment=Sending(number), **rotated)
    yield Transition("in a tool", "*", moment=InTool())
    yield Transition("while the model works", "*", moment=Waiting(1), leads=stuck)
    yield Transition(
        "while the model works after tools",
        "*",
        moment=Waiting(2),
        leads=lambda way: [Fault.stuck(at=2) if way.background else Fault.slow(30, at=2)],
    )
    yield Transition(
        "in the midst of a stream",
        "*",
        moment=Waiting(1),
        ways=_STREAMED,
        leads=lambda _: [Fault.endless("deltas", at=1)],
    )
    yield Transition("while it backs off", "*", moment=BackingOff(), leads=_refused_for_long)


def _told() -> Iterator[Transition]:
    """Events of a stream."""
    yield Transition("before its first event", "*", moment=Told(None), ways=_STREAMED)
    for kind in (ToolCallRequested, ToolCallSettled, TextDelta, ReplyReady):
        yield Transition(f"at its {kind.__name__}", "*", moment=Told(kind), ways=_STREAMED)
    yield Transition("at its AttemptFailed", "*", moment=Told(AttemptFailed), ways=_STREAMED, leads=half_a_turn)
    yield Transition(
        "at a TextDelta that others follow",
        "*",
        moment=Told(TextDelta),
        ways=_STREAMED,
        leads=lambda _: [Fault.endless("deltas", at=1)],
    )
    yield Transition(
        "at a TextDelta, and the server goes on",
        "*",
        moment=Told(TextDelta),
        ways=_STREAMED,
        message="Are you there?",
        sandbox={"on_disconnect": "complete"},
    )


def _ends(name: str) -> Callable[[Transition, Often, Way], frozenset[str]]:
    def ends(transition: Transition, _often: Often, way: Way) -> frozenset[str]:
        # A task that has nothing more to wait for ends well, though it was cancelled at its last event.
        late = way.is_async and isinstance(transition.moment, Emitted) and transition.name == f"at {RunSettled.name}"
        return frozenset({name, "Reply"}) if late else frozenset({name})

    return ends


def interrupt_rows() -> Iterator[Row]:
    """All rows."""
    moments, told = tuple(_moments()), tuple(_told())
    blocking, asynchronous = only(colour="sync"), only(colour="async")
    yield Row("Ctrl-C", moments, _ends("KeyboardInterrupt"), ways=blocking, call=leaving.ctrl_c)
    yield Row("Ctrl-C twice", moments, _ends("KeyboardInterrupt"), ways=blocking, call=leaving.ctrl_c_twice)
    yield Row("task.cancel()", moments, _ends("CancelledError"), ways=asynchronous, call=leaving.cancelled)
    yield Row(
        "task.cancel() again and again",
        moments,
        _ends("CancelledError"),
        ways=asynchronous,
        call=leaving.cancelled_for_ever,
    )
    yield Row("anyio scope", moments, _ends("scope left"), ways=asynchronous, call=leaving.anyio_scope)
    yield Row("stream left", told, _ends("left"), call=leaving.left)
    yield Row("error in a stream's block", told, _ends("own error"), call=leaving.own_error)
    yield Row("stream dropped", told, _ends("dropped"), call=leaving.dropped)
    yield from _out_of_time()
    yield from _tools()


def _out_of_time() -> Iterator[Row]:

    def late(transition: Transition, _often: Often, _way: Way) -> frozenset[str]:
        # A wait that is longer than the time that is left is not begun.
        return frozenset({"RetriesExhausted" if transition.name == "before it backs off" else "RunTimedOut"})

    places = (
        Transition("before it backs off", "*", leads=_refused_for_long),
        Transition("while the model works", "*", leads=stuck),
        Transition("in a tool", "*"),
    )
    yield Row("deadline passes", places, late, deadline=SHORT, call=_with_slow_tool)
    yield Row("run_timeout passes", places, late, call=_with_slow_tool, options={"run_timeout": 3.0})


def _with_slow_tool(scene: Scene) -> Reply:
    """A turn whose tool does not end, where it is about the tool."""
    if scene.combination.transition.name == "in a tool":
        scene.in_tool = lambda: time.sleep(6.0)
    try:
        return scene.turn(scene.combination.transition.message, scene.combination.deadline)
    finally:
        scene.in_tool = None


class _Raised(Exception):
    """Raised by a tool."""


def _tools() -> Iterator[Row]:
    after_tools = (BY_NAME["request after tools"],)

    def raising(scene: Scene) -> Reply:
        def fail() -> None:
            raise _Raised

        scene.in_tool = fail
        try:
            return scene.turn(scene.combination.transition.message)
        finally:
            scene.in_tool = None

    def slow(scene: Scene) -> Reply:
        scene.in_tool = lambda: time.sleep(0.3)
        try:
            return scene.turn(scene.combination.transition.message)
        finally:
            scene.in_tool = None

    yield Row("tool raises", after_tools, _ends("Reply"), call=raising)
    yield Row("tool past its time", after_tools, _ends("Reply"), call=slow, options={"tool_timeout": 0.05})
