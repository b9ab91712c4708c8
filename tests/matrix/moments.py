"""Moments at which someone walks away from a turn."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from assistantguard.events import Event, RunRetried
from assistantguard.models import StreamEvent

if TYPE_CHECKING:
    from tests.matrix.scene import Scene

__all__ = ["Answered", "BackingOff", "Emitted", "InTool", "Moment", "Sending", "Told", "Waiting"]

Strike = Callable[[], None]
_PATIENCE = 60.0
_MIDDLE = 0.05
"""Seconds after which a wait has begun for sure."""


class Moment(ABC):
    """Something that happens once in a turn."""

    elsewhere = False
    """Whether it is noticed in another thread than the turn's."""

    @abstractmethod
    def watched(self, scene: Scene, strike: Strike) -> contextlib.AbstractContextManager[None]:
        """Call `strike` when it comes."""


class _Hooked(Moment):
    """The turn's request of this number, counted from 1."""

    kind: str

    def __init__(self, number: int) -> None:
        self._number = number

    @contextlib.contextmanager
    def watched(self, scene: Scene, strike: Strike) -> Iterator[None]:
        seen = 0

        def hook(_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == self._number:
                strike()

        async def hook_of_asyncio(request: Any) -> None:
            hook(request)
            if seen == self._number:
                await asyncio.sleep(_MIDDLE)  # whoever was cancelled hears of it where it next waits

        hooks = scene.client._client.event_hooks
        scene.client._client.event_hooks = {
            name: [*own, hook_of_asyncio if scene.way.is_async else hook] if name == self.kind else own
            for name, own in hooks.items()
        }
        try:
            yield
        finally:
            scene.client._client.event_hooks = hooks


class Sending(_Hooked):
    """Just before the request is sent."""

    kind = "request"


class Answered(_Hooked):
    """When the head of its answer has come."""

    kind = "response"


class Emitted(Moment):
    """In the midst of an event of the guard, in a sink."""

    def __init__(self, kind: type[Event]) -> None:
        self._kind = kind

    @contextlib.contextmanager
    def watched(self, scene: Scene, strike: Strike) -> Iterator[None]:
        def on_event(event: Event) -> None:
            if isinstance(event, self._kind):
                scene.on_event = None
                strike()

        scene.on_event = on_event
        try:
            yield
        finally:
            scene.on_event = None


class InTool(Moment):
    """While a tool runs."""

    elsewhere = True

    @contextlib.contextmanager
    def watched(self, scene: Scene, strike: Strike) -> Iterator[None]:
        def in_tool() -> None:
            strike()
            time.sleep(_MIDDLE)

        scene.in_tool = in_tool
        try:
            yield
        finally:
            scene.in_tool = None


class _Polled(Moment):
    """While the turn waits for something."""

    elsewhere = True

    @contextlib.contextmanager
    def watched(self, scene: Scene, strike: Strike) -> Iterator[None]:
        over = threading.Event()

        def press() -> None:
            until = time.monotonic() + _PATIENCE
            while not self._has_come(scene):
                if over.wait(0.005) or time.monotonic() > until:
                    return
            if not over.wait(_MIDDLE):
                strike()

        presser = threading.Thread(target=press)
        presser.start()
        try:
            yield
        finally:
            over.set()
            presser.join()

    @abstractmethod
    def _has_come(self, scene: Scene) -> bool: ...


class Waiting(_Polled):
    """While the model works."""

    def __init__(self, number: int) -> None:
        self._number = number

    def _has_come(self, scene: Scene) -> bool:
        return sum(request.endpoint == "POST /responses" for request in scene.sandbox.requests) >= self._number


class BackingOff(_Polled):
    """While the turn waits for another attempt."""

    def _has_come(self, scene: Scene) -> bool:
        return any(isinstance(event, RunRetried) for event in scene.events)


class Told(Moment):
    """When a stream has told an event of a kind; None is before its first."""

    def __init__(self, kind: type[StreamEvent] | None) -> None:
        self.kind = kind

    def watched(self, scene: Scene, strike: Strike) -> contextlib.AbstractContextManager[None]:
        raise NotImplementedError("whoever reads the stream sees it")
