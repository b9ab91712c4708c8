"""From the SDK's exceptions to facts that can be classified."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import openai

if TYPE_CHECKING:
    from assistantguard.failures import Phase
    from assistantguard.models import Failure

__all__ = ["StreamCutError", "StreamErrorEvent", "UnreadableAnswerError", "failure_of"]

_NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError"})
"""Transport errors (by class name, since the transport is httpx or httpx2) that come before a request leaves."""


_TRANSPORTS = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "anyio", "h11", "ssl"})
"""Whose exceptions the SDK lets through while a stream is read."""


class UnreadableAnswerError(Exception):
    """The server answered with success and something that is not what was asked for, such as a login page."""


class StreamCutError(Exception):
    """A stream ended, without an error, before its answer was complete. The SDK does not tell this from a good end."""


class StreamErrorEvent(Exception):
    """A stream carried an ``error`` event."""

    def __init__(self, message: str, code: str | None) -> None:
        super().__init__(message)
        self.code = code


_LOST = (openai.APIError, TimeoutError)


def failure_of(error: Exception) -> Failure | None:
    """Sort an exception that a call of the client raised; None where it is a programming error."""
    from assistantguard.failures import Facts, classify  # the table is made when something first fails

    if isinstance(error, openai.APIStatusError):
        headers: Mapping[str, str] = error.response.headers
        message = _message(error)
        failure = classify(
            Facts(
                "request",
                message,
                error.status_code,
                _text(error.code),
                _text(error.type),
                _retry_after(headers),
                {"true": True, "false": False}.get(headers.get("x-should-retry", "")),
                error.request_id,
            )
        )
        from assistantguard.backends.rates import rates_told

        rates = rates_told(headers, message)
        return failure if rates is None else replace(failure, rates=rates)
    if isinstance(error, openai.APIConnectionError):
        phase: Phase = "connect" if type(error.__cause__).__name__ in _NEVER_SENT else "request"
        return classify(Facts(phase, f"{error} ({type(error.__cause__).__name__})"))
    if isinstance(error, (UnreadableAnswerError, json.JSONDecodeError)):
        # Whoever answered this will answer so again.
        return replace(classify(Facts("request", str(error))), max_retries=0)
    if isinstance(error, StreamCutError):
        return classify(Facts("stream", str(error)))
    if isinstance(error, StreamErrorEvent):
        return classify(Facts("response", str(error), code=error.code))
    if type(error) is openai.APIError:  # an error that came as data of a stream
        return classify(Facts("response", error.message, code=_text(error.code), type=_text(error.type)))
    if isinstance(error, _LOST) or type(error).__module__.partition(".")[0] in _TRANSPORTS:
        return classify(Facts("request", str(error) or type(error).__name__))
    return None


def _message(error: openai.APIStatusError) -> str:
    body: Any = error.body
    message = body.get("message") if isinstance(body, Mapping) else None
    return str(message) if message else error.message


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after`` (seconds, or an HTTP date); None where not told."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1_000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    date = email.utils.parsedate_tz(value)
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
