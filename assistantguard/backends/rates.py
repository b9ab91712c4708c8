"""Reading ``x-ratelimit-*`` headers, and what a 429 says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from assistantguard.models.rates import RatesTold

__all__ = ["rates_told"]

_SECONDS = {"h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)"
_DURATION = rf"(?:{_PART})+"
_COUNTED = r"\bRequested:? (\d+)"


def rates_told(headers: Mapping[str, str], message: str = "") -> RatesTold | None:
    """What an answer tells of the rate limits it was held against; None where it tells nothing.

    Args:
        headers: The answer's. Values of another form than the documented one are passed over.
        message: Of the error, where the answer is one that speaks of tokens.
    """
    counted = re.search(_COUNTED, message) if "TPM" in message or "tokens per min" in message else None
    told = RatesTold(
        _whole(headers.get("x-ratelimit-limit-requests")),
        _whole(headers.get("x-ratelimit-limit-tokens")),
        _whole(headers.get("x-ratelimit-remaining-requests")),
        _whole(headers.get("x-ratelimit-remaining-tokens")),
        _duration(headers.get("x-ratelimit-reset-requests")),
        _duration(headers.get("x-ratelimit-reset-tokens")),
        int(counted[1]) if counted is not None else None,
    )
    return None if told == RatesTold() else told


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isascii() and text.strip().isdigit() else None


def _duration(text: str | None) -> float | None:
    """Seconds of a duration as Go writes it, such as ``6m0s`` or ``120ms``; a bare number is taken for seconds."""
    if text is None:
        return None
    text = text.strip()
    if re.fullmatch(_DURATION, text):
        return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, text))
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None
