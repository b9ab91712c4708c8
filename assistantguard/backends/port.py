"""Calling the user's own client, in either colour."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from assistantguard.models.values import Value

__all__ = ["END", "RAW_ANSWER", "ClientPort", "EventStream", "HttpAnswer", "Method", "is_object", "object_of"]

Method = Literal["get", "post", "delete"]

END: Final = object()
"""What follows the last event of a stream."""


RAW_ANSWER: Final = "X-Stainless-Raw-Response"
"""The header by which the SDK's own ``with_raw_response`` and ``with_streaming_response`` ask for the whole answer."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HttpAnswer(Value):
    """An answer with its headers: a JSON document, or the SDK's object."""

    data: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in any case."""


def is_object(headers: Mapping[str, str]) -> bool:
    """Whether an answer is a JSON document, and not events."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def object_of(body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
    """A JSON document that was read; its data are None where it is none."""
    try:
        return HttpAnswer(json.loads(body), headers)
    except ValueError:
        return HttpAnswer(None, headers)


class EventStream(Protocol):
    """Events of the server, as they arrive."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer."""
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

    async def ask(self, path: str, timeout: float, /, *args: Any, **params: Any) -> HttpAnswer:
        """As `call`, with the answer's headers."""
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

    async def send(
        self,
        method: Method,
        path: str,
        timeout: float,
        /,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Make an HTTP request below the client's base URL, and wait for its JSON answer.

        For routes that the SDK's resources warn of, or may lack.

        Args:
            method: The HTTP method.
            path: Such as ``"/threads"``.
            timeout: Seconds the whole call may take.
            body: Sent as JSON.
            query: Query parameters.
            headers: Further headers.
        """
        ...

    async def listen(
        self, path: str, timeout: float, /, *, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> EventStream | HttpAnswer:
        """Post `body`, and read the events that it is answered with, as mappings of ``event`` and ``data``.

        Servers that do not stream answer with an object, whatever they were asked for.

        Args:
            path: Such as ``"/threads"``.
            timeout: Seconds that the call and the whole stream may take.
            body: Sent as JSON.
            headers: Further headers.
        """
        ...
