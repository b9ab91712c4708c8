"""What is noted of each request."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["RecordedRequest", "recorded"]


@dataclass(slots=True)
class RecordedRequest:
    """One request that reached the sandbox."""

    method: str
    path: str
    """With ``/v1`` and without the query."""
    endpoint: str
    """As faults name it: ``"POST /conversations/{id}/items"``."""
    query: dict[str, str]
    headers: dict[str, str]
    """Lower-case names; the key is left out."""
    body: Any
    """The JSON document; None where there was none."""
    status: int | None = None
    """HTTP status of the answer; None while it is being made, and where none was sent."""
    received_at: float = 0.0
    """Seconds, `time.monotonic`."""
    fault: str | None = None
    """The kind of fault that happened to it; see `Sandbox.faults_by_kind`."""


def recorded(request: Request, endpoint: str) -> RecordedRequest:
    """Return what is noted of a request that just came: all but the key, the body and the outcome."""
    headers = {name: value for name, value in request.headers.items() if name != "authorization"}
    return RecordedRequest(
        method=request.method,
        path=request.url.path,
        endpoint=endpoint,
        query=dict(request.query_params),
        headers=headers,
        body=None,
        received_at=time.monotonic(),
    )
