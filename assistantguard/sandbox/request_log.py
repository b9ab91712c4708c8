"""What is noted of each request, and the rate-limit headers it is answered with."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["RateWindow", "RecordedRequest", "recorded"]

REQUESTS_PER_MINUTE = 10_000
TOKENS_PER_MINUTE = 30_000_000


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


class RateWindow:
    """The rate-limit headers of a generous account."""

    def __init__(self) -> None:
        self._requests: deque[float] = deque()

    def headers(self) -> dict[str, str]:
        """Count a request and return the headers that tell what is left of the minute."""
        now = time.monotonic()
        self._requests.append(now)
        while self._requests and self._requests[0] < now - 60:
            self._requests.popleft()
        reset = 60 - (now - self._requests[0])
        return {
            "x-ratelimit-limit-requests": str(REQUESTS_PER_MINUTE),
            "x-ratelimit-remaining-requests": str(max(0, REQUESTS_PER_MINUTE - len(self._requests))),
            "x-ratelimit-reset-requests": f"{reset:.3f}s",
            "x-ratelimit-limit-tokens": str(TOKENS_PER_MINUTE),
            "x-ratelimit-remaining-tokens": str(TOKENS_PER_MINUTE),
            "x-ratelimit-reset-tokens": "0s",
        }


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
