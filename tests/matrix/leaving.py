"""The ways to walk away from a turn."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Iterator
from typing import Any

import anyio

from assistantguard import Reply
from assistantguard.events import RunSettled, RunStarted
from assistantguard.models import StreamEvent
from tests.matrix.moments import Told
from tests.matrix.scene import Scene

__all__ = ["anyio_scope", "cancelled", "cancelled_for_ever", "ctrl_c", "ctrl_c_twice", "dropped", "left", "own_error"]

_PATIENCE = 60.0


def ctrl_c(scene: Scene) -> Reply:
    """`KeyboardInterrupt`, where the turn is, or out of a wait by a real signal."""
    moment = scene.combination.transition.moment
    assert moment is not None
    main = threading.get_ident()

    def strike() -> None:
        scene.struck = True
        if moment.elsewhere:
            signal.pthread_kill(main, signal.SIGINT)
        else:
            raise KeyboardInterrupt

    with moment.watched(scene, strike):
        return scene.turn(scene.combination.transition.message, scene.combination.deadline)


def ctrl_c_twice(scene: Scene) -> Reply:
    """`KeyboardInterrupt`, and again at the first request that cleans up."""
    hooks = scene.client._client.event_hooks

    def again(_: Any) -> None:
        if scene.struck:
            scene.struck = False
            raise KeyboardInterrupt

    scene.client._client.event_hooks = {**hooks, "request": [*hooks["request"], again]}
    try:
        return ctrl_c(scene)
    finally:
        scene.client._client.event_hooks = hooks


def cancelled(scene: Scene) -> Reply:
    """``task.cancel()``."""
    return _cancelled(scene, for_ever=False)


def cancelled_for_ever(scene: Scene) -> Reply:
    """``task.cancel()``, and again as long as the task cleans up."""
    return _cancelled(scene, for_ever=True)


def _cancelled(scene: Scene, *, for_ever: bool) -> Reply:
    moment, transition = scene.combination.transition.moment, scene.combination.transition
    assert moment is not None

    async def scenario() -> Reply:
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            task.cancel()
            if for_ever and not task.done():
                loop.call_soon(cancel)

        def strike() -> None:
            if moment.elsewhere:
                loop.call_soon_threadsafe(cancel)
            else:
                cancel()

        task = asyncio.ensure_future(scene.turning(transition.message, scene.combination.deadline))
        with moment.watched(scene, strike):
            return await task

    reply = scene.world.wait(scenario())
    assert isinstance(reply, Reply)
    return reply


def anyio_scope(scene: Scene) -> Reply | str:
    """The cancelling of an anyio scope around the turn."""
    moment, transition = scene.combination.transition.moment, scene.combination.transition
    assert moment is not None

    async def scenario() -> Reply | str:
        loop = asyncio.get_running_loop()
        scope = anyio.CancelScope()

        def strike() -> None:
            if moment.elsewhere:
                loop.call_soon_threadsafe(scope.cancel)
            else:
                scope.cancel()

        with moment.watched(scene, strike), scope:
            return await scene.turning(transition.message, scene.combination.deadline)
        return "scope left"

    reply: Reply | str = scene.world.wait(scenario())
    return reply


class Own(Exception):
    """Raised by the application, in the midst of a stream."""


def left(scene: Scene) -> str:
    """``break`` out of the ``with`` block of a stream."""
    return _read_until(scene, None)


def own_error(scene: Scene) -> str:
    """An exception of the application's, in the ``with`` block of a stream."""
    try:
        return _read_until(scene, Own())
    except Own:
        return "own error"


def _read_until(scene: Scene, error: Exception | None) -> str:
    kind, transition = _told(scene), scene.combination.transition

    def end() -> str:
        if error is not None:
            raise error
        return "left"

    async def scenario() -> str:
        async with scene.bot.guard.stream(transition.message, deadline=scene.combination.deadline) as stream:
            if kind is None:
                return end()
            async for event in stream:
                if isinstance(event, kind):
                    return end()
        return "read to its end"

    if scene.way.is_async:
        return str(scene.world.wait(scenario()))
    with scene.bot.guard.stream(transition.message, deadline=scene.combination.deadline) as stream:
        if kind is None:
            return end()
        for event in stream:
            if isinstance(event, kind):
                return end()
    return "read to its end"


def dropped(scene: Scene) -> str:
    """A stream that nobody refers to any more, and nobody closed."""
    kind, transition = _told(scene), scene.combination.transition

    async def scenario() -> str:
        stream = scene.bot.guard.stream(transition.message, deadline=scene.combination.deadline)
        found = kind is None
        while not found:
            found = isinstance(await stream.__anext__(), kind or StreamEvent)
        del stream
        gc.collect()
        with anyio.fail_after(_PATIENCE):
            while _is_open(scene) or len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - the end of a run is no event of asyncio
                await asyncio.sleep(0.002)
        return "dropped"

    if scene.way.is_async:
        return str(scene.world.wait(scenario()))
    stream = scene.bot.guard.stream(transition.message, deadline=scene.combination.deadline)
    found = _found(stream, kind)
    del stream
    gc.collect()
    return "dropped" if found else "read to its end"


def _told(scene: Scene) -> type[StreamEvent] | None:
    moment = scene.combination.transition.moment
    assert isinstance(moment, Told)
    return moment.kind


def _found(stream: Iterator[StreamEvent], kind: type[StreamEvent] | None) -> bool:
    return kind is None or any(isinstance(event, kind) for event in stream)


def _is_open(scene: Scene) -> bool:
    return len(scene.bot.all(RunStarted)) > len(scene.bot.all(RunSettled))
