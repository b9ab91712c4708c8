"""Calling the user's own client, in either colour."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["ClientPort"]


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
