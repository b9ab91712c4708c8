"""Calling the user's own client, in either colour."""

from __future__ import annotations

from typing import Any, Final, Protocol

__all__ = ["END", "ClientPort", "EventStream"]

END: Final = object()
"""What follows the last event of a stream."""


class EventStream(Protocol):
    """Events of the server, as they arrive."""

    @property
    def request_id(self) -> str | None:
        """The ``x-request-id`` of the answer."""
        ...

    async def next(self) -> Any:
        """The next event; `END` after the last.

        Raises:
            TimeoutError: It did not arrive in time.
        """
        ...

    async def finish(self) -> None:
        """Close a stream whose answer is complete."""
        ...

    async def close(self) -> None:
        """Close the connection. Closing again does nothing."""
        ...


class ClientPort(Protocol):
    """An `openai` client whose own retries are off."""

    async def call(self, path: str, timeout: float, /, *args: Any, **params: Any) -> Any:
        """Call the client's method at `path` (``"responses.create"``) and wait for its result.

        Args:
            path: Attribute names joined by dots.
            timeout: Seconds the whole call may take.
            args: The method's positional arguments.
            params: Its keyword arguments.
        """
        ...

    async def open(self, path: str, timeout: float, /, *args: Any, **params: Any) -> EventStream:
        """Call the client's method at `path` with ``stream=True``.

        Args:
            path: Attribute names joined by dots.
            timeout: Seconds that the call and the whole stream may take.
            args: The method's positional arguments.
            params: Its keyword arguments.
        """
        ...
