"""HTTP connections of a uvicorn server which the application may close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ABORT", "AbortableProtocol"]

ABORT = "assistantguard.abort"
"""The extension of a scope with a function that closes the connection, whatever is still to be sent."""


class AbortableProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # a variable to the type checker
    """Lets the application close its connection, by the extension `ABORT`."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        served: ASGIApp = getattr(self, "app")  # noqa: B009 - the type checker cannot tell what it is

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[ABORT] = transport.abort
            await served(scope, receive, send)

        self.app = app
