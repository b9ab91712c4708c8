"""Answers that are not one JSON document: event streams, dropped connections, and answers nobody waits for."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from assistantguard._connections import ABORT
from assistantguard.sandbox.waiting import Stopped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from assistantguard.sandbox.effects import Cut
    from assistantguard.sandbox.waiting import Signal, Watch
    from assistantguard.sandbox.work import Work

__all__ = ["Dropped", "EventStream", "Gone", "Silent"]

_LAST = {"response.completed", "response.failed", "response.incomplete"}


def _encoded(event: dict[str, Any] | None) -> bytes:
    """Return an event as server-sent, or a comment for None."""
    if event is None:
        return b": keep-alive\n\n"
    data = json.dumps(event, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


async def _abort(scope: Scope, receive: Receive) -> None:
    """Close the connection at once, whatever was sent, and wait until it is closed.

    Raises:
        ConnectionResetError: The application is used in process, where there is no connection to close.
    """
    close = scope.get("extensions", {}).get(ABORT)
    if close is None:
        raise ConnectionResetError("Sandbox: the connection is dropped.")
    close()
    await _until_left(receive)


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _error_event(cut: Cut, work: Work | None) -> dict[str, Any]:
    if work is not None and cut.how == "failed":
        return work.event("response.failed", response=work.document)
    number = 0 if work is None else work.next_number
    error = {"code": cut.code, "message": cut.message, "param": None}
    if cut.how == "nested_error":
        return {"type": "error", "error": {"type": "server_error", **error}, "sequence_number": number}
    return {"type": "error", **error, "sequence_number": number}


class Gone(Response):
    """No answer: the client has left."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


class Dropped(Response):
    """A connection that is closed without an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - of ASGI's shape
        """Close the connection, and wait until it is closed."""
        await _abort(scope, receive)


class Silent(Response):
    """No answer, on a connection that stays open until the client leaves.

    Args:
        closing: Closes the connection.
    """

    def __init__(self, closing: Signal) -> None:
        super().__init__()
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - of ASGI's shape
        """Wait until the client has left."""
        left = asyncio.ensure_future(_until_left(receive))
        try:
            await self._closing.race(left)
        except Stopped:
            await _abort(scope, receive)


class EventStream(Response):
    """Server-sent events.

    Args:
        events: What is sent, in order.
        watch: Gives `signal` when the client leaves.
        signal: Stops the stream.
        work: The response that is made for this stream; None where it is made without it.
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
        self.cut: Cut | None = None
        """How it goes wrong."""
        self.encode: Callable[[dict[str, Any] | None], bytes] = _encoded
        """How an event is sent."""
        self._events = events
        self._watch = watch
        self._signal = signal
        self._work = work
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as they come."""

        async def write(chunk: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

        self._watch.start()
        sent = 0
        try:
            async with aclosing(self._events) as events:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for event in events:
                    if event is not None and self._is_due(sent, event):
                        if self._work is not None:
                            self._work.unsay(event)
                        if not await self._go_wrong(write, scope, receive):
                            return
                    await write(self.encode(event))
                    sent += event is not None
                    if self._is_due(sent, None) and not await self._go_wrong(write, scope, receive):
                        return
                    await asyncio.sleep(0)
                    self._signal.check()
                await write(b"", more=False)
        except Stopped as stopped:
            if stopped.reason != "gone":
                await _abort(scope, receive)
        finally:
            self._watch.end()
            self._on_end()

    async def finish(self) -> None:
        """Do the work to its end and send nothing."""
        try:
            await self._drain()
        finally:
            self._on_end()

    async def _drain(self) -> None:
        if self._work is None:
            await self._events.aclose()
        else:
            async for _ in self._events:
                continue

    def _is_due(self, sent: int, coming: dict[str, Any] | None) -> bool:
        """Whether the stream is to go wrong now: enough was sent, or too little is to come."""
        if self.cut is None:
            return False
        if coming is None or sent >= self.cut.after:
            return sent >= self.cut.after
        return coming["type"] in _LAST if self._work is None else self._work.is_last_item(coming)

    async def _go_wrong(self, write: Callable[..., Awaitable[None]], scope: Scope, receive: Receive) -> bool:
        """Let the stream go wrong, and say whether it goes on."""
        work, cut = self._work, self.cut
        assert cut is not None
        self.cut = None
        if cut.how == "malformed":
            await write(
                b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Th\n\n'
            )
            if cut.goes_on:
                return True
        errs = cut.how in {"error", "nested_error", "failed"}
        if work is not None and not cut.goes_on:
            if errs:
                work.fail(cut.code, cut.message, usage=cut.usage_reported)
            else:
                work.halt()
        if errs:
            await write(self.encode(_error_event(cut, work)))
        self._watch.end()
        if cut.how == "drop":
            await _abort(scope, receive)
        else:
            await write(b"", more=False)
        if cut.goes_on:
            await self._drain()
        return False
