"""What passes between an HTTP transport or server and the service that answers Assistants calls."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from assistantguard.models.values import Value

__all__ = ["DONE", "Service", "WireAnswer", "WireRequest", "event_bytes"]

DONE = ("done", "[DONE]")
"""The event that ends a stream of events."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WireRequest(Value):
    """A request to the Assistants API."""

    method: str
    """In capitals."""
    path: str
    """Below the base path, decoded: ``/threads/thread_1/runs``."""
    query: Sequence[tuple[str, str]] = ()
    """Decoded, in order; a name may come more than once."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; values of a name that came more than once are joined by ``, ``."""
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WireAnswer(Value):
    """The answer to a `WireRequest`: one JSON object, or a stream of server-sent events."""

    status: int = 200
    body: Mapping[str, Any] | None = None
    """The JSON object; None is an empty body. Not sent where there are `events`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides ``content-type`` and ``x-request-id``, which are set where they are missing here."""
    events: AsyncGenerator[tuple[str, Any], None] | None = field(default=None, repr=False)
    """Pairs of an event's name and its data, which `json.dumps` can write; the last is `DONE`.

    Whoever sends them closes the generator, once, when they are sent or the reader has left.
    """


class Service(Protocol):
    """Answers calls to the Assistants API."""

    def serves(self, path: str) -> bool:
        """Return whether requests to this path, as in `WireRequest.path`, are answered here."""
        ...

    async def handle(self, request: WireRequest) -> WireAnswer:
        """Answer a request. Under a blocking client it never suspends, and neither do the answer's events."""
        ...


def event_bytes(event: tuple[str, Any]) -> bytes:
    """An event as it is sent."""
    name, data = event
    return f"event: {name}\ndata: {data if event == DONE else json.dumps(data)}\n\n".encode()
