"""Answers that are not one JSON document: event streams, dropped connections, and answers nobody waits for."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from assistantguard.sandbox.waiting import Stopped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.types import Receive, Scope, Send

    from assistantguard.sandbox.waiting import Signal, Watch
    from assistantguard.sandbox.work import Work

__all__ = ["ABORT", "Dropped", "EventStream", "Gone", "abort"]

ABORT = "assistantguard.abort"
"""Name of the ASGI extension that closes the connection."""
_LAST = {"response.completed", "response.failed", "response.incomplete"}


def _encoded(event: dict[str, Any] | None) -> bytes:
    """Return an event as server-sent, or a comment for None."""
    if event is None:
        return b": keep-alive\n\n"
    data = json.dumps(event, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


def abort(scope: Scope) -> None:
    """Close the connection at once, whatever was sent.

    Raises:
        ConnectionResetError: The application is used in process, where there is no connection to close.
    """
    close = scope.get("extensions", {}).get(ABORT)
    if close is None:
        raise ConnectionResetError("Sandbox: the connection is dropped.")
    close()


class Gone(Response):
    """No answer: the client has left."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


class Dropped(Response):
    """A connection that is closed without an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - of ASGI's shape
        """Close the connection, and wait until it is closed."""
        abort(scope)
        while (await receive())["type"] != "http.disconnect":
            continue


class EventStream(Response):
    """Server-sent events.

    Args:
        events: What is sent, in order.
        watch: Gives `signal` when the client leaves.
        signal: Stops the stream.
        work: The response that is told; None where it has ended.
        on_end: Called when nothing more is sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[dict[str, Any] | None, None],
        watch: Watch,
        signal: Signal,
        work: Work | None,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._events = events
        self._watch = watch
        self._signal = signal
        self._work = work
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - of ASGI's shape
        """Send the events as they come."""
        self._watch.start()
        try:
            async with aclosing(self._events) as events:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for event in events:
                    await send({"type": "http.response.body", "body": _encoded(event), "more_body": True})
                    await asyncio.sleep(0)
                    self._signal.check()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Stopped as stopped:
            if stopped.reason != "gone":
                abort(scope)
        finally:
            self._watch.end()
            self._on_end()
