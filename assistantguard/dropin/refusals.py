"""What the application gets for a call that is not allowed: an answer of the API's own form, never tried again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

from assistantguard._refusals import ApiProblem
from assistantguard.dropin.wire import WireAnswer
from assistantguard.errors import AssistantGuardError, BudgetBusy, BudgetExceeded, ConfigurationError, TooManyRequests

__all__ = ["cut_event", "refusal_of", "retry_after", "unreadable"]

_FINAL = {"x-should-retry": "false"}
_MEND = "; a call names its user in metadata['user'], as safety_identifier or as user"


def refusal_of(error: AssistantGuardError, now: float) -> WireAnswer:
    """The answer to a call that was refused.

    A spent budget is a 429 of the type ``insufficient_quota``, a busy one and a rate limit of ``rate_limit_exceeded``;
    what another policy refuses is a 403, and what cannot be charged to anyone a 400.

    Args:
        error: The refusal.
        now: Unix time, seconds: a rate limit's answer says in ``retry-after`` when there is room.
    """
    if isinstance(error, TooManyRequests):
        answer = _answer(
            429,
            str(error),
            "rate_limit_exceeded",
            "too_many_requests",
            lane=error.lane,
            available_at=error.available_at,
        )
        return replace(answer, headers={**answer.headers, **retry_after(error, now)})
    if isinstance(error, (BudgetBusy, BudgetExceeded)):
        busy = isinstance(error, BudgetBusy)
        more = {
            "account": error.account,
            "metric": error.metric,
            "limit": str(error.limit),
            "left": str(error.left),
            "renews_at": error.renews_at,
        }
        kind = "rate_limit_exceeded" if busy else "insufficient_quota"
        return _answer(429, str(error), kind, "budget_busy" if busy else "budget_exceeded", **more)
    if isinstance(error, ConfigurationError):
        return _answer(400, f"{error}{_MEND}", "invalid_request_error", "not_chargeable")
    return _answer(403, str(error), "invalid_request_error", "policy_refused")


def retry_after(error: TooManyRequests, now: float) -> dict[str, str]:
    """The header that says in how many seconds there is room; none where there never is."""
    at = error.available_at
    return {} if at is None else {"retry-after": str(max(1, math.ceil(at - now)))}


def unreadable(path: str) -> WireAnswer:
    """The answer to a call whose body cannot be read, so that nobody knows what it would spend."""
    return _answer(
        400,
        f"the body of the request to {path} is no JSON object, and calls are guarded: send it as the SDK does",
        "invalid_request_error",
        "unreadable_body",
    )


def cut_event(message: str) -> bytes:
    """The event that ends a stream which may not go on. The SDK raises an `openai.APIError` for it."""
    told = f"{message}: it was cut, and closed"
    error = ApiProblem(429, told, "insufficient_quota", code="output_limit_passed").body()
    return f"event: error\ndata: {json.dumps({'type': 'error', **error})}\n\n".encode()


def _answer(status: int, message: str, kind: str, code: str, **more: Any) -> WireAnswer:
    error = ApiProblem(status, message, kind, code=code).body()["error"]
    return WireAnswer(status, {"error": {**error, **more}}, _FINAL)
