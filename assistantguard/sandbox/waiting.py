"""Waiting that ends early: when a client leaves, a response is cancelled or the sandbox closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.types import Receive

__all__ = ["EventLog", "Reason", "Signal", "Stopped", "Watch"]

T = TypeVar("T")

Reason: TypeAlias = Literal["gone", "cancelled", "closing"]


class Stopped(Exception):
    """The work is to end: its client is gone, it was cancelled, or the sandbox closes."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Signal:
    """Says once that something is to stop. Lives on one event loop."""

    def __init__(self) -> None:
        self._future: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()

    def stop(self, reason: Reason) -> None:
        """Give the signal; a second one changes nothing."""
        if not self._future.done():
            self._future.set_result(reason)

    def check(self) -> None:
        """Raise `Stopped` once the signal was given."""
        if self._future.done():
            raise Stopped(self._future.result())

    async def wait(self, seconds: float | None) -> None:
        """Wait so many seconds, or for ever.

        Raises:
            Stopped: The signal was given.
        """
        if not self._future.done():
            await asyncio.wait([self._future], timeout=seconds)
        self.check()

    async def race(self, future: asyncio.Future[T]) -> T:
        """Wait for a future.

        Raises:
            Stopped: The signal was given first. A task is then cancelled; what a thread makes is dropped.
        """
        if not self._future.done():
            both: list[asyncio.Future[Any]] = [self._future, future]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            future.add_done_callback(_forget)
            future.cancel()
            self.check()
        return future.result()


def _forget(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class Watch:
    """Calls back when the client of a request leaves.

    Args:
        receive: The request's ASGI channel, its body already read.
        on_gone: Called once, on the event loop.
    """

    def __init__(self, receive: Receive, on_gone: Callable[[], None]) -> None:
        self._receive = receive
        self._on_gone = on_gone
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch; a second call changes nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self._on_gone()

    def end(self) -> None:
        """Watch no longer."""
        if self._task is not None:
            self._task.cancel()


class EventLog:
    """The events of a background stream, kept so that a reader can resume."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._ended = False
        self._readers: set[asyncio.Future[None]] = set()

    def add(self, event: dict[str, Any]) -> None:
        """Add an event at the end."""
        self.events.append(event)
        self._wake()

    def end(self) -> None:
        """Say that no event follows."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        self._readers.clear()

    async def read(self, after: int, signal: Signal) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Yield the events with a higher sequence number than `after`, as they come, to the end.

        Raises:
            Stopped: The reader is to end.
        """
        position = after + 1
        while True:
            while position < len(self.events):
                yield self.events[position]
                position += 1
            if self._ended:
                return
            more: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.add(more)
            try:
                await signal.race(more)
            finally:
                self._readers.discard(more)
