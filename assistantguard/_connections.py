"""Where a uvicorn server listens, and HTTP connections of it which the application may close."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ABORT", "AbortableProtocol", "listening_socket"]

_BACKLOG = 2048

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


def listening_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket. Its protocol is named, or asyncio leaves Nagle's algorithm on: 40 ms a request.

    Args:
        host: Name or address; an empty one listens on all of the machine's.
        port: 0 takes a free one.

    Raises:
        ConfigurationError: The address is not to be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}; give another port, 0 for a free one, or another host"
        ) from error
    return listener
